"""What a response is worth: the rewards that --reward names, and those of one's own.

    correct             1 if the answer is right, else 0
    graded              1 right in a box, 0.5 right without one, -0.5 wrong in a box, -1 wrong: the paper's release
    FILE.py:FUNCTION    anything that FUNCTION(prompt, response, gold, row) returns: a number, or a dict of numbers,
                        which are added up and logged by name

prompt and response are texts, gold is the answer of the data set, row the problem's line there, with all its fields.
How it differs from the release: in training, the last number of a text is no answer. A response that names none would
be paid for a number that it happens to end with.
"""

import importlib.util
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from engine.prompts import opened_thought
from verifier import extract_answer, verify


# A response is asked about by its reward and by the log.
is_right = lru_cache(maxsize=2**14)(verify)


class RewardError(Exception):
    """A reward function of the user's that failed: which one, on which row and response."""


def correct(prompt, response, gold, row):
    return 1.0 if is_right(response, gold) else 0.0


def graded(prompt, response, gold, row):
    r"""The format is paid for as well: a model that is always wrong still learns to box its answers.

    >>> graded("1+1=?", r"It is \boxed{2}.", "2", {}), graded("1+1=?", "The answer is 3", "2", {})
    (1.0, -1.0)
    """
    boxed = r"\boxed{" in response
    if is_right(response, gold):
        return 1.0 if boxed else 0.5
    return -0.5 if boxed else -1.0


REWARDS = {"correct": correct, "graded": graded}


def load_reward(name):
    """The function that --reward names. ValueError, FileNotFoundError: there is none of that name."""
    if name in REWARDS:
        return REWARDS[name]
    file, _, function_name = name.rpartition(":")
    if not file.endswith(".py"):
        raise ValueError(f"--reward {name}: choose one of {', '.join(REWARDS)}, or give FILE.py:FUNCTION")
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        raise FileNotFoundError(f"--reward {name}: no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # the user's own code, on the user's own word
    if not callable(getattr(module, function_name, None)):
        raise ValueError(f"--reward {name}: {path} has no function {function_name}")
    return getattr(module, function_name)


def reward_of(function, prompt, response, problem):
    """(reward, {name: its part}) of one response; parts are empty where the function returns a number.

    RewardError names function, row and response, whatever goes wrong in the user's code or with what it returns.
    """
    try:
        value = function(prompt, response, problem.answer, problem.row)
        parts = {name: float(part) for name, part in value.items()} if isinstance(value, dict) else {}
        reward = sum(parts.values()) if parts else float(value)
        if not math.isfinite(reward):
            raise ValueError(f"{value!r}, where a finite number is needed")
        return reward, parts
    except Exception as error:  # the user's code may raise anything; all of it is said, with what it was asked about
        name = getattr(function, "__name__", function)
        raise RewardError(f"reward {name} on {problem.id}, response {response!r:.200}: {error!r}") from error


def overlong_penalty(lengths, longest, buffer):
    """What a response loses for coming close to being cut, [B]: 0 until `buffer` tokens before `longest`, then to -1.

    lengths [B] in tokens. Soft overlong punishment, DAPO (arXiv:2503.14476), equation 13; buffer 0: no penalty.
    """
    if not buffer:
        return torch.zeros_like(lengths, dtype=torch.float32)
    over = lengths - (longest - buffer)  # [B]: tokens into the buffer
    return -(over / buffer).clamp(0, 1)


@dataclass
class Graded:
    """B responses and what they are worth."""

    problems: list  # whose answers they are, one for each response
    texts: list  # without special tokens
    answers: list  # what the verifier took from each, None where it found none
    right: torch.Tensor  # [B] float32: 1 where the verifier finds it right
    rewards: torch.Tensor  # [B] float32
    parts: dict  # {name: [B]}: what the reward is the sum of, where it says so


def grade(function, problems, rollout, tokenizer, longest, buffer):
    """Graded of the responses of a Rollout, by a reward function and the overlong penalty; `problems`: one for each."""
    texts = rollout.texts(tokenizer)
    opened = opened_thought(tokenizer, rollout)  # by the prompt
    said = [opened + text for text in texts]
    answers = [extract_answer(text) for text in said]
    right = [is_right(text, problem.answer) for text, problem in zip(said, problems)]
    found = [reward_of(function, problem.question, text, problem) for text, problem in zip(said, problems)]
    device = rollout.mask.device
    rewards = torch.tensor([reward for reward, _ in found], dtype=torch.float32, device=device)
    names = dict.fromkeys(name for _, parts in found for name in parts)
    parts = {name: torch.tensor([own.get(name, 0.0) for _, own in found], device=device) for name in names}
    if buffer:
        parts["overlong"] = overlong_penalty(rollout.mask.sum(1), longest, buffer)
        rewards = rewards + parts["overlong"]
    return Graded(problems, texts, answers, torch.tensor(right, device=device).float(), rewards, parts)
