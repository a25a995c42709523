"""What VERL costs: training steps with it and without, in turn, in one process.

    python bench/verl_cost.py [--repeats 5] [--layers 4] [--width 896] [--threads 2]

Qwen2.5-0.5B's shape (width 896, 14 heads, 2 of them for keys, vocabulary 151,936, tied) cut to 4 layers, random
weights, float32; 8 prompts x 4 responses of 64 tokens, none of which ends early, one update per rollout, stride 4, the
toy's prompts. "off" is --shaping none without the ranks that it would log: no metric is computed, no state is kept. All
steps have the same weights (the optimizer's learning rate is 0), both of a pair the same prompts and seeds; the order
within a pair alternates. A forward pass is a call of the model's blocks. On a machine that others use too, CPU seconds
are the steadier number.
"""

import argparse
import contextlib
import os
import statistics
import sys
import time
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import toy
from engine import toy_model
import train
from engine.config import TrainConfig, complete_train
from engine.data import load_training
from engine.describe import Trajectories
from engine.parallel import World
from engine.rewards import load_reward
from engine.state import State
from rank import METRICS
from rollout import Policy


def make_state(layers, width, vocabulary, new_tokens, **options):
    """A training State of a random Qwen2 on the toy's prompts, whose responses never end."""
    torch.manual_seed(0)
    tokenizer = toy_model.make_tokenizer()
    heads = dict(num_attention_heads=width // 64, num_key_value_heads=max(1, width // 448))
    shape = Qwen2Config(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=width * 4864 // 896, num_hidden_layers=layers,
        tie_word_embeddings=True, **heads,
    )  # fmt: skip
    policy = Policy(Qwen2ForCausalLM(shape).eval())
    fixed = dict(prompts=8, group=4, max_new_tokens=new_tokens, micro_tokens=4096, bench="none")
    config = complete_train(TrainConfig(log_samples=0, **fixed, **{"mini_batches": 1, **options}))
    problems = [(problem, tokenizer.encode(problem.question)) for problem in load_training("toy", seed=0)]
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.0, weight_decay=0.0)
    world = World(0, 1, torch.device("cpu"))
    config.lr = 0.0  # which no option allows: the weights of all steps are the same
    return State(config, world, policy, tokenizer, problems, 0, {-1}, load_reward("correct"), optimizer)


class Off:
    """Within it a step computes no rank and keeps no state of its samples."""

    def __enter__(self):
        self.kept = {name: getattr(train, name) for name in ("measure_states", "dataset_ranks", "generate")}
        generate = train.generate

        def nothing(rollout, config):
            undefined = torch.full((len(rollout.mask),), float("nan"), dtype=torch.float64)
            return dict.fromkeys(METRICS, undefined), Trajectories(torch.zeros(1, 1), torch.zeros(0, 0))

        train.measure_states = nothing
        train.dataset_ranks = lambda *args: {}
        train.generate = lambda *args, keep_states=False, **other: generate(*args, **other)

    def __exit__(self, *error):
        for name, function in self.kept.items():
            setattr(train, name, function)


class Passes:
    """Counts the forward passes of a Policy within it: `without` gradients (sampling, scoring), and `training`."""

    def __init__(self, policy):
        self.model, self.without, self.training = policy.lm.base_model, 0, 0

    def __enter__(self):
        def count(*args):
            if torch.is_grad_enabled():
                self.training += 1
            else:
                self.without += 1

        self.hook = self.model.register_forward_hook(count)
        return self

    def __exit__(self, *error):
        self.hook.remove()


def step(s, number, verl):
    """The step's line of metrics, (seconds, CPU seconds of all threads), forward passes (without, with gradients)."""
    s.step = number
    with contextlib.nullcontext() if verl else Off(), Passes(s.policy) as passes:
        began = time.perf_counter(), time.process_time()
        line = train.train_step(s)
        took = time.perf_counter() - began[0], time.process_time() - began[1]
        return line, took, (passes.without, passes.training)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=896)
    parser.add_argument("--vocabulary", type=int, default=151936)
    parser.add_argument("--new_tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    s = make_state(args.layers, args.width, args.vocabulary, args.new_tokens)
    seconds, passes, phases = {True: [], False: []}, {True: set(), False: set()}, []
    for number in range(args.repeats + 1):
        for verl in (True, False) if number % 2 else (False, True):
            s.config.shaping = "verl" if verl else "none"
            line, took, counted = step(s, number, verl)
            wall, cpu = took
            name = "on" if verl else "off"
            print(f"step {number}, VERL {name}: {wall:.2f} s, CPU {cpu:.2f} s", file=sys.stderr)
            if number:  # the first pair is a warm-up
                seconds[verl].append(took)
                passes[verl].add(counted)
                phases += [line["seconds"]] if verl else []
    print(
        f"{args.layers} layers of width {args.width}, vocabulary {args.vocabulary:,}, 8 prompts x 4 responses of "
        f"{args.new_tokens} tokens; {args.threads} threads on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"{args.repeats} pairs\n"
    )
    print("| | seconds per step | CPU seconds | forward passes: sampling, scoring | in the update |")
    print("|---|---|---|---|---|")
    for verl in (True, False):
        ((without, training),) = passes[verl]  # the same in all steps
        wall, cpu = map(statistics.median, zip(*seconds[verl]))
        print(f"| VERL {'on' if verl else 'off'} | {wall:.2f} | {cpu:.2f} | {without} | {training} |")
    for i, kind in enumerate(("seconds", "CPU seconds")):
        ratios = [on[i] / off[i] for on, off in zip(seconds[True], seconds[False])]
        print(
            f"\n{kind}: median ratio of pairs {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )
    print()
    for phase in phases[0]:
        print(f"{phase}: {statistics.median(p[phase] for p in phases):.3f} s with VERL on")


if __name__ == "__main__":
    main()
