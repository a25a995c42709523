"""Peak memory of log-probs and entropies of N tokens, in pieces as we do it and from all logits [N, V] at once.

    python bench/memory.py [--tokens 4096] [--width 896] [--vocabulary 151936]

Each case runs in a process of its own. Its number is the peak of resident memory less what the process had with torch
loaded, before the model: so the weight of the LM head and, where there is a backward pass, its gradient are in both
columns, and so are the states [N, D] and their gradient. All is float32; the blocks of the model are left out.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from grpo import token_logprobs
from rollout import Policy

CASES = [(what, way) for what in ("score", "update") for way in ("ours", "naive")]


def resident(kind):
    """MiB of this process: VmRSS now, VmHWM at its peak."""
    return int(re.search(rf"{kind}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


class HeadOnly(Policy):
    """A Policy whose final states are given, in place of the blocks that would compute them."""

    def states(self, ids, attention, cache=None):
        return self.given, self.given


def work(what, way, tokens, width, vocabulary, device="cpu"):
    """Score (forward) or update (forward and backward) the tokens of one response, in pieces or naively."""
    torch.manual_seed(0)
    small = dict(num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, intermediate_size=8)
    shape = Qwen2Config(vocab_size=vocabulary, hidden_size=width, tie_word_embeddings=True, **small)
    learning = what == "update"
    with torch.device(device):
        policy = HeadOnly(Qwen2ForCausalLM(shape))
        # One response behind a prompt of one token.
        policy.given = torch.randn(1, tokens + 1, width, requires_grad=learning)
        ids = torch.randint(vocabulary, (1, tokens + 1))
    targets = ids[:, 1:]
    with torch.set_grad_enabled(learning):
        if way == "ours":
            logp, entropy, _ = policy(ids, torch.ones_like(ids), targets)
        else:
            states = policy.given[0, :-1]  # [N, D]
            logp, entropy = token_logprobs(policy.logits(states), targets[0])  # no name keeps the logits [N, V]
    if learning:
        (logp.mean() + 0.001 * entropy.mean()).backward()


def measure(what, way, tokens, width, vocabulary):
    """Peak MiB of `work`, above what this process had before."""
    start = resident("VmRSS")
    work(what, way, tokens, width, vocabulary)
    return resident("VmHWM") - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--width", type=int, default=896)
    parser.add_argument("--vocabulary", type=int, default=151936)
    parser.add_argument("--case", nargs=2, help="only this one: score|update ours|naive; prints its MiB")
    args = parser.parse_args()
    sizes = (args.tokens, args.width, args.vocabulary)
    if args.case:
        print(measure(*args.case, *sizes))
        return
    flags = [f"--{k}={v}" for k, v in zip(("tokens", "width", "vocabulary"), sizes)]
    peak = {}
    for case in CASES:
        done = subprocess.run([sys.executable, __file__, *flags, "--case", *case], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(case)} failed (out of memory?): {done.stderr or done.returncode}")
        peak[case] = float(done.stdout)
    print(
        f"N = {sizes[0]} tokens, D = {sizes[1]}, V = {sizes[2]}, float32; peak MiB over a process with torch loaded\n"
    )
    print("| | ours | all logits at once | ratio |\n|---|---|---|---|")
    for what, title in (("score", "score (forward)"), ("update", "update (forward and backward)")):
        ours, naive = peak[what, "ours"], peak[what, "naive"]
        print(f"| {title} | {ours:,.0f} | {naive:,.0f} | {ours / naive:.2f} |")


if __name__ == "__main__":
    main()
