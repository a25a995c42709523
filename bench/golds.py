"""Can every gold of the benchmarks be graded at all? A gold that the verifier does not accept is lost for any model.

    python bench/golds.py FOLDER        the benchmarks in FOLDER/<name>/test.jsonl

not understood        the verifier can compare the gold only as text, so only one spelling of it is right
wrong in its own box  a response that ends in \\boxed{gold} is graded wrong; empty golds are among them
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from engine.data import BENCHMARKS, load_benchmark, not_understood
from verifier import verify


def check(bench_dir, name):
    """Rows of a benchmark in a folder, its Problems whose gold is not understood, those whose boxed gold is wrong."""
    problems = load_benchmark(name, bench_dir=bench_dir)[name]
    wrong = [problem for problem in problems if not verify(f"\\boxed{{{problem.answer}}}", problem.answer)]
    return len(problems), not_understood(problems), wrong


def main(argv=None):
    parser = argparse.ArgumentParser(description="Check the golds of the benchmarks in FOLDER/<name>/test.jsonl.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder

    # One line for each benchmark that is there.
    total, all_strange, all_wrong = 0, [], []
    print(f"{'benchmark':<18}{'rows':>6}{'not understood':>16}{'wrong in its own box':>22}")
    for name in BENCHMARKS:
        if (folder / name / "test.jsonl").exists():
            rows, strange, wrong = check(folder, name)
            print(f"{name:<18}{rows:>6}{len(strange):>16}{len(wrong):>22}")
            total += rows
            all_strange += strange
            all_wrong += wrong
    print(f"{'all':<18}{total:>6}{len(all_strange):>16}{len(all_wrong):>22}")

    # Then every gold in question, to be looked up.
    for problem in all_strange:
        print(f"not understood: {problem.id} {problem.answer!r}")
    for problem in all_wrong:
        print(f"wrong in its own box: {problem.id} {problem.answer!r}")


if __name__ == "__main__":
    main()
