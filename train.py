"""VERL: GRPO with the advantage shaped by effective rank, velocity and acceleration.

One training step (`train_step`), for the N = prompts x group responses of a batch:

    1 sample   G responses to each prompt, and the hidden states that predicted their tokens             rollout.py
    2 verify   R = 1 where the answer is right, else 0 (or another --reward)                             verifier.py
    3 shape    ER, ERV, ERA from the states, A from R over the group; A' from both                       rank.py,
               and from the running means of ER, ERV and ERA                                       grpo.py, shaping.py
    4 update   clipped loss on A', backward, clip, step; `mini_batches` times per rollout                grpo.py
    5 log      one line of DIR/metrics.jsonl

Plain GRPO is steps 1, 2, 4 and 5 with A' = A (--shaping none).

    python train.py                                         the embedded default: a minute on a laptop
    python train.py --shaping none                          the same run as plain GRPO
    python train.py --out runs/a --resume                   go on after Ctrl-C, a crash or a kill
    python train.py --model Qwen/Qwen2.5-0.5B --data gsm8k  a real model; options left out are the paper's
    torchrun --nproc_per_node 8 train.py …                  the same on 8 GPUs; the global batch does not change

How it differs from a framework's trainer. One step is one function that reads as the method does. Batches and samples
are functions of (seed, step, place): a run that was stopped and resumed ends with the same weights, to the bit on one
CPU process, and a run on several processes has the prompts and samples of a run on one. Left out: a learning-rate
schedule, LoRA, several turns, rewards that are not checked answers.
"""

import math
from dataclasses import dataclass

import torch

from engine import parallel, runs
from engine.batch import sample_seed
from engine.checkpoints import load_state
from engine.config import TrainConfig
from engine.data import load_benchmark, training_prompts
from engine.describe import describe
from engine.models import check_head, check_memory, load_model, model_room, recompute
from engine.prompts import stop_ids, stop_tokens
from engine.rewards import REWARDS
from engine.stats import before_after, summarise
from eval import Protocol, evaluate
from grpo import group_advantages, policy_loss, token_weights
from rank import dataset_metrics, mean_states, rank_metrics
from rollout import Policy, Rollout, generate, score_logprobs
from shaping import shape_advantages, update_baseline
from toy import BASE
from verifier import verify


@dataclass
class State:
    """What a step reads and changes."""

    config: TrainConfig
    world: parallel.World
    policy: Policy
    tokenizer: object
    problems: list  # of the training set, each with its prompt: [(Problem, token ids)]
    data: int  # their hash: a resumed run must have the same
    stop_ids: set  # token ids that end a response
    optimizer: torch.optim.Optimizer | None = None
    reference: Policy | None = None  # the model at the start, frozen, where --kl_coef asks for it
    step: int = 0  # steps done
    baseline: dict | None = None  # running means {name of a rank metric: mu}; None before the first step


def train_step(s):
    """One step of VERL on State s; returns the step's line of metrics.jsonl, the same on all processes."""
    c, clock = s.config, runs.Clock()

    # 1. Sample: this process's share of the step's prompts, `group` responses to each.
    places = s.world.own_places(c.prompts, c.mini_batches)  # in the batch of all processes
    whole_batch = parallel.batch_of(s.problems, s.step, c.prompts, c.seed)
    batch = [whole_batch[place] for place in places]  # [(Problem, token ids)]
    rollout = sample(s, batch, places)  # B responses of at most T tokens
    clock.lap("rollout")

    # 2. Verify: which responses are right? (Their ranks are computed meanwhile, where a core is idle.)
    measured = parallel.in_background(s.world.device, measure_states, rollout, c)
    R, right = rewards(s, batch, rollout)  # [B], [B]
    clock.lap("verify")

    # The loss compares with the policy before the update and, if asked to, with the first policy of all.
    rollout.old_logprobs, rollout.ref_logprobs = other_logprobs(s, rollout)  # [B, T] or None
    clock.lap("score")

    # 3. Shape: what the group says of a response, and what its hidden states say.
    A = group_advantages(R, c.group, c.scale_std)  # [B]
    metrics, mean_state = measured()  # {name: [B]}, [B, D]
    used = metrics
    if c.shaping == "shuffled":  # the control that keeps the size of the bonus and loses its signal
        used = s.world.of_other_responses(metrics, places, c.group, sample_seed(c.seed, s.step, "order"))
    shaped, bonus = shape_advantages(
        A, used, s.baseline, c.kappa, c.gain, c.shaping, mask=rollout.mask, entropy=rollout.entropy
    )
    means, undefined = s.world.known_means(metrics)  # {name: number} each, over all processes
    s.baseline = update_baseline(s.baseline, means, c.alpha)  # for the next step: this one has been compared already
    dataset = dataset_metrics(s.world.by_place(mean_state, places))  # the responses themselves as a trajectory
    clock.lap("rank")

    # 4. Update: learn from the shaped advantages.
    rollout.states = None  # large, and not needed any more
    if shaped.dim() == 1:  # every token of a response gets the response's own
        shaped = shaped[:, None].expand(rollout.mask.shape)
    rollout.advantages = shaped  # [B, T]
    updated = update(s, rollout)
    s.step += 1
    clock.lap("update")

    # 5. Log.
    line = {"step": s.step} | describe(s.world, rollout, R, right, c.group)
    line |= s.world.means(bonus) | updated | means
    line |= {f"{name}_undefined": count for name, count in undefined.items()}
    line |= {f"dataset_{name}": value.item() for name, value in dataset.items()}
    clock.lap("other")
    return line | {"seconds": clock.seconds, "step_seconds": clock.total()}


def sample(s, batch, places):
    """A Rollout of `group` responses to each problem of this process, with the states that predicted each token."""
    c = s.config
    prompts = [ids for _, ids in batch]
    seeds = [sample_seed(c.seed, s.step, place, j) for place in places for j in range(c.group)]
    pad_id = s.tokenizer.pad_token_id
    with parallel.unsharded(s.policy):
        return generate(
            s.policy, prompts, seeds, c.max_new_tokens, s.stop_ids, pad_id, c.temperature, keep_states=True
        )


def rewards(s, batch, rollout):
    """(what --reward gives for each response, 1 where the verifier finds it right and else 0): float32 [B] each."""
    c = s.config
    reward = REWARDS[c.reward]
    rows = [problem for problem, _ in batch for _ in range(c.group)]  # one for each response
    texts = rollout.texts(s.tokenizer)
    right = [verify(text, row.answer) for text, row in zip(texts, rows)]
    R = [reward(row.question, text, row.answer, row) for text, row in zip(texts, rows)]
    return torch.tensor(R, device=s.world.device).float(), torch.tensor(right, device=s.world.device).float()


def other_logprobs(s, rollout):
    """Log-probs [B, T] before the update and under the frozen reference, each None where it is not needed."""
    c = s.config
    old = reference = None
    with parallel.unsharded(s.policy, s.reference):
        if c.mini_batches > 1:  # with one update per rollout, its own forward gives them
            old = score_logprobs(s.policy, rollout, c.temperature, c.micro_tokens)
        if s.reference:
            reference = score_logprobs(s.reference, rollout, c.temperature, c.micro_tokens)
    return old, reference


def measure_states(rollout, c):
    """The rank metrics {name: [B]} of the sampled responses, and their mean states [B, D]."""
    metrics = rank_metrics(rollout.states, rollout.mask, c.stride, c.window)
    return metrics, mean_states(rollout.states, rollout.mask)


def update(s, rollout):
    """`mini_batches` optimizer updates on the clipped loss; returns loss, clip_fraction, kl, grad_norm, lr.

    Each is a mean over the updates. FloatingPointError, before the weights are touched, where loss or gradient is not.
    """
    c = s.config
    learnt = rollout.mask  # [B, T]: the tokens that are learnt from
    if c.mask_truncated:
        learnt = learnt & rollout.finished[:, None]
    updates = []
    for rows in torch.arange(len(learnt), device=learnt.device).chunk(c.mini_batches):  # whole groups
        # The loss is a mean over all tokens of this update, so they are counted before anything is divided.
        tokens = s.world.sum(learnt[rows].sum()).clamp(min=1)
        responses = len(rows) * s.world.size

        # Gradients add up over micro-batches, which are as large as the memory allows.
        sums = {}
        parts = rollout.micro_batches(c.micro_tokens, rows)
        for (chosen, part), counts in s.world.equally_often(parts):
            T = part.mask.shape[1]
            used = learnt[chosen, :T] & counts  # one that is there for the other processes' sake weighs nothing
            weights = token_weights(used, c.normalise, tokens, responses, c.max_new_tokens)
            loss, stats = loss_of(s, part, weights)
            (loss * s.world.size).backward()  # FSDP takes the mean over processes of what is a sum here
            stats["loss"] = loss.detach()
            sums = {name: sums.get(name, 0.0) + value for name, value in stats.items()}

        # One step of the optimizer, unless something is not a number: then the weights stay as they are.
        stats = s.world.sums(sums)
        stats["grad_norm"] = parallel.clip_gradient(s.policy, c.max_grad_norm)
        refuse_non_finite(s.step + 1, stats["loss"], stats["grad_norm"])
        s.optimizer.step()
        s.optimizer.zero_grad(set_to_none=True)
        updates.append(stats)

    means = {}
    for name in updates[0]:
        means[name] = sum(stats[name] / len(updates) for stats in updates)
    return means | {"lr": s.optimizer.param_groups[0]["lr"]}


def loss_of(s, part, weights):
    """(loss, stats) of a micro-batch, a Rollout: its share of the update's loss."""
    c = s.config
    with_entropy = c.entropy_coef > 0
    logp, entropy, _ = s.policy(
        part.ids, part.attention, part.responses, temperature=c.temperature, entropy=with_entropy
    )
    old = part.old_logprobs
    if old is None:  # the only update of this rollout: nothing has moved yet
        old = logp.detach()
    return policy_loss(
        logp, old, part.advantages, weights,
        clip_low=c.clip_low, clip_high=c.clip_high,
        entropy=entropy, entropy_coef=c.entropy_coef,
        ref_logp=part.ref_logprobs, kl_coef=c.kl_coef,
    )  # fmt: skip


def refuse_non_finite(step, loss, norm):
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise FloatingPointError(
            f"step {step}: loss {loss:g}, gradient norm {norm:g}; this update was not made. A smaller --lr may help"
        )


def start(config, world, checkpoint=None):
    """The State of a new run, or of a checkpoint (a folder) to go on from."""
    source = str(BASE) if config.model == "toy" else config.model
    error = s = None
    # Load and check. What cannot work ends all processes together, with the reason of one.
    try:
        check_memory(source, world, config.kl_coef > 0)
        model, tokenizer = load_model(checkpoint or source, world.device)
        policy = Policy(model.eval(), config.rank_layer)  # eval: dropout would set old and new log-probs apart
        check_head(policy)
        if config.bench != "none":  # a benchmark that is missing is an error now, not after the training
            load_benchmark(config.bench, bench_dir=config.bench_dir)
        problems = training_prompts(config, tokenizer, model_room(policy), world.say)
        data = sample_seed(*problems)
        stops = stop_ids(model, tokenizer, config.template, config.stop or [])
        s = State(config, world, policy, tokenizer, problems, data, stops)
        if config.kl_coef:
            frozen, _ = load_model(source, world.device)
            s.reference = Policy(frozen.eval().requires_grad_(False))
    except (ValueError, OSError) as problem:
        error = str(problem)
    world.agree("data", s and s.data, error)
    world.say(f"a response ends with {' or '.join(stop_tokens(tokenizer, s.stop_ids))}")

    # Split what was loaded over the processes, and only then make the optimizer, whose state is split likewise.
    if config.recompute:
        recompute(s.policy)
    parallel.shard(s.policy, world)
    if s.reference:
        parallel.shard(s.reference, world)
    betas = config.adam_beta1, config.adam_beta2
    s.optimizer = torch.optim.AdamW(s.policy.parameters(), config.lr, betas, weight_decay=config.weight_decay)

    # Go on where the checkpoint was made.
    if checkpoint:
        kept = load_state(checkpoint, s.policy, s.optimizer, world)
        if kept["data"] != s.data:
            raise ValueError(f"--data {config.data} is not what {checkpoint} was trained on: start a new run for that")
        s.step, s.baseline = kept["step"], kept["baseline"]
    return s


def train(s, run):
    """The whole run of State s: evaluate, train, evaluate, print the table."""
    c = s.config
    run.begin(s.step)
    with run.stopping_cleanly(s):  # whoever stops the run in here can go on with --resume
        if s.step == 0:
            measure(s, run, c.eval_n)
        while s.step < c.steps:
            with run.whole_step(s):
                run.log(train_step(s))
            if c.eval_every and s.step % c.eval_every == 0 and s.step < c.steps:
                measure(s, run, 1)
        measure(s, run, c.eval_n)

    # What has changed? The table of the first evaluation beside the last.
    found = run.evaluations(c.eval_n)
    if 0 in found and s.step in found:
        s.world.say(before_after(found[0], found[s.step], c.eval_n))
    s.world.say(run.whereabouts(s.step))


def measure(s, run, samples):
    """Evaluate on --bench, `samples` for each problem, unless the run has done so at this step already."""
    c = s.config
    if c.bench == "none" or s.step in run.evaluations(samples):
        return
    # As in training: the same template, temperature, length limit and verifier.
    protocol = Protocol(
        template=c.template, n=samples, temperature=c.temperature, top_p=1.0, max_new_tokens=c.max_new_tokens,
        seed=c.seed, batch=256, stride=c.stride,
    )  # fmt: skip
    line = {"step": s.step, "n": samples, "benchmarks": {}}
    with parallel.unsharded(s.policy):
        for name, problems in load_benchmark(c.bench, bench_dir=c.bench_dir).items():
            title = f"step {s.step}: {name}"
            records, _ = evaluate(s.policy, s.tokenizer, problems, protocol, s.stop_ids, s.world, desc=title)
            line["benchmarks"][name] = summarise(records)
    run.log_evaluation(line)


def main(argv=None):
    with runs.refusals("train.py"):
        config, folder, checkpoint = runs.choose(argv)
        world = parallel.setup(config.threads)
        run = runs.Run(config, world, folder, checkpoint)
        state = start(config, world, run.checkpoint)
    with runs.failures("train.py", run):
        train(state, run)
        world.close()


if __name__ == "__main__":
    main()
    parallel.leave()
