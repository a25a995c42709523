r"""The embedded task and its tiny model: integer chains, small enough for a laptop and loaded like any other model.

How it differs from a textbook toy: nothing here is special-cased. The base model is a folder that `from_pretrained`
reads, its tokenizer comes from `AutoTokenizer`, and sampling, scoring and training go through the code that a 7B model
uses. The task is hard enough for learning to show and easy enough for it to show in minutes.

A problem of k operators is a left-nested chain, for example (level 2, k = 3)

    ((7*5)-7)+8=?

with a start in 2..20 (or, in levels 7 and 8, in 21..60, which RL never trains on), operands in 2..9 and every
intermediate value in 0..99. Full working is one line for each operation and a box, 7 to 8 tokens a line:

    7*5=35
    35-7=28
    28+8=36
    \boxed{36}

Why there is something to learn. The base model first learns full working, so it can do every single operation. It then
learns from demonstrations that leave lines out. It cannot do two operations in its head, so at temperature 1 it usually
skips a line and gets a wrong answer. Showing the work is a strategy that it can do, rarely does, and is paid for: RL
finds it. That is the story told of long chains of thought, at a scale where it can be watched.

Make the base again, from scratch (17 minutes of one core; seed 0, the one that is shipped):

    python toy.py --out toy_base

At temperature 1 it solves 5 to 9% of the problems of level 4 with one sample, and 30 to 47% with eight (three sampling
seeds). Two more bases, made with `--seed 1` and `--seed 2`, solve 9.6 and 9.4%, and after `python train.py` 91.6 and
89.8%, where the shipped one reaches 85.7%.
"""

import argparse
import json
import operator
import random
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BASE = Path(__file__).resolve().parent / "toy_base"
STRIDE = 4  # tokens between the prefixes of ERV and ERA: about two for each line of working
MAX_NEW_TOKENS = 96  # the longest full working is 8 lines of at most 8 tokens and a box of 5: below 72


class Level(NamedTuple):
    """k operators, and the inclusive range of the first number."""

    operators: int
    starts: tuple[int, int]


OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
LEVELS = {
    1: Level(2, (2, 20)),
    2: Level(3, (2, 20)),
    3: Level(4, (2, 20)),
    4: Level(5, (2, 20)),
    5: Level(6, (2, 20)),
    6: Level(8, (2, 20)),  # longer than any chain that RL trains on
    7: Level(4, (21, 60)),  # starts that it never trains on
    8: Level(6, (21, 60)),
}
TRAIN_LEVELS = (2, 3, 4, 5)


class Step(NamedTuple):
    """One operation of a chain: left op right = value."""

    left: int
    op: str
    right: int
    value: int

    def __str__(self):
        return f"{self.left}{self.op}{self.right}={self.value}"


def chain(rng: random.Random, operators: int, starts: tuple[int, int] = (2, 20)) -> list[Step]:
    """A random chain, one Step for each operator: every operand in 2..9, every value in 0..99."""
    steps, value = [], rng.randint(*starts)
    for _ in range(operators):
        every = [Step(value, op, n, apply(value, n)) for op, apply in OPERATORS.items() for n in range(2, 10)]
        allowed = [step for step in every if 0 <= step.value <= 99]
        op = rng.choice(sorted({step.op for step in allowed}))  # first, or the few products would hardly occur
        steps.append(rng.choice([step for step in allowed if step.op == op]))
        value = steps[-1].value
    return steps


def question(steps: list[Step]) -> str:
    """`((7*5)-7)+8=?` for the chain 7*5, 35-7, 28+8."""
    text = str(steps[0].left)
    for i, step in enumerate(steps):
        text += f"{step.op}{step.right}" + (")" if i < len(steps) - 1 else "")
    return "(" * (len(steps) - 1) + text + "=?"


def response(steps: list[Step], shown: list[bool] | None = None) -> str:
    """The working of a chain and its box; `shown` says which lines are written, all by default."""
    if shown is None:
        shown = [True] * len(steps)
    lines = [str(step) for step, show in zip(steps, shown, strict=True) if show]
    return "\n".join([*lines, f"\\boxed{{{steps[-1].value}}}"])


def problems(level: int, count: int, seed: int, exclude: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """`count` different (question, answer) pairs of a level, none of them in `exclude`: a function of its arguments."""
    if level not in LEVELS:
        raise ValueError(f"toy level {level}: choose one of {', '.join(map(str, LEVELS))}")
    rng, found = random.Random(f"{seed}/{level}"), {}
    while len(found) < count:
        steps = chain(rng, *LEVELS[level])
        if question(steps) not in exclude:
            found[question(steps)] = str(steps[-1].value)
    return list(found.items())


def make_tokenizer():
    """One token a character, `\\boxed` one token; anything else becomes <unk>. pad is eos, as in many models."""
    tokens = ["<eos>", "<unk>", "\\boxed", *"\n0123456789+-*=()?{}"]
    tokenizer = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\\boxed|[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>", unk_token="<unk>")


def make_model(tokenizer, seed: int):
    """A Llama of 162k parameters (width 64, 3 layers, 4 heads), random weights."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=192, num_hidden_layers=3,
            num_attention_heads=4, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def warm_up(model, tokenizer, steps: int, keep: float, seed: int, lr: float = 3e-3, batch: int = 128):
    """Supervised learning on demonstrations that show each line with probability `keep`; yields the loss of each step.

    Chains have 1 to 8 operators and any start, so the base knows every number and length that a level may ask for.
    """
    rng = random.Random(f"warm-up {seed} {keep}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        rows = []
        for _ in range(batch):
            done = chain(rng, rng.randint(1, 8), (2, 60))
            shown = [rng.random() < keep for _ in done]
            rows.append((tokenizer.encode(question(done)), tokenizer.encode(response(done, shown) + "<eos>")))
        width = max(len(p) + len(r) for p, r in rows)
        ids = torch.full((batch, width), tokenizer.pad_token_id)  # [batch, width]
        labels = torch.full((batch, width), -100)
        for i, (p, r) in enumerate(rows):
            ids[i, : len(p) + len(r)] = torch.tensor(p + r)
            labels[i, len(p) : len(p) + len(r)] = torch.tensor(r)
        logits = model(input_ids=ids).logits  # [batch, width, V]; padding is on the right, so causality hides it
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield loss.item()


def main():
    parser = argparse.ArgumentParser(description="Make the base model of the toy task again, from scratch.")
    parser.add_argument("--out", required=True, help="folder to write the model and its tokenizer to")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and demonstrations")
    parser.add_argument("--steps", type=int, default=2000, help="steps with full working")
    parser.add_argument("--skip_steps", type=int, default=200, help="steps with demonstrations that skip lines")
    parser.add_argument("--keep", type=float, default=0.86, help="share of lines that those demonstrations show")
    args = parser.parse_args()

    tokenizer = make_tokenizer()
    model = make_model(tokenizer, args.seed)
    for steps, keep, lr in ((args.steps, 1.0, 3e-3), (args.skip_steps, args.keep, 1e-3)):
        bar = tqdm(warm_up(model, tokenizer, steps, keep, args.seed, lr), total=steps, desc=f"keep {keep:g}")
        for loss in bar:
            bar.set_postfix(loss=f"{loss:.3f}")
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    (Path(args.out) / "run.json").write_text(json.dumps({"template": "plain"}))


if __name__ == "__main__":
    main()
