"""Where does a CPU core spend its time on a real model, and how far from its limits is it? Sampler and update.

    python studies/language_model.py --prepare && python bench/language_model.py [--model FOLDER] [--threads 1]

Two limits, of a model with N weights of w bytes, for b rows:

    sampler    every position reads all weights once:     seconds >= N w / bandwidth
               and multiplies each with each row:         seconds >= 2 N b / speed
    update     forward and backward over n tokens:        seconds >= 6 N n / speed

bandwidth and speed are measured here: of a copy, and of a product of matrices of the model's own width. `of limit` is
the larger of the bounds over what was taken; N counts the embedding, which prompts do not meet in the update, so that
it can exceed 1 there. Each number is the median of --repeats, after one run that is not counted;
the variants of a table are measured in turn. float32 is the default of train.py on a CPU; bfloat16 is --bfloat16, which
rounds what is multiplied and keeps weights in float32; small pieces are --micro_tokens 1024, large ones its default.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from engine.models import load_model
from engine.parallel import unsharded
from rollout import Policy, generate

PROMPT, RESPONSE, ROWS = 32, 24, 64  # tokens, tokens, responses of a step of the study
SAMPLED = 12  # tokens of a timed call of the sampler


def seconds(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def in_turn(calls, repeats):
    """{name: median seconds} of {name: call}; all are called once before anything is counted, then in turn."""
    taken = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            spent = seconds(call)
            if repeat:
                taken[name].append(spent)
    return {name: statistics.median(values) for name, values in taken.items()}


def speeds(width, inner, repeats):
    """({precision: operations per second of a product}, bytes per second that a copy reads)."""
    rows = 1024
    a, b = torch.randn(rows, width), torch.randn(width, inner)
    a16, b16 = a.bfloat16(), b.bfloat16()
    large = torch.randn(64 * 2**20)  # 256 MiB: more than any cache holds
    room = torch.empty_like(large)
    calls = {"float32": lambda: a @ b, "bfloat16": lambda: a16 @ b16, "copy": lambda: room.copy_(large)}
    taken = in_turn(calls, repeats)
    operations = 2 * rows * width * inner
    bandwidth = large.numel() * large.element_size() / taken.pop("copy")
    return {name: operations / spent for name, spent in taken.items()}, bandwidth


def sampler(policy, rows, precision):
    """A function that samples SAMPLED tokens for `rows` responses of one prompt, none of which ends."""

    def call():
        policy.bfloat16 = precision == "bfloat16"
        prompt = [0] * PROMPT  # which tokens they are does not matter to the time
        with unsharded(policy):
            generate(policy, [prompt], list(range(rows)), SAMPLED, {-1})

    return call


def update(policy, precision, piece):
    """A function that computes the gradient over ROWS responses, `piece` tokens at a time."""
    ids = torch.zeros(ROWS, PROMPT + RESPONSE, dtype=torch.int64)
    parts = ids.split(max(1, piece // ids.shape[1]))

    def call():
        policy.bfloat16 = precision == "bfloat16"
        for part in parts:
            logp, _, _ = policy(part, torch.ones_like(part), part[:, PROMPT:], entropy=False)
            logp.mean().backward()
        policy.zero_grad()

    return call


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=str(ROOT / "runs/smollm2"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    model, _ = load_model(args.model, torch.device("cpu"))
    policy = Policy(model.eval())
    N = sum(p.numel() for p in policy.parameters())
    config = model.config
    speed, bandwidth = speeds(config.hidden_size, config.intermediate_size, args.repeats)
    measured = ", ".join(f"{name} {value / 1e9:.0f} GFLOP/s" for name, value in speed.items())
    print(f"{N / 1e6:.0f} million weights, {args.threads} threads: {measured}, copy {bandwidth / 1e9:.1f} GB/s\n")

    print(f"{'sampler':<10}{'rows':>6}{'tokens/s':>10}{'of limit':>10}")
    cases = [(precision, rows) for rows in (1, 16, 64) for precision in speed]
    found = in_turn({case: sampler(policy, case[1], case[0]) for case in cases}, args.repeats)
    for (precision, rows), spent in found.items():
        width = 4 if precision == "float32" else 2
        bound = SAMPLED * max(N * width / bandwidth, 2 * N * rows / speed[precision])
        print(f"{precision:<10}{rows:>6}{SAMPLED * rows / spent:>10.0f}{bound / spent:>10.2f}")

    n = ROWS * (PROMPT + RESPONSE)
    print(f"\n{'update':<10}{'pieces':>8}{'seconds':>10}{'of limit':>10}")
    cases = [(precision, piece) for piece in (16384, 1024) for precision in speed]
    found = in_turn({case: update(policy, *case) for case in cases}, args.repeats)
    for (precision, piece), spent in found.items():
        print(f"{precision:<10}{piece:>8}{spent:>10.1f}{6 * N * n / speed[precision] / spent:>10.2f}")


if __name__ == "__main__":
    main()
