"""What the spectra cost: one table over response length T and hidden size D. Run: python bench/rank.py [--quick]

Milliseconds per response, stride 40, bfloat16 input with a power-law spectrum, one thread (--threads), medians of runs
that alternate between the contenders; a ratio above 1 says how many times faster rank_metrics is.

  whole, win   rank_metrics (auto) without a window and with window 512; exact and fast: the two methods, no window
  release      what the paper's code does per response: ER by a float32 SVD of the whole; ERV and ERA by a float32 Gram
               matrix that grows with the prefix, centred and eigensolved at every stride of the last 512 states
  svd          float64 SVD of the whole and of every prefix; gram: float64 eigensolve of the n x n Gram matrix of every
               prefix (shown where T >= 512 and T >= 8 D)
  x release    release / win, like with like; x svd, x gram: against whole. ~: extrapolated from five prefixes
  MiB          peak of resident memory above the input, for one response, whole, in a fresh process
  err          worst error of ER and of ERV, ERA against that SVD, relative to max(|value|, 1e-3), exact and fast; where
               svd is extrapolated, of ER alone and of the whole only
"""
import argparse
import multiprocessing
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from rank import acceleration, dataset_metrics, effective_rank, mean_states, rank_metrics, velocity  # noqa: E402

STRIDE, WINDOW = 40, 512
CELLS = [(t, d) for d in (64, 896, 3584) for t in (64, 512, 1536, 4096)]
QUICK = [(64, 64), (512, 64), (1536, 64), (64, 896), (512, 896), (512, 3584)]
AFFORDABLE = 1e12  # flops of per-prefix work above which it is extrapolated


def states(t, d, seed=0):
    """[t, d] bfloat16, sigma_k ~ 1 / k with two massive directions."""
    g = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, d + 1) ** -1.0
    scale[:2] *= 30
    return (torch.randn(t, d, generator=g) * scale @ torch.randn(d, d, generator=g) / d ** 0.5).bfloat16()


def entropy_rank(sigma):
    p = sigma / sigma.sum()
    return torch.special.entr(p).sum().exp()


def gram_rank(z):
    z = z.double()
    z = z - z.mean(0)
    return entropy_rank(torch.linalg.eigvalsh(z @ z.T).clamp_min(0).sqrt())


def changes(ranks):
    """(ERV, ERA) of a list of prefix ranks."""
    m = torch.tensor(ranks, dtype=torch.float64)
    return velocity(m).item(), acceleration(m).item()


def release(z):
    """The release's work for one response, in our words."""
    x = z.float()
    er = entropy_rank(torch.linalg.svdvals(x - x.mean(0)))
    x = x[-WINDOW:]
    gram, m = x.new_zeros(0, 0), []
    for n in range(STRIDE, len(x) + 1, STRIDE):
        border = x[n - STRIDE:n] @ x[:n].T
        gram = torch.cat([torch.cat([gram, border[:, :n - STRIDE].T], 1), border])
        row = gram.mean(0)
        lam = torch.linalg.eigvalsh(gram - row - row[:, None] + row.mean())
        m.append(entropy_rank(lam.clamp_min(0).sqrt()).item())
    return er, *changes(m)


def per_prefix(rank_of, z, ends, flops):
    """Seconds for rank_of at every end, and the ranks. Long ones: mean of five sampled prefixes x K, ranks None."""
    sample = ends if flops <= AFFORDABLE else ends[len(ends) // 5 - 1::len(ends) // 5][:5]
    seconds, ranks = [], []
    for n in sample:
        start = time.perf_counter()
        ranks.append(rank_of(z[:n]).item())
        seconds.append(time.perf_counter() - start)
    return sum(seconds) * len(ends) / len(sample), ranks if sample is ends else None


def high_water():
    """Peak resident memory of this process in MiB; Linux only (ru_maxrss would include the parent's)."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def peak_mib(t, d, method):
    """Run in a fresh process."""
    torch.set_num_threads(1)
    z, mask = states(t, d)[None], torch.ones(1, t, dtype=torch.bool)
    rank_metrics(z[:, :60, :32], mask[:, :60], STRIDE)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = high_water()
    rank_metrics(z, mask, STRIDE, method=method)
    return high_water() - before


def worst(metrics, reference):
    """Error of ER, and the larger one of ERV and ERA, of the first response; None where undefined."""
    values = [metrics[name][0].item() for name in ("er", "erv", "era")]
    errors = [abs(x - r) / max(abs(r), 1e-3) if r == r else None for x, r in zip(values, reference)]
    return errors[0], max((e for e in errors[1:] if e is not None), default=None)


def bench_cell(t, d, repeats):
    batch = max(1, min(64, 2 ** 21 // (t * d)))
    hidden, mask = torch.stack([states(t, d, seed) for seed in range(batch)]), torch.ones(batch, t, dtype=torch.bool)
    z = hidden[0]
    contenders = {
        "win": lambda: rank_metrics(hidden, mask, STRIDE, WINDOW),
        "release": lambda: [release(z) for z in hidden],
        "exact": lambda: rank_metrics(hidden, mask, STRIDE, method="exact"),
        "fast": lambda: rank_metrics(hidden, mask, STRIDE, method="fast"),
        "whole": lambda: rank_metrics(hidden, mask, STRIDE),
    }
    seconds, result = {name: [] for name in contenders}, {}
    for _ in range(repeats):
        for name, run in contenders.items():
            start = time.perf_counter()
            result[name] = run()
            seconds[name].append((time.perf_counter() - start) / batch)
    median = {name: statistics.median(s) for name, s in seconds.items()}

    ends = [*range(STRIDE + 1, t + 1, STRIDE), t]
    svd, ranks = per_prefix(effective_rank, z, ends, sum(8 * n * d * min(n, d) for n in ends))
    reference = (ranks[-1], *changes(ranks[:-1])) if ranks else (effective_rank(z).item(), float("nan"), float("nan"))
    gram = per_prefix(gram_rank, z, ends, sum(4 * n ** 3 for n in ends)) if t >= max(512, 8 * d) else None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        peak = pool.apply(peak_mib, (t, d, "auto"))
    mark = "" if ranks else "~"
    scientific = lambda e: "-" if e is None else f"{e:.0e}"  # noqa: E731
    return [f"{t}", f"{d}", *(f"{1e3 * median[c]:.2f}" for c in ("whole", "exact", "fast", "win", "release")),
            f"{mark}{1e3 * svd:.1f}", f"{median['release'] / median['win']:.2f}", f"{mark}{svd / median['whole']:.1f}",
            f"{'' if gram[1] else '~'}{gram[0] / median['whole']:.0f}" if gram else "-", f"{peak:.0f}",
            *("/".join(map(scientific, worst(result[m], reference))) for m in ("exact", "fast"))]


def bench_step(repeats=25):
    """All ranks of one step of the default run: 256 responses of 24 to 52 states of width 64, stride 4."""
    length = torch.randint(24, 53, (256,), generator=torch.Generator().manual_seed(0))
    hidden, mask = torch.stack([states(52, 64, seed) for seed in range(256)]), torch.arange(52) < length[:, None]
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        rank_metrics(hidden.float(), mask, 4)
        dataset_metrics(mean_states(hidden.float(), mask))
        seconds.append(time.perf_counter() - start)
    print(f"ranks of a default step: {1e3 * statistics.median(seconds):.0f} ms ({1e3 * min(seconds):.0f} to "
          f"{1e3 * max(seconds):.0f}), {torch.get_num_threads()} thread(s)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the six cells that take seconds, fewer repeats")
    parser.add_argument("--cells", nargs="+", metavar="TxD", help="these cells, such as 512x3584 64x64")
    parser.add_argument("--repeats", type=int, help="alternating runs per cell (default 5, 3 or 1 by size)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--step", action="store_true", help="time the ranks of one step of the default run instead")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.step:
        return bench_step()
    cells = [tuple(map(int, c.split("x"))) for c in args.cells] if args.cells else QUICK if args.quick else CELLS
    head = ["T", "D", "whole", "exact", "fast", "win", "release", "svd", "x release", "x svd", "x gram", "MiB",
            "err exact", "err fast"]
    widths = [5, 5, 9, 9, 9, 9, 9, 10, 10, 8, 8, 6, 12, 12]
    print(f"torch {torch.__version__}, {args.threads} thread(s), milliseconds per response")
    print("".join(h.rjust(w) for h, w in zip(head, widths)), flush=True)
    for t, d in cells:
        repeats = args.repeats or (1 if t * d > 1e7 else 3 if args.quick or t * d > 5e6 else 5)
        print("".join(c.rjust(w) for c, w in zip(bench_cell(t, d, repeats), widths)), flush=True)


if __name__ == "__main__":
    main()
