r"""The embedded task and its tiny model: integer chains, small enough for a laptop.

A problem of k operators is a left-nested chain, for example (k = 3)

    ((7*5)-7)+8=?

The first number is 2..20 (or 21..60, which RL does not train on), the others are 2..9. Every value on the way is 0..99.
Full working is one line for each operation, and a box:

    7*5=35
    35-7=28
    28+8=36
    \boxed{36}

What there is to learn. The base model is usually right if it writes a line for every operation, and usually wrong if it
leaves one out, which it mostly does. RL reinforces the full working.

The base model (engine/toy_model.py made it) goes through the same code as a 7B model. A first reader can stop here:
what follows makes such problems.
"""

import operator
import random
from pathlib import Path
from typing import NamedTuple

BASE = Path(__file__).resolve().parent / "toy_base"
STRIDE = 4  # tokens between the prefixes of rank.py, about half a line of working
MAX_NEW_TOKENS = 96  # full working takes fewer than 72

STARTS, UNSEEN_STARTS = (2, 20), (21, 60)
LEVELS = {  # level: (number of operators, range of the first number)
    1: (2, STARTS),
    2: (3, STARTS),
    3: (4, STARTS),
    4: (5, STARTS),
    5: (6, STARTS),
    6: (8, STARTS),
    7: (4, UNSEEN_STARTS),
    8: (6, UNSEEN_STARTS),
}
TRAIN_LEVELS = (2, 3, 4, 5)  # the others are only tested
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


class Step(NamedTuple):
    """One operation of a chain: left op right = value."""

    left: int
    op: str
    right: int
    value: int


def chain(rng: random.Random, operators: int, starts: tuple[int, int] = STARTS) -> list[Step]:
    """A random chain, one Step for each operator."""
    steps = []
    value = rng.randint(*starts)
    for _ in range(operators):
        every = [Step(value, op, n, apply(value, n)) for op, apply in OPERATORS.items() for n in range(2, 10)]
        allowed = [step for step in every if 0 <= step.value <= 99]
        # Draw the operator first. Few products are allowed, and a draw from all steps would hardly ever give one.
        op = rng.choice(sorted({step.op for step in allowed}))
        step = rng.choice([step for step in allowed if step.op == op])
        steps.append(step)
        value = step.value
    return steps


def question(steps: list[Step]) -> str:
    """`((7*5)-7)+8=?` for the chain 7*5, 35-7, 28+8."""
    *inner, last = steps
    text = str(steps[0].left)
    for step in inner:
        text = f"({text}{step.op}{step.right})"
    return f"{text}{last.op}{last.right}=?"


def problems(level: int, count: int, seed: int, exclude: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """`count` different (question, answer) pairs of a level, none of them in `exclude`.

    They are a function of the arguments. ValueError: no such level.
    """
    if level not in LEVELS:
        raise ValueError(f"toy level {level}: choose one of {', '.join(map(str, LEVELS))}")
    rng = random.Random(f"{seed}/{level}")
    found = {}
    while len(found) < count:
        steps = chain(rng, *LEVELS[level])
        if question(steps) not in exclude:
            found[question(steps)] = str(steps[-1].value)
    return list(found.items())
