"""Our sampler beside `model.generate` on one batch: tokens per second, and the median ratio of alternating runs.

    python bench/rollout.py [--prompts 32] [--samples 8] [--repeats 7]

ragged: the shipped toy base on chains of all levels, responses end by themselves. equal: no stop token, all responses
have 64 tokens. Both sample at temperature 1; `tokens` counts what was sampled, not padding.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import toy
from engine.batch import sample_seed
from engine.models import load_model
from rollout import Policy, generate


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    model, tokenizer = load_model(str(toy.BASE), torch.device("cpu"))
    policy, eos = Policy(model.eval()), tokenizer.eos_token_id
    levels = [1 + i % len(toy.LEVELS) for i in range(args.prompts)]
    prompts = [tokenizer.encode(toy.problems(level, i + 1, seed=9)[i][0]) for i, level in enumerate(levels)]
    tokenizer.padding_side = "left"
    padded = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")

    def ours(length, stops, repeat):
        seeds = [sample_seed(repeat, i, j) for i in range(args.prompts) for j in range(args.samples)]
        return generate(policy, prompts, seeds, length, stops).mask.sum().item()

    def theirs(length, stops, repeat):
        torch.manual_seed(repeat)
        with torch.no_grad():
            ids = model.generate(
                padded["input_ids"], attention_mask=padded["attention_mask"], do_sample=True, top_k=0, temperature=1.0,
                num_return_sequences=args.samples, max_new_tokens=length, eos_token_id=sorted(stops) or None,
                pad_token_id=eos,
            )  # fmt: skip
        made = ids[:, padded["input_ids"].shape[1] :]
        ends = (made == eos).long()
        return (ends.cumsum(1) - ends == 0).sum().item() if stops else made.numel()

    print(f"{torch.get_num_threads()} threads, {args.prompts} prompts x {args.samples} samples, {args.repeats} repeats")
    print(f"{'case':<8}{'ours tokens/s':>16}{'generate tokens/s':>20}{'median ratio':>14}{'range':>16}")
    for case, length, stops in (("ragged", toy.MAX_NEW_TOKENS, {eos}), ("equal", 64, {-1})):
        if case == "equal":
            model.generation_config.eos_token_id = None
        rates = []
        for repeat in range(args.repeats + 1):
            pair = []
            for sampler in (ours, theirs):
                began = time.perf_counter()
                tokens = sampler(length, stops if sampler is ours or case == "ragged" else set(), repeat)
                pair.append(tokens / (time.perf_counter() - began))
            rates.append(pair)
        rates = rates[1:]  # the first is a warm-up
        ratios = [a / b for a, b in rates]
        a, b = (statistics.median(r[i] for r in rates) for i in (0, 1))
        print(f"{case:<8}{a:>16,.0f}{b:>20,.0f}{statistics.median(ratios):>14.2f}{min(ratios):>9.2f}-{max(ratios):.2f}")


if __name__ == "__main__":
    main()
