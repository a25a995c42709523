r"""The verifier's speed: pairs per second by kind, worst cases by length, peak memory, and Math-Verify beside it.

    python bench/verifier.py [--math_verify PATH] [--golds FOLDER]

The pairs are those of test_verifier.py. PATH is the site-packages folder of an environment in which Math-Verify is
installed (python -m venv mv; mv/bin/pip install math-verify[antlr4_13_2]); without it, it is left out unless it can be
imported. Math-Verify parses both sides as \boxed{..} and verifies, with its default settings; pairs on which it raises
are timed, too. FOLDER/<name>/test.jsonl, as for eval.py --bench_dir: also 600 golds of benchmarks, each against itself
between $ signs or against another. One process, one thread.
"""

import argparse
import random
import statistics
import sys
import time
import tracemalloc
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from test_verifier import CASES, HOSTILE  # noqa: E402

from engine.data import BENCHMARKS, load_benchmark  # noqa: E402
from verifier import is_equiv, verify  # noqa: E402


def timed(call, *arguments, repeats=5):
    """(seconds, best of the repeats; what the call returned)."""
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        found = call(*arguments)
        best = min(best, time.perf_counter() - began)
    return best, found


def by_kind():
    print(f"{'kind':<18}{'pairs':>6}{'pairs/s':>10}{'median ms':>11}{'99% ms':>9}{'max ms':>9}")
    all_times = []
    for kind in [*dict.fromkeys(kind for kind, *_ in CASES), "all"]:
        times = [timed(is_equiv, answer, gold)[0] for k, gold, answer, _ in CASES if k == kind] or all_times
        all_times = all_times + times if kind != "all" else times
        ms = sorted(1000 * t for t in times)
        print(f"{kind:<18}{len(ms):>6}{1000 * len(ms) / sum(ms):>10.0f}{statistics.median(ms):>11.3f}"
              f"{ms[int(0.99 * (len(ms) - 1))]:>9.2f}{ms[-1]:>9.2f}")  # fmt: skip


def by_length():
    answers = {
        "sum 1+1+..": lambda n: "+".join("1" * (n // 2)),
        "list 1,1,..": lambda n: ",".join("1" * (n // 2)),
        "powers x^9x^9..": lambda n: "x^9" * (n // 3),
        "roots": lambda n: r"+\sqrt{7}" * (n // 9),
        "digits": lambda n: "7" * n,
    }
    responses = {
        "many boxes": lambda n: r"\boxed{5} " * (n // 10),
        "open boxes": lambda n: r"\boxed{" * (n // 7),
        "braces": lambda n: "{}" * (n // 2),
        "prose": lambda n: "so the answer is not here, " * (n // 27) + r"\boxed{5}",
    }
    for title, makers, lengths, call in (
        ("answer of n characters against itself + 1, ms (beyond 2,000: as text)", answers,
         (125, 250, 500, 1000, 2000, 4000), _against_itself),
        ("response of n characters, ms", responses, (25_000, 50_000, 100_000, 200_000, 400_000), _against_7),
    ):  # fmt: skip
        print(f"\n{title}")
        print(f"{'n':<18}" + "".join(f"{n:>9}" for n in lengths))
        for name, make in makers.items():
            print(f"{name:<18}" + "".join(f"{1000 * timed(call, make(n))[0]:>9.2f}" for n in lengths))


def _against_itself(answer):
    return is_equiv(answer, answer + "+1")


def _against_7(response):
    return verify(response, "7")


def hostile():
    worst, peak = (0.0, ""), 0
    for text in HOSTILE:
        worst = max(worst, (timed(verify, rf"\boxed{{{text}}}", r"\sqrt{2}", repeats=1)[0], text[:40]))
    tracemalloc.start()
    for text in HOSTILE:
        tracemalloc.reset_peak()
        verify(rf"\boxed{{{text}}}", r"\sqrt{2}")
        peak = max(peak, tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    slowest = f"slowest {1000 * worst[0]:.0f} ms ({worst[1]!r})"
    print(f"\n{len(HOSTILE)} hostile answers: {slowest}, peak {peak / 2**20:.1f} MiB")


def golds_of(folder):
    """600 pairs from the golds of the benchmarks in a folder; what is right is not known, and not asked."""
    names = [name for name in BENCHMARKS if (Path(folder) / name / "test.jsonl").exists()]
    golds = [p.answer for name in names for p in load_benchmark(name, bench_dir=folder)[name] if p.answer]
    rng = random.Random(0)
    return [(rng.choice([f"${gold}$", rng.choice(golds)]), gold, None) for gold in rng.sample(golds, 600)]


def math_verify(pairs):
    import logging

    from math_verify import parse
    from math_verify import verify as theirs

    logging.disable(logging.CRITICAL)

    def call(answer, gold):
        try:
            return theirs(parse(rf"\boxed{{{gold}}}"), parse(rf"\boxed{{{answer}}}"))
        except Exception as error:  # whatever it raises is its answer
            return repr(error)

    for first in (call, is_equiv):  # Math-Verify's first call builds its parser
        first(*pairs[0][:2])
    ours = [timed(is_equiv, answer, gold, repeats=1) for answer, gold, _ in pairs]
    other = [timed(call, answer, gold, repeats=1) for answer, gold, _ in pairs]
    mean = [statistics.mean(t for t, _ in found) for found in (ours, other)]
    right = [sum(v is want for (_, v), (*_, want) in zip(found, pairs)) for found in (ours, other)]
    told = f". As our tables say: ours {right[0]}, Math-Verify {right[1]}" if pairs[0][2] is not None else ""
    print(f"\n{len(pairs)} pairs: ours {1000 * mean[0]:.3f} ms, Math-Verify {1000 * mean[1]:.2f} ms a pair: "
          f"{mean[1] / mean[0]:.0f} times{told}")  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--math_verify", help="site-packages folder that holds Math-Verify")
    parser.add_argument("--golds", help="folder of benchmarks")
    args = parser.parse_args()
    by_kind()
    by_length()
    hostile()
    if args.math_verify:
        sys.path.append(args.math_verify)
    try:
        math_verify([(answer, gold, want) for _, gold, answer, want in CASES])
        if args.golds:
            math_verify(golds_of(args.golds))
    except ImportError as error:
        print(f"\nMath-Verify: not importable ({error})")


if __name__ == "__main__":
    main()
