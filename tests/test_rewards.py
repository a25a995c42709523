"""Rewards of the table and of one's own, the overlong penalty, and how they reach the log."""

import json
import math

import pytest
import torch

import train
from engine.data import Problem
from engine.rewards import REWARDS, RewardError, load_reward, overlong_penalty, reward_of
from engine.runs import read_metrics

SMALL = ["--prompts", "4", "--group", "4", "--max_new_tokens", "60", "--bench", "none", "--steps", "1"]


@pytest.mark.parametrize("response, correct, graded", [
    ("so \\boxed{4}", 1.0, 1.0), ("The answer is 4.", 1.0, 0.5), ("so \\boxed{5}", 0.0, -0.5),
    ("The answer is 5.", 0.0, -1.0), ("2 + 2 = 4", 0.0, -1.0),  # the last number of a text is no answer
])  # fmt: skip
def test_rewards_of_right_and_wrong_responses_in_a_box_and_without(response, correct, graded):
    assert REWARDS["correct"]("2+2=?", response, "4", {}) == correct
    assert REWARDS["graded"]("2+2=?", response, "4", {}) == graded


def test_a_reward_of_ones_own_is_called_with_prompt_response_gold_and_row_and_its_parts_are_logged(tmp_path):
    (tmp_path / "own.py").write_text("""
def lines_and_level(prompt, response, gold, row):
    assert prompt.endswith("=?") and int(gold) >= 0 and row["difficulty"] == 3
    return {"lines": response.count("\\n") / 10, "box": 1.0 if "boxed" in response else 0.0}
""")
    rows = [{"question": f"{a}+{a}=?", "answer": str(2 * a), "difficulty": 3} for a in range(2, 12)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = ["--data", str(tmp_path / "own.jsonl"), "--template", "plain", "--kl_coef", "0", "--stride", "4"]
    train.main([*SMALL, *own, "--reward", f"{tmp_path}/own.py:lines_and_level", "--out", str(tmp_path / "run")])
    (line,) = read_metrics(tmp_path / "run")
    assert line["reward"] == pytest.approx(line["reward_lines"] + line["reward_box"]) and line["reward_box"] > 0


def test_what_goes_wrong_in_a_reward_of_ones_own_names_function_row_and_response(tmp_path):
    problem = Problem("1+1=?", "2", "own", "own-7", {"question": "1+1=?"})

    def broken(prompt, response, gold, row):
        return row["level"]

    with pytest.raises(RewardError, match="reward broken on own-7, response 'It is 2.': KeyError.'level'.") as error:
        reward_of(broken, problem.question, "It is 2.", problem)
    assert "\n" not in str(error.value)
    with pytest.raises(RewardError, match="own-7.*TypeError"):
        reward_of(lambda *_: None, "", "", problem)
    for value in (math.nan, -math.inf, {"right": 1.0, "length": math.nan}):
        with pytest.raises(RewardError, match="own-7.*finite"):
            reward_of(lambda *_: value, "", "", problem)  # noqa: B023
    (tmp_path / "own.py").write_text("def broken(prompt, response, gold, row):\n    return 1 / 0\n")
    with pytest.raises(SystemExit, match="train.py: rank 0: reward broken on toy-.*ZeroDivisionError.*\nlast checkpoint: None"):
        train.main([*SMALL, "--reward", f"{tmp_path}/own.py:broken", "--out", str(tmp_path / "run")])


@pytest.mark.parametrize("name, message", [
    ("right", "choose one of correct, graded, or give FILE.py:FUNCTION"), ("gone.py:f", "no file .*gone.py"),
    ("{folder}/own.py:g", "has no function g"),
])  # fmt: skip
def test_a_reward_that_is_not_there_is_refused(name, message, tmp_path):
    (tmp_path / "own.py").write_text("def f(prompt, response, gold, row):\n    return 1\n")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_reward(name.format(folder=tmp_path))
    assert load_reward(f"{tmp_path}/own.py:f")("", "", "", {}) == 1


def test_the_overlong_penalty_is_that_of_dapo():
    lengths = torch.tensor([0, 80, 81, 90, 99, 100])
    assert overlong_penalty(lengths, longest=100, buffer=20).tolist() == pytest.approx([0, 0, -0.05, -0.5, -0.95, -1])
    assert overlong_penalty(lengths, longest=100, buffer=0).tolist() == [0] * 6


def test_the_overlong_penalty_enters_the_reward_and_is_logged_by_name(tmp_path):
    for buffer in ("0", "50"):
        train.main([*SMALL, "--overlong_buffer", buffer, "--out", str(tmp_path / buffer)])
    (plain,), (shorter,) = (read_metrics(tmp_path / buffer) for buffer in ("0", "50"))
    assert "reward_overlong" not in plain and shorter["reward_overlong"] < 0
    assert shorter["reward"] == pytest.approx(plain["reward"] + shorter["reward_overlong"])
    assert shorter["correct"] == plain["correct"] == plain["reward"]
