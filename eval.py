"""Evaluation: sample, grade, and say how sure the result is.

    python eval.py --bench toy                                 the newest checkpoint under runs/, else the shipped base
    python eval.py --bench gaokao2024 --model Qwen/Qwen2.5-7B  the paper's sampling: temperature 0.6, top_p 0.95
    torchrun --nproc_per_node 8 eval.py --bench math500 …      each process its share of the problems
    python eval.py --compare runs/a-eval runs/b-eval           is the second better than the first?

How it differs from the field's scripts. The prompt, the sampler and the verifier are the ones that training uses. Each
number comes with a 95% interval over problems, and what decides it is in results.json. A problem whose prompt does not
fit the model is scored wrong and counted, never cut.

    pass@k = mean over problems of 1 - C(n - c, k) / C(n, k)   n samples, c of them right; Chen et al., arXiv:2107.03374
    maj@n  = share of problems whose most frequent answer is right; of tied answers, the share of right ones among them
    95% interval: expanded percentile bootstrap over problems, see `interval`
"""

import json
import math
import os
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import NormalDist
from typing import Literal

from engine.data import TEMPLATES, list_benchmarks, load_benchmark, render
from verifier import extract_answer, is_equiv, verify

METRICS = ("er", "erv", "era")
KS = [2**i for i in range(11)]  # the k of pass@k, as far as there are samples


def knob(help, default=None):
    return field(default=default, metadata={"help": help})


@dataclass
class Config:
    bench: str = knob("names, separated by commas, or FILE.jsonl; 'list' shows them", "toy")
    model: str | None = knob("toy, a hub id or a folder; default: the newest checkpoint under runs/, else toy")
    template: Literal[tuple(TEMPLATES)] | None = knob("default: the checkpoint's, else qwen-boxed")
    n: int | None = field(
        default=None,
        metadata={"help": "samples per problem; default 8 for toy, else 1", "aliases": ["--samples"]},
    )  # the second name is for torchrun, whose own parser trips over --n
    protocol: Literal["plain", "paper"] = knob(
        "paper: n by benchmark as in the paper, 1 to 256, instead of --n", "plain"
    )
    temperature: float | None = knob("0 is greedy; default 1 for toy, else 0.6")
    top_p: float | None = knob("nucleus, above 0 to 1; default 1 for toy, else 0.95")
    max_new_tokens: int | None = knob("tokens per response at most; default 96 for toy, else 1536")
    limit: int | None = knob("only the first N problems of each benchmark")
    bench_dir: str | None = knob("read <folder>/<name>/test.jsonl instead of the network")
    seed: int = knob("of the sampler", 0)
    batch: int = knob("responses sampled together; 64 to 1024, less for large models", 256)
    threads: int | None = knob("CPU threads; default 1 for toy, else torch's own choice")
    stride: int | None = knob("tokens between the prefixes of ERV and ERA; default 4 for toy, else 40")
    rank_layer: int = knob("ranks from which layer: -1 the final norm's output, 0 embeddings, k block k", -1)
    last_number: bool = knob("without a box or the like, accept the last number as the answer", False)
    show: int = knob("print this many samples of each benchmark", 0)
    out: str | None = knob("folder for results.json and samples.jsonl; default runs/<time>-eval")
    resume: bool = knob("go on with an interrupted evaluation in --out", False)
    compare: list[str] | None = knob("two evaluation folders; nothing is sampled")


@dataclass(frozen=True)
class Protocol:
    """What decides a sample besides the model: the same protocol and model give the same samples."""

    template: str
    n: int  # samples per problem
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int
    batch: int  # responses sampled together: rounding, and so a sample now and then, can depend on it
    stride: int  # of ERV and ERA
    last_number: bool = False


def pass_at_k(n, c, k):
    """Probability that k of n samples, c of them right, hold a right one. ValueError: k > n.

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} samples with {c} right is undefined")
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def majority(answers, correct):
    """1 if the most frequent answer is right, 0 if not, a share where answers tie; None is no answer.

    Answers are the same if the verifier says so, either way round.
    """
    groups = []  # [answer, count, right]
    for answer, right in zip(answers, correct):
        if answer is None:
            continue
        for group in groups:
            if group[0] == answer or is_equiv(answer, group[0]):
                group[1] += 1
                group[2] |= right
                break
        else:
            groups.append([answer, 1, right])
    top = max((count for _, count, _ in groups), default=0)
    winners = [right for _, count, right in groups if count == top]
    return sum(winners) / len(winners) if winners else 0.0


def interval(values, bounds=(0.0, 1.0), seed=0, resamples=10_000):
    """95% interval (low, high) of the mean of one value per problem, each within `bounds`.

    Percentile bootstrap over problems, expanded for small N: at the quantiles Phi(+-sqrt(N / (N - 1)) t), with t the
    97.5% quantile of Student's t with N - 1 degrees of freedom, instead of 2.5% and 97.5% (Hesterberg, 2015). Where all
    values are equal a bootstrap would claim certainty; then the exact binomial bound is used: with N problems the mean
    lies within 1 - 0.025^(1/N) of it.
    """
    import torch

    x, (lowest, highest) = torch.as_tensor(values, dtype=torch.float64), bounds
    N, generator = len(x), torch.Generator().manual_seed(seed)
    if x.min() == x.max():
        reach = 1 - 0.025 ** (1 / N)
        return max(lowest, x[0].item() - reach), min(highest, x[0].item() + reach)
    normal, nu = NormalDist(), N - 1
    z = normal.inv_cdf(0.975)
    t = z + (z**3 + z) / (4 * nu) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * nu**2)  # Cornish-Fisher: to 1% from N = 4 on
    tail = normal.cdf(-math.sqrt(N / nu) * t)
    rows = max(1, 2**22 // N)  # resamples at a time: memory
    means = [
        x[torch.randint(N, (min(rows, resamples - i), N), generator=generator)].mean(1)
        for i in range(0, resamples, rows)
    ]
    low, high = torch.cat(means).quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def summarise(records):
    """The numbers of one benchmark from its samples (dicts, as in samples.jsonl): JSON-able.

    n is the number of samples per problem, the smallest where pooled benchmarks differ; pass@k uses all there are.
    """
    by_problem = {}
    for r in records:
        by_problem.setdefault((r["source"], r["id"]), []).append(r)
    counts = [(len(rs), sum(r["correct"] for r in rs)) for rs in by_problem.values()]  # (n, c) of each problem
    n, sampled = min(n for n, _ in counts), [r for r in records if not r["too_long"]]

    def mean(values):
        known = [v for v in values if v is not None]
        return sum(known) / len(known) if known else None

    out = {"problems": len(by_problem), "n": n}
    for k in [k for k in KS if k <= n]:
        values = [pass_at_k(n, c, k) for n, c in counts]
        out[f"pass@{k}"] = mean(values)
        out[f"pass@{k}_95"] = interval(values)
    votes = [majority([r["answer"] for r in rs], [r["correct"] for r in rs]) for rs in by_problem.values()]
    out |= {
        f"maj@{n}": mean(votes),
        "length": mean(r["length"] for r in sampled),
        "truncated": mean(r["truncated"] for r in sampled),
        "no_answer": mean(r["answer"] is None for r in records),
        "too_long": sum(rs[0]["too_long"] for rs in by_problem.values()),
    }
    for label, verdict in (("correct", True), ("incorrect", False)):
        out[label] = {m: mean(r[m] for r in sampled if r["correct"] is verdict) for m in METRICS}
    return out


def batches(problems, prompts, protocol):
    """Problems cut into batches of about `protocol.batch` responses, longest prompts first: a function of its input."""
    order = sorted(range(len(problems)), key=lambda i: (-len(prompts[i]), i))
    size = max(1, protocol.batch // protocol.n)
    return [order[i : i + size] for i in range(0, len(order), size)]


def sample_batch(policy, tokenizer, problems, prompts, protocol, stop_ids):
    """Samples and grades of one batch: a list of records, n consecutive ones for each problem, and the mean hidden
    states of the responses, float64 [sampled, D] (None where no prompt fits)."""
    from rank import mean_states, rank_metrics
    from rollout import generate, model_room, sample_seed

    n, fits = protocol.n, [len(p) + protocol.max_new_tokens <= model_room(policy) for p in prompts]
    records = [
        {"source": p.source, "id": p.id, "sample": j, "question": p.question, "gold": p.answer, "response": None,
         "answer": None, "correct": False, "too_long": True, "length": None, "truncated": None}
        | dict.fromkeys(METRICS)
        for p in problems for j in range(n)
    ]  # fmt: skip
    if not any(fits):
        return records, None
    asked = [p for p, ok in zip(prompts, fits) if ok]
    seeds = [sample_seed(protocol.seed, p.source, p.id, j) for p, ok in zip(problems, fits) if ok for j in range(n)]
    rollout = generate(
        policy, asked, seeds, protocol.max_new_tokens, stop_ids, tokenizer.pad_token_id, protocol.temperature,
        protocol.top_p, keep_states=True,
    )  # fmt: skip
    metrics = zip(*(m.tolist() for m in rank_metrics(rollout.states, rollout.mask, stride=protocol.stride)))
    places = [i * n + j for i, ok in enumerate(fits) if ok for j in range(n)]
    texts, lengths, done = rollout.texts(tokenizer), rollout.mask.sum(1).tolist(), rollout.finished.tolist()
    for place, text, length, finished, looks in zip(places, texts, lengths, done, metrics):
        records[place] |= {
            "response": text, "answer": extract_answer(text, last_number=protocol.last_number), "too_long": False,
            "correct": verify(text, records[place]["gold"], last_number=protocol.last_number), "length": length,
            "truncated": not finished,
        }  # fmt: skip
        records[place] |= {m: finite(v) for m, v in zip(METRICS, looks)}
    return records, mean_states(rollout.states, rollout.mask).cpu()


def read_samples(path):
    """Records of a samples.jsonl. A half-written last line, left by a crash, is cut off the file, with a note."""
    path = Path(path)
    whole, newline, torn = path.read_text(encoding="utf-8").rpartition("\n")
    if torn:
        print(f"{path}: dropped a half-written last line")
        path.write_text(whole + newline, encoding="utf-8")
    return [json.loads(line) for line in whole.split("\n") if line]


def write_samples(path, records, mode="a"):
    """Append records to a samples.jsonl, on the disk when this returns."""
    with open(path, mode, encoding="utf-8") as file:
        file.write("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
        file.flush()
        os.fsync(file.fileno())


def key(record):
    return record["source"], record["id"], record["sample"]


def evaluate(policy, tokenizer, problems, protocol, stop_ids, world=None, out=None, desc="eval"):
    """Records of all `problems` of one benchmark in the order of their batches, and their mean states [samples, D].

    world: parallel.World; each process takes every size-th batch, and all return the same. out: a folder; each batch
    is added to a samples*.jsonl there when it is done, and a batch found there is not sampled again, so that an
    interrupted evaluation goes on where it was and ends as if it had not been interrupted.
    """
    import torch
    from tqdm import tqdm

    from engine.parallel import World

    world = world or World(0, 1, next(policy.parameters()).device)
    found = {key(r): r for file in sorted(out.glob("samples*.jsonl")) for r in read_samples(file)} if out else {}
    world.barrier()  # every process has read before one writes
    prompts = [render(tokenizer, p.question, protocol.template) for p in problems]
    own = []  # (batch number, records, mean states) of this process
    with tqdm(total=len(problems) * protocol.n, desc=desc, unit="sample", disable=world.quiet, leave=False) as bar:
        for number, batch in enumerate(batches(problems, prompts, protocol)):
            keys = [(problems[i].source, problems[i].id, j) for i in batch for j in range(protocol.n)]
            states = out / "means" / f"{problems[0].source}-{number}.pt" if out else None
            if number % world.size == world.rank:
                if all(k in found for k in keys) and states.exists():
                    done = [found[k] for k in keys], torch.load(states, weights_only=True)
                else:
                    chosen, asked = [problems[i] for i in batch], [prompts[i] for i in batch]
                    done = sample_batch(policy, tokenizer, chosen, asked, protocol, stop_ids)
                    if out:
                        states.parent.mkdir(exist_ok=True)
                        torch.save(done[1], states)
                        write_samples(out / f"samples.{world.rank}.jsonl", done[0])
                own.append((number, *done))
                right = sum(r["correct"] for _, records, _ in own for r in records)
                bar.set_postfix(right=f"{right / sum(len(records) for _, records, _ in own):.3f}", refresh=False)
            bar.update(len(keys))
    every = sorted(world.gather(own), key=lambda batch: batch[0])
    means = [means for _, _, means in every if means is not None]
    return [r for _, records, _ in every for r in records], torch.cat(means) if means else None


def table(rows):
    """Text table of {name: summary}, one line each: pass@1 and the largest pass@k, both with their intervals."""
    lines = []
    for name, s in rows.items():
        k = max(int(key[5:]) for key in s if key.startswith("pass@") and key[5:].isdigit())
        cells = [name, s["problems"], s["n"]]
        for kk in dict.fromkeys((1, k)):
            low, high = s[f"pass@{kk}_95"]
            cells.append(f"pass@{kk} {100 * s[f'pass@{kk}']:5.1f} [{100 * low:5.1f}, {100 * high:5.1f}]")
        n = s["n"]
        cells.append(f"maj@{n} {100 * s[f'maj@{n}']:5.1f}" if n > 1 else "")
        length = "-" if s["length"] is None else f"{s['length']:.0f}"
        cells.append(f"length {length}  truncated {100 * (s['truncated'] or 0):.0f}%")
        cells.append(f"no answer {100 * s['no_answer']:.0f}%" + f"  too long {s['too_long']}" * bool(s["too_long"]))
        lines.append("  ".join([f"{cells[0]:<16} {cells[1]:>5} problems x {cells[2]:<3}", *cells[3:]]).rstrip())
    return "\n".join(lines)


def before_after(before, after, n):
    """The table that closes a training run: pass@1 and pass@n, n samples, of {benchmark: summary} before and after."""
    ks = dict.fromkeys((1, max(k for k in KS if k <= n)))

    def cell(summary, k):
        low, high = summary[f"pass@{k}_95"]
        return f"{100 * summary[f'pass@{k}']:5.1f} [{100 * low:5.1f}, {100 * high:5.1f}]"

    rows = [" " * 16 + "".join(f"{f'pass@{k} before':>22}{f'pass@{k} after':>22}" for k in ks)]
    for name in before:
        rows.append(f"{name:<16}" + "".join(f"{cell(s[name], k):>22}" for k in ks for s in (before, after)))
    return "\n".join([*rows, f"per cent, {n} samples per problem; 95% bootstrap interval over problems"])


def per_problem(records):
    """{(source, id): share of right samples}."""
    shares = {}
    for r in records:
        shares.setdefault((r["source"], r["id"]), []).append(r["correct"])
    return {key: sum(v) / len(v) for key, v in shares.items()}


def compare(folder_a, folder_b, flips=10_000, seed=0):
    """Paired difference of pass@1, B - A, per benchmark and pooled: {name: {difference, 95, p, problems}}.

    95% by bootstrap over problems; p by sign flips of the per-problem differences (two-sided). ValueError where the two
    were not sampled by the same protocol on the same problems: the fields that differ are named.
    """
    import torch

    results = [json.loads((Path(f) / "results.json").read_text()) for f in (folder_a, folder_b)]
    protocols = [{**r["protocol"], "problems": r["problems"]} for r in results]
    different = {k: (protocols[0].get(k), protocols[1].get(k)) for k in {*protocols[0], *protocols[1]} - {"seed"}}
    different = {k: v for k, v in different.items() if v[0] != v[1]}
    if different:
        raise ValueError(f"{folder_a} and {folder_b} cannot be compared, they differ in {different}")
    a, b = (per_problem(read_samples(Path(f) / "samples.jsonl")) for f in (folder_a, folder_b))
    if a.keys() != b.keys():
        raise ValueError(f"{folder_a} and {folder_b} hold different problems: {sorted(a.keys() ^ b.keys())[:3]} …")
    out, sources = {}, list(dict.fromkeys(source for source, _ in a))
    for name in [*sources, *(["pooled"] if len(sources) > 1 else [])]:
        d = torch.tensor([b[k] - a[k] for k in a if name in (k[0], "pooled")], dtype=torch.float64)
        signs = torch.randint(2, (flips, len(d)), generator=torch.Generator().manual_seed(seed)) * 2 - 1
        extreme = ((signs * d).mean(1).abs() >= d.mean().abs() - 1e-12).sum().item()
        p = (extreme + 1) / (flips + 1)
        out[name] = {"difference": d.mean().item(), "95": interval(d, (-1.0, 1.0)), "p": p, "problems": len(d)}
    return out


def paper_n(name, rows):
    """Samples per problem in the paper: 256 for AIME, AMC, math24o, 32 for OlymMATH, BeyondAIME, 16 for small sets.

    The paper does not say where small ends; ours: below 150 problems.
    """
    if name.startswith(("aime", "amc", "math24o")):
        return 256
    if name.startswith(("OlymMATH", "BeyondAIME")):
        return 32
    return 16 if rows < 150 else 1


def finite(value):
    """The value, or None for NaN: what JSON can say."""
    return None if math.isnan(value) else value


def versions():
    import platform

    import torch
    import transformers

    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}


def resolve_model(name):
    """(path or hub id, words that say which): `toy`, what was asked for, or the newest checkpoint under runs/."""
    from engine.parallel import checkpoints
    from toy import BASE

    if name == "toy":
        return str(BASE), "the shipped toy base"
    if name:
        return name, name
    found = [path for run in Path("runs").glob("*") for _, path in checkpoints(run)]
    if not found:
        return str(BASE), "the shipped toy base (no checkpoint under runs/)"
    newest = max(found, key=lambda p: p.stat().st_mtime)
    return str(newest), f"{newest} (the newest checkpoint under runs/)"


def main(argv=None):
    from transformers import HfArgumentParser

    parser = HfArgumentParser(Config, description="Evaluate a model: pass@k, majority, intervals.", allow_abbrev=False)
    config, unknown = parser.parse_args_into_dataclasses(argv, True, look_for_args_file=False)
    if unknown:
        parser.error(f"unknown option {' '.join(unknown)}")
    try:
        run(config)
    except (ValueError, OSError) as error:
        sys.exit(f"eval.py: {error}" if os.environ.get("RANK", "0") == "0" else 1)
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; every finished batch is kept: the same command with --out and --resume goes on")


def run(config):
    """Everything `python eval.py` does, from a Config."""
    if config.compare:
        if len(config.compare) != 2:
            raise ValueError(f"--compare {' '.join(config.compare)}: give two evaluation folders")
        for name, c in compare(*config.compare).items():
            low, high = c["95"]
            print(f"{name:<16} {c['problems']:>5} problems  difference {100 * c['difference']:+5.1f} "
                  f"[{100 * low:+5.1f}, {100 * high:+5.1f}]  p = {c['p']:.4f}")  # fmt: skip
        return
    if config.resume and not config.out:
        raise ValueError("--resume needs --out, the folder of the evaluation to go on with")
    for name, low in {
        "n": 1,
        "max_new_tokens": 1,
        "stride": 1,
        "threads": 1,
        "limit": 1,
        "batch": 1,
        "show": 0,
    }.items():
        if getattr(config, name) is not None and getattr(config, name) < low:
            raise ValueError(f"--{name} {getattr(config, name)} must be at least {low}")
    if config.bench == "list":
        print(list_benchmarks())
        return
    sets, pools = {}, {}
    for name in config.bench.split(","):
        found = load_benchmark(name, bench_dir=config.bench_dir, limit=config.limit)
        if twice := sets.keys() & found.keys():
            raise ValueError(f"--bench {config.bench}: {', '.join(twice)} twice; files need names of their own")
        sets |= found
        if len(found) > 1:
            pools[name] = list(found)

    import torch

    from engine.parallel import checkpoint_template, load_model, setup, stop_ids
    from rank import dataset_metrics
    from rollout import Policy, check_head, model_room
    from toy import MAX_NEW_TOKENS, STRIDE

    path, said = resolve_model(config.model)
    toy = config.bench == "toy"
    world = setup(config.threads or (1 if toy else None))

    def default(value, for_toy, otherwise):
        return value if value is not None else for_toy if toy else otherwise

    protocol = Protocol(
        template=config.template or checkpoint_template(path) or "qwen-boxed", n=default(config.n, 8, 1),
        temperature=default(config.temperature, 1.0, 0.6), top_p=default(config.top_p, 1.0, 0.95),
        max_new_tokens=default(config.max_new_tokens, MAX_NEW_TOKENS, 1536), seed=config.seed, batch=config.batch,
        stride=default(config.stride, STRIDE, 40), last_number=config.last_number,
    )  # fmt: skip
    if protocol.temperature < 0 or not 0 < protocol.top_p <= 1:
        raise ValueError(f"want temperature >= 0 and 0 < top_p <= 1, got {protocol}")
    ns = {name: paper_n(name, len(sets[name])) if config.protocol == "paper" else protocol.n for name in sets}
    if protocol.temperature == 0 and max(ns.values()) > 1:
        raise ValueError(f"--temperature 0 gives the same answer {max(ns.values())} times: use --n 1 or sample")
    out = Path(config.out or f"runs/{time.strftime('%Y%m%d-%H%M%S')}-eval")
    began = {
        "protocol": asdict(protocol) | {"n": ns, "rank_layer": config.rank_layer},
        "model": path,
        "dtype": "bfloat16" if world.device.type == "cuda" else "float32",
        "problems": {k: len(v) for k, v in sets.items()},
    }
    started = out / "evaluation.json"
    if started.exists() and not config.resume:
        raise FileExistsError(f"{out} holds an evaluation: give another --out, or --resume to go on with it")
    if started.exists() and (before := json.loads(started.read_text())) != began:
        raise ValueError(f"{out} was begun with {before}, not {began}: nothing to resume")
    model, tokenizer = load_model(path, world.device, getattr(torch, began["dtype"]))
    for name in sets:
        render(tokenizer, sets[name][0].question, protocol.template)  # a template that cannot work is an error now
    policy, stops = Policy(model.eval(), config.rank_layer), stop_ids(model, tokenizer)
    check_head(policy)
    if protocol.max_new_tokens >= model_room(policy):
        raise ValueError(
            f"--max_new_tokens {protocol.max_new_tokens} leaves no room for any prompt: {said} has positions for "
            f"{model_room(policy)} tokens, prompt and response together"
        )
    world.barrier()
    out.mkdir(parents=True, exist_ok=True)
    started.write_text(json.dumps(began, indent=1))
    told = " ".join(f"{k}={v}" for k, v in began["protocol"].items())
    world.say(f"{said} · {told} · {began['dtype']} on {world.device}, processes: {world.size} · to {out}")

    summaries, records, began_at = {}, {}, time.time()
    for name, problems in sets.items():
        records[name], means = evaluate(
            policy, tokenizer, problems, replace(protocol, n=ns[name]), stops, world, out, name
        )
        summaries[name] = summarise(records[name])
        if means is not None:
            summaries[name]["dataset"] = dict(zip(METRICS, (finite(m.item()) for m in dataset_metrics(means))))
        world.say(table({name: summaries[name]}))
        for r in records[name][: config.show]:
            world.say(f"\n{r['id']}: {r['question']}\n-- response\n{r['response']}\n-- answer {r['answer']!r}, gold "
                      f"{r['gold']!r}: {'right' if r['correct'] else 'wrong'}\n")  # fmt: skip
    for name, members in pools.items():
        summaries[f"{name} pooled"] = summarise([r for member in members for r in records[member]])
        world.say(table({f"{name} pooled": summaries[f"{name} pooled"]}))
    if world.rank == 0:
        write_samples(out / "samples.jsonl.new", [r for name in sets for r in records[name]], "w")
        os.replace(out / "samples.jsonl.new", out / "samples.jsonl")
        for part in out.glob("samples.*.jsonl"):
            part.unlink()
        results = {"command": [sys.executable, *sys.argv], **began, "benchmarks": summaries, "versions": versions(),
                   "device": str(world.device), "processes": world.size, "seconds": time.time() - began_at}  # fmt: skip
        (out / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False))
    world.say(f"results and samples: {out}/results.json, {out}/samples.jsonl")
    world.close()


if __name__ == "__main__":
    from engine.parallel import leave

    main()
    leave()
