"""VERL: GRPO with the advantage shaped by effective rank, velocity and acceleration. `train_step` is the algorithm.

    python train.py                                         the embedded default: minutes on a laptop
    python train.py --shaping none                          the same run as plain GRPO
    python train.py --out runs/a --resume                   go on after Ctrl-C, a crash or a kill
    python train.py --model Qwen/Qwen2.5-0.5B --data gsm8k  a real model; options left out are the paper's
    torchrun --nproc_per_node 8 train.py …                  the same on 8 GPUs; the global batch does not change

How it differs from a framework's trainer. One step is one function that reads as the method does. Batches and samples
are functions of (seed, step, position): a run that was stopped and resumed ends with the same weights, to the bit on
one CPU process, and a run on several processes sees the prompts and samples of a run on one. Options that are not given
take the values of a recipe, `toy` or `paper`; all are printed at the start and kept in DIR/config.json. Each step is
one line of DIR/metrics.jsonl; an undefined number is null there, never 0.
"""

import contextlib
import functools
import json
import math
import os
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from engine.data import TEMPLATES, load_benchmark, load_training, render

NAMES = ("er", "erv", "era")
SHAPINGS = ("verl", "none", "er", "erv", "equal", "shuffled", "entropy", "release")  # shaping.MODES, without torch


def knob(help, default=None):
    return field(default=default, metadata={"help": help})


@dataclass
class Config:
    """Every knob, once. Where the default is None, the recipe gives it (RECIPES, below)."""

    model: str = knob("toy, a hub id or a folder", "toy")
    data: str | None = knob("toy, a training set's name or FILE.jsonl")
    template: Literal[tuple(TEMPLATES)] | None = knob("how a question becomes a prompt")
    shaping: Literal[SHAPINGS] = knob("what is added to the advantage, see shaping.py", "verl")
    stride: int | None = knob("tokens between the prefixes of ERV and ERA; about a sentence")
    window: int | None = knob("ERV and ERA see only the last tokens; default all (release: 512)")
    rank_layer: int = knob("states of which layer: -1 the final norm's output, 0 embeddings, k block k", -1)
    kappa: float = knob("bonus at most |A| / kappa; above 1, usually 2", 2.0)
    gain: float = knob("g of the meta-controller; 1 to 4", 2.0)
    alpha: float = knob("weight of the new batch in the running means; 0.1 to 0.5", 0.3)
    steps: int | None = knob("training steps, each one rollout")
    prompts: int | None = knob("prompts per step; 32 to 512")
    group: int | None = knob("responses per prompt; 4 to 16")
    mini_batches: int = knob("optimizer updates per rollout; 1 to 4", 2)
    max_prompt_tokens: int | None = knob("tokens; longer prompts are left out and counted")
    max_new_tokens: int | None = knob("tokens per response at most")
    temperature: float = knob("of sampling, and of the log-probs that are trained; near 1", 1.0)
    lr: float | None = knob("AdamW learning rate, constant")
    clip_low: float = knob("eps_low of the loss; 0.1 to 0.3", 0.2)
    clip_high: float = knob("eps_high of the loss; 0.2 to 0.3 (DAPO: 0.28)", 0.2)
    normalise: Literal["token", "sequence", "constant"] = knob("weights of tokens, see grpo.token_weights", "token")
    scale_std: bool = knob("divide advantages by the group's std (Dr. GRPO: no)", True)
    kl_coef: float | None = knob("weight of KL to the model at the start; 0 to 0.01, 0 keeps no second model")
    entropy_coef: float | None = knob("weight of the entropy bonus; 0 to 0.01")
    mask_truncated: bool = knob("leave responses that hit max_new_tokens out of the loss (DAPO)", False)
    max_grad_norm: float = knob("gradients are scaled down to this norm; usually 1", 1.0)
    micro_tokens: int = knob("padded tokens per forward at most; memory, not results", 16384)
    recompute: bool = knob("gradient checkpointing: less memory for a third more time in the update", False)
    threads: int | None = knob("CPU threads; 1 for a tiny model, whose threads would mostly wait; default torch's")
    seed: int = knob("of batches, samples and shuffling", 0)
    bench: str | None = knob("benchmark of the table before and after, as in eval.py; 'none' for no table")
    bench_dir: str | None = knob("folder with <name>/test.jsonl for --bench")
    eval_n: int = knob("samples per problem in that table", 8)
    eval_every: int = knob("also evaluate every N steps, one sample per problem; 0: never", 0)
    save_every: int = knob("checkpoint every N steps", 10)
    keep: int = knob("newest checkpoints to keep", 2)
    out: str | None = knob("folder of the run; default runs/<time>")
    resume: bool = knob("go on from the newest checkpoint of --out, or of the newest run under runs/", False)


RECIPES = {
    # The embedded default: toy.py
    "toy": dict(data="toy", template="plain", stride=4, steps=40, prompts=32, group=8, max_prompt_tokens=64,
                max_new_tokens=96, lr=2e-4, kl_coef=0.0, entropy_coef=0.0, threads=1, bench="toy"),
    # The paper's, for Qwen2.5-7B; its release is the source of what the paper leaves open
    "paper": dict(data="simplerl_level3to5", template="qwen-boxed", stride=40, steps=160, prompts=48, group=4,
                  max_prompt_tokens=512, max_new_tokens=1536, lr=5e-7, kl_coef=0.001, entropy_coef=0.001, bench="none"),
}  # fmt: skip
MAY_CHANGE = {
    "steps",
    "eval_every",
    "save_every",
    "keep",
    "resume",
    "out",
    "micro_tokens",
    "recompute",
    "threads",
    "bench_dir",
}  # on resume


def recipe_of(config):
    return "toy" if config.model == "toy" and config.data in (None, "toy") else "paper"


def fill(config):
    """The Config with the recipe's values where none was given. ValueError for a value that cannot work."""
    for key, value in RECIPES[recipe_of(config)].items():
        if getattr(config, key) is None:
            setattr(config, key, value)
    ones = "prompts steps mini_batches max_prompt_tokens max_new_tokens stride eval_n save_every keep micro_tokens"
    zeros = "eval_every kl_coef entropy_coef gain clip_low clip_high"
    at_least = dict.fromkeys(ones.split(), 1) | dict.fromkeys(zeros.split(), 0) | {"group": 2}
    if config.threads is not None:
        at_least["threads"] = 1
    for key, low in at_least.items():
        if getattr(config, key) < low:
            why = ": a response needs another of its group to be compared with" if key == "group" else ""
            raise ValueError(f"--{key} {getattr(config, key)} must be at least {low}{why}")
    for key in ("temperature", "lr", "alpha", "max_grad_norm"):
        if not getattr(config, key) > 0:
            raise ValueError(f"--{key} {getattr(config, key)} must be above 0")
    if config.alpha > 1:
        raise ValueError(f"--alpha {config.alpha} must be at most 1, where only the last batch counts")
    if not config.kappa > 1:
        raise ValueError(f"--kappa {config.kappa} must be above 1: a larger bonus could turn the sign of an advantage")
    parts = config.mini_batches * int(os.environ.get("WORLD_SIZE", 1))
    if config.prompts % parts:
        raise ValueError(
            f"--prompts {config.prompts} does not divide by --mini_batches {config.mini_batches} x "
            f"{parts // config.mini_batches} processes = {parts}"
        )
    if config.shaping == "release" and config.window is None:
        config.window = 512
    if config.window is not None and config.window < 2 * config.stride:
        raise ValueError(f"--window {config.window} must hold two strides of {config.stride} tokens")
    return config


class Phases(dict):
    """Seconds by phase of one step. The GPU is waited for, or its work would be booked on the next phase."""

    @contextlib.contextmanager
    def __call__(self, name):
        import torch

        began = time.perf_counter()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self[name] = self.get(name, 0.0) + time.perf_counter() - began


@dataclass
class State:
    """What a checkpoint holds, and the fixed things around it."""

    config: Config
    world: object  # parallel.World
    policy: object
    tokenizer: object
    optimizer: object
    problems: list  # of the training set, each with its prompt: [(Problem, token ids)]
    stop_ids: set
    reference: object = None  # frozen Policy, with kl_coef > 0
    step: int = 0  # steps done
    baseline: object = None  # running means of (er, erv, era), float64 [3]
    pending: object = None  # shaping release: batch means that its lagging average has not seen


def batch_of(problems, step, count, seed):
    """The `count` problems of a step: a walk through a new permutation of the data each epoch."""
    positions = [divmod(i, len(problems)) for i in range(step * count, (step + 1) * count)]
    orders = {
        epoch: random.Random(f"{seed}/{epoch}").sample(range(len(problems)), len(problems))
        for epoch in {epoch for epoch, _ in positions}
    }
    return [problems[orders[epoch][place]] for epoch, place in positions]


def own_places(prompts, mini_batches, rank, size):
    """Places in the step's batch of this process's prompts: its equal share of each mini-batch.

    >>> own_places(8, 2, rank=1, size=2)
    [2, 3, 6, 7]
    """
    share = prompts // (mini_batches * size)
    return [(m * size + rank) * share + i for m in range(mini_batches) for i in range(share)]


def train_step(s):
    """One step of VERL on State s; returns the step's line of metrics.jsonl, the same on all processes."""
    import torch

    from grpo import group_advantages
    from rank import dataset_metrics
    from shaping import shape_advantages

    c, began, phase = s.config, time.perf_counter(), Phases()
    places = own_places(c.prompts, c.mini_batches, s.world.rank, s.world.size)
    batch = [batch_of(s.problems, s.step, c.prompts, c.seed)[i] for i in places]
    with phase("rollout"):
        rollout = sample(s, batch, places)
    with beside(s.world.device, look, rollout, c) as looked:
        with phase("verify"):
            R = rewards(s, batch, rollout)  # [B]
        with phase("score"):
            old_logp, ref_logp = logprobs(s, rollout)  # [B, T] or None
        with phase("rank"):
            metrics, states = looked()  # er, erv, era [B] each; mean states [B, D]
    with phase("rank"):
        means, undefined = batch_means(s.world, metrics)  # [3], [3]
        whole = dataset_metrics(torch.cat(s.world.gather([states])))
        A = group_advantages(R, c.group, c.scale_std)  # [B]
        seen, order = exchange(s, metrics, places) if c.shaping == "shuffled" else (metrics, None)
        shaped, bonus = shape_advantages(A, seen, s.baseline, c.kappa, c.gain, c.shaping, rollout.mask, rollout.entropy,
                                         order=order)  # fmt: skip
        remember(s, means)
    with phase("update"):
        updated = update(s, rollout, shaped, old_logp, ref_logp)
    s.step += 1
    line = {"step": s.step} | describe(s.world, rollout, R, c.group, bonus) | updated
    line |= dict(zip(NAMES, means.tolist())) | {f"{k}_undefined": n for k, n in zip(NAMES, undefined.tolist())}
    line |= {f"dataset_{k}": m.item() for k, m in zip(NAMES, whole)}
    seconds = time.perf_counter() - began
    line |= {"seconds": {**phase, "other": seconds - sum(phase.values())}, "step_seconds": seconds}
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in line.items()}


def sample(s, batch, places):
    """Rollout of `group` responses to each problem of this process, with the states that predicted each token."""
    from engine.parallel import unsharded
    from rollout import generate, sample_seed

    c, prompts = s.config, [ids for _, ids in batch]
    seeds = [sample_seed(c.seed, s.step, i, j) for i in places for j in range(c.group)]
    with unsharded(s.policy):
        return generate(s.policy, prompts, seeds, c.max_new_tokens, s.stop_ids, s.tokenizer.pad_token_id, c.temperature,
                        keep_states=True)  # fmt: skip


def rewards(s, batch, rollout):
    """1 where the verifier finds the response right, else 0: float32 [B]."""
    import torch

    from verifier import verify

    golds = [problem.answer for problem, _ in batch for _ in range(s.config.group)]
    right = [verify(text, gold) for text, gold in zip(rollout.texts(s.tokenizer), golds)]
    return torch.tensor(right, dtype=torch.float32, device=s.world.device)


def logprobs(s, rollout):
    """Log-probs [B, T] before the update and under the reference, each None where it is not needed.

    With one update per rollout the update's own forward gives the old log-probs.
    """
    from engine.parallel import unsharded
    from rollout import score

    c = s.config
    with unsharded(s.policy, s.reference):
        old, reference = (
            score(policy, rollout, c.temperature, c.micro_tokens, look=False)[0] if policy else None
            for policy in (s.policy if c.mini_batches > 1 else None, s.reference)
        )
    return old, reference


def look(rollout, c):
    """RankMetrics of the sampled responses and their mean states [B, D], from the states that the sampler saw."""
    from rank import mean_states, rank_metrics

    return rank_metrics(rollout.states, rollout.mask, c.stride, c.window), mean_states(rollout.states, rollout.mask)


@contextlib.contextmanager
def beside(device, function, *args):
    """A call that gives function(*args), computed meanwhile on a core that torch leaves idle, if it does."""
    import torch

    if device.type == "cpu" and torch.get_num_threads() == 1:
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(function, *args).result
    else:
        yield functools.partial(function, *args)


def exchange(s, metrics, places):
    """For "shuffled": metrics of the step's N responses [3, N], and whose of them each response here gets [B]."""
    import torch

    from rollout import sample_seed

    own = torch.stack(metrics, 1).cpu().view(len(places), s.config.group, 3)
    every = sorted(s.world.gather(list(zip(places, own))), key=lambda item: item[0])
    every = torch.cat([m for _, m in every])  # [N, 3]
    generator = torch.Generator().manual_seed(sample_seed(s.config.seed, s.step, "order"))
    order = torch.randperm(len(every), generator=generator).view(-1, s.config.group)[places].flatten()
    return every.T.to(s.world.device), order.to(s.world.device)


def batch_means(world, metrics):
    """Of each metric: its mean over all processes' responses that have it, float64 [3], and how many have not [3]."""
    import torch

    m = torch.stack(metrics)  # [3, B]
    total, known, unknown = world.sum(torch.stack([m.nansum(1), (~m.isnan()).sum(1), m.isnan().sum(1)]))
    return total / known, unknown.long()


def describe(world, rollout, R, group, bonus):
    """The numbers of a step that only look, over all processes: reward, length, tokens, entropy (nats per token) …"""
    import torch

    from grpo import equal_groups

    sums = {
        "reward": R.sum(), "equal_groups": group * equal_groups(R, group).sum(), "length": rollout.mask.sum(),
        "truncated": (~rollout.finished).sum(), "entropy": rollout.entropy.sum(), "responses": len(R),
    }  # fmt: skip
    acting = {k: v * len(R) for k, v in bonus.items() if v is not None}
    summed = world.sum(torch.tensor([float(v) for v in (sums | acting).values()], dtype=torch.float64))
    line = dict(zip(sums | acting, summed.tolist()))
    B, tokens = line.pop("responses"), int(line["length"])
    return bonus | {k: v / B for k, v in line.items()} | {"entropy": line["entropy"] / tokens, "tokens": tokens}


def remember(s, means):
    """Mix the batch means [3] into the baseline, after it was read. The release's starts at 0 and is a batch late."""
    import torch

    from shaping import update_baseline

    if s.config.shaping != "release":
        s.baseline = update_baseline(s.baseline, means, s.config.alpha)
        return
    zero = torch.zeros(3, dtype=torch.float64)
    s.baseline = zero if s.pending is None else update_baseline(s.baseline, s.pending, s.config.alpha)
    s.pending = means.nan_to_num(nan=0.0)


def update(s, rollout, A, old_logp, ref_logp):
    """`mini_batches` optimizer updates on the clipped loss; returns loss, clip_fraction, kl, grad_norm, lr.

    Each is a mean over the updates. FloatingPointError, before the weights are touched, where loss or gradient is not.
    """
    import torch

    from grpo import policy_loss, token_weights
    from rollout import micro_batches

    c, totals = s.config, {}
    learned = rollout.mask & rollout.finished[:, None] if c.mask_truncated else rollout.mask  # [B, T]
    for rows in torch.arange(len(A), device=A.device).chunk(c.mini_batches):  # whole groups
        tokens = s.world.sum(learned[rows].sum()).clamp(min=1)
        parts = list(micro_batches(rollout, rows, c.micro_tokens))
        rounds = max(s.world.gather([len(parts)]))  # FSDP's collectives need as many on each process
        sums = {}
        for i in range(rounds):
            chosen, part = parts[min(i, len(parts) - 1)]
            r = part.mask.shape[1]
            logp, entropy, _ = s.policy(
                part.ids, part.attention, part.responses, temperature=c.temperature, entropy=c.entropy_coef > 0
            )
            used = learned[chosen, :r] & (i < len(parts))
            weights = token_weights(used, c.normalise, tokens, len(rows) * s.world.size, c.max_new_tokens)
            a = A[chosen] if A.dim() == 1 else A[chosen, :r]
            old = logp.detach() if old_logp is None else old_logp[chosen, :r]
            ref = None if ref_logp is None else ref_logp[chosen, :r]
            loss, stats = policy_loss(
                logp, old, a, weights, c.clip_low, c.clip_high, entropy, c.entropy_coef, ref, c.kl_coef
            )
            (loss * s.world.size).backward()  # FSDP takes the mean over processes of what is a sum here
            for name, value in (stats | {"loss": loss.detach()}).items():
                sums[name] = sums.get(name, 0.0) + value
        sums = dict(zip(sums, s.world.sum(torch.stack(list(sums.values()))).tolist()))
        norm = torch.nn.utils.clip_grad_norm_(s.policy.parameters(), c.max_grad_norm)
        sums["grad_norm"] = (norm.full_tensor() if hasattr(norm, "full_tensor") else norm).item()
        if not math.isfinite(sums["loss"]) or not math.isfinite(sums["grad_norm"]):
            raise FloatingPointError(
                f"step {s.step + 1}: loss {sums['loss']:g}, gradient norm {sums['grad_norm']:g}; this update was not "
                "made. A smaller --lr may help"
            )
        s.optimizer.step()
        s.optimizer.zero_grad(set_to_none=True)
        for name, value in sums.items():
            totals[name] = totals.get(name, 0.0) + value / c.mini_batches
    return totals | {"lr": s.optimizer.param_groups[0]["lr"]}


def start(config, world, checkpoint=None):
    """The State of a new run, or of a checkpoint (a folder) to go on from."""
    import torch

    from engine.parallel import check_memory, load_model, load_state, recompute, shard, stop_ids
    from rollout import Policy, check_head, model_room, sample_seed
    from toy import BASE

    source, error, s = str(BASE) if config.model == "toy" else config.model, None, None
    try:
        check_memory(source, world, config.kl_coef > 0)
        model, tokenizer = load_model(checkpoint or source, world.device)
        policy = Policy(model.eval(), config.rank_layer)  # eval: dropout would set old and new log-probs apart
        check_head(policy)
        if config.bench != "none":
            load_benchmark(config.bench, bench_dir=config.bench_dir)  # a benchmark that is missing is an error now
        problems = fitting(config, tokenizer, model_room(policy) - config.max_new_tokens, world)
        s = State(config, world, policy, tokenizer, None, problems, stop_ids(model, tokenizer))
        if config.kl_coef:
            s.reference = Policy(load_model(source, world.device)[0].eval().requires_grad_(False))
    except (ValueError, OSError) as problem:
        error = str(problem)
    world.agree("data", s and sample_seed(*(ids for _, ids in s.problems)), error)
    if config.recompute:
        recompute(s.policy)
    shard(s.policy, world)
    if s.reference:
        shard(s.reference, world)
    s.optimizer = torch.optim.AdamW(s.policy.parameters(), lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0)
    if checkpoint:
        kept = load_state(checkpoint, s.policy, s.optimizer, world)
        s.step, s.baseline, s.pending = kept["step"], kept["baseline"], kept["pending"]
    return s


def fitting(config, tokenizer, room, world):
    """The training problems whose prompts fit, each with its prompt: [(Problem, token ids)]. The others are counted."""
    limit = min(config.max_prompt_tokens, room)
    everything = load_training(config.data, seed=config.seed)
    rendered = [(problem, render(tokenizer, problem.question, config.template)) for problem in everything]
    problems = [(problem, prompt) for problem, prompt in rendered if len(prompt) <= limit]
    left_out = len(everything) - len(problems)
    if left_out:
        world.say(f"{left_out} of {len(everything)} prompts are longer than {limit} tokens: left out")
    if not problems:
        raise ValueError(
            f"--data {config.data}: no prompt fits {limit} tokens (--max_prompt_tokens {config.max_prompt_tokens}; the "
            f"model has room for {room + config.max_new_tokens}, less --max_new_tokens {config.max_new_tokens})"
        )
    return problems


def save(s, out):
    """Checkpoint of State s under the run's folder; returns its path."""
    from eval import versions
    from engine.parallel import save_checkpoint

    run = {"step": s.step, "template": s.config.template, "config": asdict(s.config), "versions": versions()}
    state = {"step": s.step, "baseline": s.baseline, "pending": s.pending}
    return save_checkpoint(out, s.policy, s.optimizer, s.tokenizer, run, state, s.config.keep, s.world)


def measure(s, out, n):
    """Evaluate on --bench with n samples per problem, and append the summaries to DIR/evaluations.jsonl."""
    from eval import Protocol, evaluate, summarise
    from engine.parallel import append_line, unsharded

    c = s.config
    protocol = Protocol(c.template, n, c.temperature, 1.0, c.max_new_tokens, c.seed, 256, c.stride)
    sources = load_benchmark(c.bench, bench_dir=c.bench_dir)
    line = {"step": s.step, "n": n, "benchmarks": {}}
    with unsharded(s.policy):
        for name, problems in sources.items():
            shown = f"step {s.step}: {name}"
            records, _ = evaluate(s.policy, s.tokenizer, problems, protocol, s.stop_ids, s.world, desc=shown)
            line["benchmarks"][name] = summarise(records)
    if s.world.rank == 0:
        append_line(out / "evaluations.jsonl", line)


def parse(argv=None):
    """(Config, out folder, checkpoint or None) of a command line; refuses to mix runs, and to change one half-way."""
    from transformers import HfArgumentParser

    from engine.parallel import last_checkpoint

    def parsed(defaults):
        parser = HfArgumentParser(Config, description="Train with VERL or plain GRPO.", allow_abbrev=False)
        parser.set_defaults(**defaults)
        config, unknown = parser.parse_args_into_dataclasses(argv, True, look_for_args_file=False)
        if unknown:
            parser.error(f"unknown option {' '.join(unknown)}")
        return config

    config = parsed({})
    if not config.resume:
        fill(config)
        out = Path(config.out or f"runs/{time.strftime('%Y%m%d-%H%M%S')}")
        if any((out / name).exists() for name in ("config.json", "metrics.jsonl")):
            raise FileExistsError(f"{out} holds a run: give another --out, or --resume to go on with it")
        return config, out, None
    runs = [Path(config.out)] if config.out else [p.parent for p in Path("runs").glob("*/config.json")]
    runs = [run for run in runs if (run / "config.json").exists()]
    if not runs and config.out:  # so that one command both starts a run and, after a machine has died, goes on with it
        return fill(config), Path(config.out), None
    if not runs:
        raise FileNotFoundError(f"--resume: no run in {Path('runs').resolve()} (looked for runs/*/config.json)")
    out = max(runs, key=lambda run: (run / "config.json").stat().st_mtime)
    stored = json.loads((out / "config.json").read_text())
    config = fill(parsed(stored | {"resume": False, "out": str(out)}))
    changed = [k for k, v in asdict(config).items() if k in stored and v != stored[k] and k not in MAY_CHANGE]
    if changed:
        told = ", ".join(f"{k}: {stored[k]} -> {getattr(config, k)}" for k in changed)
        raise ValueError(f"--resume of {out} cannot change {told}; start a new run for that")
    return config, out, last_checkpoint(out)


def train(s, out, checkpoint=None):
    """The whole run of State s: evaluate, train, evaluate, print the table."""
    from tqdm import tqdm

    from eval import before_after
    from engine.parallel import StopAtStepEnd, append_line, clean, cut_log, read_lines, write_whole, written

    config, first = s.config, s.world.rank == 0
    with written(out, s.world):
        if first:
            out.mkdir(parents=True, exist_ok=True)
            clean(out)
            write_whole(out / "config.json", json.dumps(asdict(config), indent=1))
            cut_log(out / "metrics.jsonl", s.step)
            cut_log(out / "evaluations.jsonl", s.step)
    seen = {(e["step"], e["n"]) for e in read_lines(out / "evaluations.jsonl")}
    saved = s.step if checkpoint else None
    if checkpoint:
        s.world.say(f"going on from {checkpoint}")

    def evaluation(n):
        if config.bench != "none" and (s.step, n) not in seen:
            measure(s, out, n)

    try:
        if s.step == 0:
            evaluation(config.eval_n)
        with tqdm(total=config.steps, initial=s.step, desc="train", unit="step", disable=s.world.quiet) as bar:
            while s.step < config.steps:
                with StopAtStepEnd() as stop:  # also while saving, where processes wait for each other
                    line = train_step(s)
                    if first:
                        append_line(out / "metrics.jsonl", line)
                    due = s.step % config.save_every == 0 or s.step == config.steps
                    if due or any(s.world.gather([stop.asked])):
                        save(s, out)
                        saved = s.step
                    asked = saved == s.step and any(s.world.gather([stop.asked]))
                bar.update()
                bar.set_postfix(reward=f"{line['reward']:.3f}")
                if asked:
                    raise KeyboardInterrupt
                if config.eval_every and s.step % config.eval_every == 0 and s.step < config.steps:
                    evaluation(1)
        evaluation(config.eval_n)
    except KeyboardInterrupt:
        if s.step and s.step != saved:
            save(s, out)
        again = f"{'python' if s.world.size == 1 else 'torchrun …'} train.py --out {out} --resume"
        sys.exit(f"\nstopped after step {s.step} of {config.steps}; go on with: {again}" if first else 1)
    if not first:
        return
    done = {e["step"]: e["benchmarks"] for e in read_lines(out / "evaluations.jsonl") if e["n"] == config.eval_n}
    if {0, s.step} <= done.keys():
        print(before_after(done[0], done[s.step], config.eval_n))
    print(f"metrics: {out}/metrics.jsonl · model: {out}/checkpoint-{s.step}")
    print(f"evaluate it with: python eval.py --model {out}/checkpoint-{s.step} --bench NAME")


def main(argv=None):
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    first = os.environ.get("RANK", "0") == "0"
    try:
        config, out, checkpoint = parse(argv)
    except (ValueError, OSError) as error:
        sys.exit(f"train.py: {error}" if first else 1)
    import torch

    from engine.parallel import last_checkpoint, setup

    try:
        world = setup(config.threads)
        out, checkpoint = world.gather([(out, checkpoint)])[0]
        options = " ".join(f"{k}={v}" for k, v in asdict(config).items() if v is not None)
        world.say(f"run {out} (recipe {recipe_of(config)}, processes: {world.size}): {options}")
        if config.resume and not checkpoint:
            world.say(f"{out} holds no checkpoint to resume from: from the start")
        state = start(config, world, checkpoint)
    except (ValueError, OSError) as error:
        sys.exit(f"train.py: {error}" if first else 1)
    try:
        train(state, out, checkpoint)
        world.close()
    except (OSError, FloatingPointError) as error:  # of all processes: the first tells
        sys.exit(f"train.py: {error}\nlast checkpoint: {last_checkpoint(out)}" if first else 1)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            sys.exit(f"train.py: rank {world.rank}: {error}\ntry --recompute, a smaller --micro_tokens, more processes")
        if "peer" not in str(error):  # how gloo says that a connection was closed
            raise
        sys.exit(f"train.py: rank {world.rank} stops, because another process has ended")


if __name__ == "__main__":
    from engine.parallel import leave

    main()
    leave()
