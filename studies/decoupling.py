"""Are exploration and exploitation decoupled in the hidden states, as the paper's Figure 1 has it? Signal, or window?

    python studies/decoupling.py                                       the shipped base; half a minute on one core
    python studies/decoupling.py --model runs/a/checkpoint-40 --out runs/decoupling-a
    python studies/decoupling.py --model Qwen/Qwen2.5-1.5B-Instruct --bench math500 --out runs/decoupling-qwen \\
        --template qwen-boxed --stride 40 --window 512 --max_new_tokens 1536

One response is sampled for each question, at temperature 1. By default the questions are toy chains of 1 to 40
operators (toy.chain, 10 of each), so that a window of 5 strides can matter. The longest need 162 tokens of prompt and
325 of full working, of the 512 positions that the model has. It was trained on up to 8 operators: what it writes on
longer chains is mostly wrong, and counts here as text all the same. A real model's window is the release's, 512 tokens.

For each response: mean entropy of the policy at its tokens, mean log-prob, the entropy of its token frequencies (which
is what the paper's Figure 1a shows), length, ER, and ERV and ERA over the whole response and over its last `window`
states only. For pairs of these over N responses:

    r           Pearson's correlation; 95% interval by 2,000 bootstrap resamples of responses
    r | length  the same of residuals, both regressed on 1, x, x^2, x^3 with x = ln(length), within each resample

If a window makes the correlation of ER and ERV vanish, the reason may be that ER still sees the length and ERV does
not any more: `r | length` tells. Then reorder.py: how far ERV goes, at one ER, when the states are reordered.

Written to --out: decoupling.json, .md, and .png where matplotlib is installed.
"""

import argparse
import json
import platform
import random
import sys
from pathlib import Path

import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import reorder
import toy
from engine.batch import sample_seed
from engine.checkpoints import versions
from engine.data import Problem, load_benchmark
from engine.evaluations import resolve_model
from engine.models import check_family, load_model, model_room
from engine.parallel import setup, unsharded
from engine.prompts import render, stop_ids
from engine.stats import finite
from plot import pyplot
from rank import rank_metrics
from rollout import Policy, generate, score
from verifier import verify

PAIRS = (
    ("entropy", "logprob"), ("frequency_entropy", "logprob"), ("frequency_entropy", "entropy"), ("er", "erv"),
    ("er", "erv_window"), ("er", "era"), ("er", "era_window"), ("erv", "era"),
    ("er", "length"), ("erv", "length"), ("erv_window", "length"), ("era", "length"), ("entropy", "length"),
    ("er", "entropy"), ("er", "correct"), ("erv", "correct"), ("era", "correct"), ("entropy", "correct"),
)  # fmt: skip


def chains(longest, each):
    """Problems with 1 to `longest` operators."""
    rng, problems = random.Random("decoupling"), []
    for k in range(1, longest + 1):
        for i in range(each):
            steps = toy.chain(rng, k)
            problems.append(Problem(toy.question(steps), str(steps[-1].value), "chain", f"{k}-{i}"))
    return problems


def measure(policy, tokenizer, problems, stops, c):
    """A row of numbers for each problem's one response, and the hidden states [T, D] of the c.reordered first ones that
    are longer than the window."""
    rows, states = [], []
    room = model_room(policy) - c.max_new_tokens
    asked = [(problem, render(tokenizer, problem.question, c.template)) for problem in problems]
    fit = [(problem, ids) for problem, ids in asked if len(ids) <= room]
    if len(fit) < len(asked):
        print(f"{len(asked) - len(fit)} of {len(asked)} prompts leave no room for {c.max_new_tokens} tokens: left out")
    order = random.Random(0).sample(fit, len(fit))  # any length among the first
    for start in tqdm(range(0, len(order), c.batch), desc="sample", unit="batch", disable=None):
        batch = order[start : start + c.batch]  # B of them
        prompts = [ids for _, ids in batch]
        seeds = [sample_seed(c.seed, problem.source, problem.id) for problem, _ in batch]
        with unsharded(policy):
            rollout = generate(policy, prompts, seeds, c.max_new_tokens, stops, c.temperature)
        logp, entropy, hidden = score(policy, rollout, c.temperature)  # [B, T] [B, T] [B, T, D]
        length = rollout.mask.sum(1)
        responses = list(zip(rollout.responses, rollout.mask))
        whole = rank_metrics(hidden, rollout.mask, c.stride)
        last = rank_metrics(hidden, rollout.mask, c.stride, c.window)
        texts = rollout.texts(tokenizer)
        right = [float(verify(text, problem.answer)) for text, (problem, _) in zip(texts, batch)]
        columns = {
            "length": length,
            "entropy": entropy.sum(1) / length,
            "logprob": logp.sum(1) / length,
            "frequency_entropy": torch.tensor([frequency_entropy(ids[m]) for ids, m in responses]),
            "er": whole["er"],
            "erv": whole["erv"],
            "era": whole["era"],
            "erv_window": last["erv"],
            "era_window": last["era"],
            "correct": torch.tensor(right),
        }
        rows += [dict(zip(columns, map(six_digits, row))) for row in zip(*(x.tolist() for x in columns.values()))]

        # Keep the states of some that are long enough to have an ERA, whatever the window.
        long = length > max(c.window, 3 * c.stride)  # [B]
        for i in long.nonzero()[:, 0].tolist():
            if len(states) < c.reordered:
                states.append(hidden[i, : length[i]])
    return rows, states


def frequency_entropy(ids):
    """Entropy, in nats, of how often each token occurs in a response ids [T]: 0 for one token repeated."""
    _, counts = ids.unique(return_counts=True)
    return torch.special.entr(counts / len(ids)).sum().item()


def six_digits(value):
    """The value as JSON can say it, None for NaN."""
    return finite(float(f"{value:.6g}"))


def correlation(x, y, given=None):
    """x, y, given [..., N] -> r [...]; with `given`, of the residuals on a cubic polynomial in it."""
    x, y = (v - v.mean(-1, keepdim=True) for v in (x, y))
    if given is not None:
        g = (given - given.mean(-1, keepdim=True)) / given.std(-1, keepdim=True)
        basis = torch.linalg.qr(torch.stack([g**i for i in range(4)], -1))[0]  # [..., N, 4] orthonormal
        x, y = (v - (basis @ (basis.mT @ v[..., None]))[..., 0] for v in (x, y))  # what the cubic leaves of each
    return (x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1))


def correlations(rows, resamples=2000):
    """{"a, b": {n, r, partial}}, the last two as [estimate, low, high], where both are defined."""
    out = {}
    for a, b in PAIRS:
        known = [(r[a], r[b], r["length"]) for r in rows if r[a] is not None and r[b] is not None]
        if len(known) < 10:
            out[f"{a}, {b}"] = {"n": len(known)}
            continue
        x, y, length = torch.tensor(known, dtype=torch.float64).T
        pick = torch.randint(len(x), (resamples, len(x)), generator=torch.Generator().manual_seed(0))
        found = {"n": len(x)}
        for name, given in (("r", None), ("partial", length.log())):
            if x.std() == 0 or y.std() == 0 or (given is not None and "length" in (a, b)):
                continue  # nothing varies, or nothing is left of a length that is given
            resampled = correlation(x[pick], y[pick], None if given is None else given[pick])
            ends = resampled[resampled.isfinite()].quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
            found[name] = [round(v, 4) for v in (correlation(x, y, given).item(), *ends.tolist())]
        out[f"{a}, {b}"] = found
    return out


def markdown(results):
    c = results["options"]
    text = [f"# Decoupling: {results['model']}, stride {c['stride']}, window {c['window']}\n"]
    for name, found in results["correlations"].items():
        cells = {k: [f"{f[k][0]:+.2f} [{f[k][1]:+.2f}, {f[k][2]:+.2f}]" if k in f else "-" for f in found.values()]
                 for k in ("r", "partial")}  # fmt: skip
        lines = [f"| {p} | {f['n']} | {r} | {q} |" for (p, f), r, q in zip(found.items(), cells["r"], cells["partial"])]
        text += [f"{name}\n", "| pair | N | r | r given length |", "|---|---|---|---|", *lines, ""]
    return "\n".join([*text, reorder.table(results["reordered"]) if results["reordered"] else "", ""])


def draw(results, out):
    """Scatter plots of the pairs that matter, dark for short and light for long, and the range of ERV at one ER."""
    plt = pyplot()
    rows, found = [r for r in results["rows"] if r["erv"] is not None], results["reordered"]
    figure, grid = plt.subplots(2, 3, figsize=(8, 5), layout="constrained")
    names = {
        "entropy": "entropy of the policy, nats", "frequency_entropy": "entropy of token frequencies",
        "logprob": "mean log-prob", "er": "ER", "erv": "ERV, whole response",
        "erv_window": f"ERV, last {results['options']['window']} states", "length": "length, tokens",
    }  # fmt: skip
    pairs = (
        ("entropy", "logprob"), ("frequency_entropy", "logprob"), ("er", "erv"), ("er", "erv_window"),
        ("length", "erv_window"),
    )  # fmt: skip
    known, length = results["correlations"]["all responses"], [r["length"] for r in rows]
    for axes, (a, b) in zip(grid.flat, pairs):
        x, y = ([r[key] for r in rows] for key in (a, b))
        dots = axes.scatter(x, y, c=length, cmap="viridis", s=7, vmax=max(length) * 1.1)
        r = known.get(f"{a}, {b}") or known[f"{b}, {a}"]
        axes.set(xlabel=names[a], ylabel=names[b], title=f"r = {r['r'][0]:+.2f}" if "r" in r else "")
    figure.colorbar(dots, ax=grid[:, -1], label=names["length"])
    for x in found:
        low, high = min(x["erv"][o] for o in reorder.CHOSEN), max(x["erv"][o] for o in reorder.CHOSEN)
        grid[1, 2].plot([x["er"]] * 2, [low, high], color="0.6", linewidth=1)
    for order, marker in (("sampled", "o"), ("random, mean", "_"), ("slow", "v"), ("fast", "^")):
        ys = [x["erv"][order] for x in found]
        grid[1, 2].plot([x["er"] for x in found], ys, marker, color="black", markersize=3.5, label=order,
                        fillstyle="full" if order == "sampled" else "none")  # fmt: skip
    grid[1, 2].set(xlabel="ER", ylabel="ERV, whole response", title="same states, other orders")
    grid[1, 2].legend(fontsize=6.5)
    figure.savefig(out)
    plt.close(figure)


def parse(argv=None):
    parser = argparse.ArgumentParser(description="ER against ERV in sampled responses, with and without a window.")
    parser.add_argument("--model", default="toy", help="toy, a folder or a hub id")
    parser.add_argument("--bench", help="benchmark or FILE.jsonl; default: toy chains")
    parser.add_argument("--bench_dir", help="read <folder>/<name>/test.jsonl instead of the network")
    parser.add_argument("--limit", type=int, help="only the first N problems of each benchmark")
    parser.add_argument("--operators", type=int, default=40, help="of the longest chain")
    parser.add_argument("--each", type=int, default=10, help="chains of each length")
    parser.add_argument("--template", default="plain")
    parser.add_argument("--stride", type=int, default=toy.STRIDE)
    parser.add_argument("--window", type=int, default=5 * toy.STRIDE)
    parser.add_argument("--max_new_tokens", type=int, default=350)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--bfloat16", action="store_true", help="multiply in bfloat16: faster on some CPUs")
    parser.add_argument("--batch", type=int, default=64, help="responses sampled together; memory: their hidden states")
    parser.add_argument("--reordered", type=int, default=20, help="responses whose states are reordered")
    parser.add_argument("--orders", type=int, default=50, help="random orders of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "studies/results")
    return parser.parse_args(argv)


def main(argv=None):
    c = parse(argv)
    try:
        problems = chains(c.operators, c.each)
        if c.bench:
            problems = sum(load_benchmark(c.bench, bench_dir=c.bench_dir, limit=c.limit).values(), [])
        world, (path, _) = setup(), resolve_model(c.model)
        model, tokenizer = load_model(path, world.device)
        policy = Policy(model.eval())
        check_family(policy)
        policy.bfloat16 = c.bfloat16
        rows, states = measure(policy, tokenizer, problems, stop_ids(model, tokenizer, c.template), c)
    except (ValueError, OSError) as error:
        sys.exit(f"decoupling.py: {error}")
    sets = {"all responses": rows, f"longer than {c.window} states": [r for r in rows if r["length"] > c.window]}
    results = {
        "command": " ".join(["python studies/decoupling.py", *(argv or sys.argv[1:])]), "model": c.model,
        "options": {k: v for k, v in vars(c).items() if k != "out"}, "versions": versions(),
        "machine": f"{platform.platform()}, {world.device}",
        "correlations": {k: correlations(v) for k, v in sets.items()},
        "reordered": [reorder.reordered(z, c.stride, c.orders) for z in states], "rows": rows,
    }  # fmt: skip
    c.out.mkdir(parents=True, exist_ok=True)
    (c.out / "decoupling.json").write_text(json.dumps(results, separators=(",", ":"), allow_nan=False))
    (c.out / "decoupling.md").write_text(markdown(results))
    print(markdown(results))
    try:
        draw(results, c.out / "decoupling.png")
    except ModuleNotFoundError as error:
        print(f"no picture: {error}")


if __name__ == "__main__":
    main()
