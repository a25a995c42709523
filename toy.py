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

engine/toy_model.py makes the base from scratch.
"""

import operator
import random
from pathlib import Path
from typing import NamedTuple

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
