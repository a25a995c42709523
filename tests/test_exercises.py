"""The solutions of docs/exercises.md, applied to a copy of the repository's files and run at a small size."""

import importlib
import json
import math
import re
import shlex
import sys

import pytest
import torch
from conftest import ROOT

import train
from engine.runs import read_lines, read_metrics
from verifier import verify

PAGE = (ROOT / "docs" / "exercises.md").read_text()
TITLES = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
SMALL = ["--prompts", "4", "--group", "4", "--max_new_tokens", "60", "--bench", "none"]
OURS = {path.stem for path in ROOT.glob("*.py")} | {"engine"}


def section(title):
    """The text of an exercise, found by a part of its title."""
    (found,) = [text for text in PAGE.split("\n## ")[1:] if title in text.split("\n")[0]]
    return found


def code(title, language):
    """The blocks of an exercise in one language."""
    return re.findall(rf"```{language}\n(.*?)```", section(title), re.DOTALL)


def apply(diff, folder):
    """Change the files of a folder as a diff says: the lines of each hunk stand exactly once in their file."""
    for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        name, *lines = part.splitlines()
        before = "".join(line[1:] + "\n" for line in lines if line[0] in " -")
        after = "".join(line[1:] + "\n" for line in lines if line[0] in " +")
        text = (folder / name).read_text()
        assert text.count(before) == 1, f"{name} has no such lines, or has them twice:\n{before}"
        (folder / name).write_text(text.replace(before, after))


@pytest.fixture
def solved(tmp_path, monkeypatch):
    """solved(title): `train`, imported from a copy of the repository to which the exercise's diffs were applied."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in ROOT.glob("*.py"):
        (copy / path.name).write_text(path.read_text())
    for folder in ("engine", "toy_base"):
        (copy / folder).symlink_to(ROOT / folder)
    before = forget_ours()

    def load(title):
        for diff in code(title, "diff"):
            apply(diff, copy)
        monkeypatch.syspath_prepend(copy)
        return importlib.import_module("train")

    yield load
    forget_ours()
    sys.modules.update(before)


def forget_ours():
    """Take the repository's modules out of sys.modules, so that they are imported anew; returns them by name."""
    found = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in OURS}
    for name in found:
        del sys.modules[name]
    return found


def run(module, folder, *options):
    """The metrics of a small run of a module `train`, without its times."""
    module.main([*SMALL, *options, "--out", str(folder)])
    return read_metrics(folder, times=False)


def spy(monkeypatch, module, name):
    """A list that gets (arguments, result) of each call of module.name."""
    calls, original = [], getattr(module, name)

    def noting(*args, **kwargs):
        result = original(*args, **kwargs)
        calls.append((args, result))
        return result

    monkeypatch.setattr(module, name, noting)
    return calls


def test_without_the_std_written_by_hand_is_the_option_no_scale_std(solved, tmp_path):
    given = run(train, tmp_path / "given", "--steps", "2", "--shaping", "none", "--no_scale_std")
    default = run(train, tmp_path / "default", "--steps", "2", "--shaping", "none")
    own = run(solved("std"), tmp_path / "own", "--steps", "2", "--shaping", "none")
    assert own == given != default


def test_any_number_pays_a_wrong_answer_whose_working_contains_the_gold(tmp_path):
    (source,) = code("cheated", "python")
    (tmp_path / "cheat.py").write_text(source)
    names = {}
    exec(source, names)  # the page's own code
    any_number, wrong = names["any_number"], "7*5=35\n35-7=28\n\\boxed{35}"
    assert not verify(wrong, "28") and any_number("(7*5)-7=?", wrong, "28", {}) == 1.0
    assert any_number("(7*5)-7=?", wrong, "2", {}) == 0.0  # a number, not its digits

    reward = ["--reward", f"{tmp_path}/cheat.py:any_number", "--log_samples", "16"]
    (line,) = run(train, tmp_path / "run", "--steps", "1", *reward)
    records = read_lines(tmp_path / "run" / "samples.jsonl")
    paid = [record["gold"] in re.findall(r"\d+", record["response"]) for record in records]
    assert [record["reward"] for record in records] == paid and line["reward"] == sum(paid) / 16


def test_a_third_channel_is_logged_and_adds_the_tanh_of_its_deviation(solved, tmp_path, tokenizer):
    module = solved("third channel")
    run(module, tmp_path / "run", "--steps", "2", "--log_samples", "16")
    for line in read_metrics(tmp_path / "run"):
        assert line["density"] > 0 and line["density_undefined"] == 0
    for record in read_lines(tmp_path / "run" / "samples.jsonl"):
        tokens = len(tokenizer.encode(record["response"])) + 1  # <eos>, unless the response was cut
        assert record["er"] / record["density"] == pytest.approx(min(tokens, 60))

    usual = {"er": 10.0, "erv": 2.0, "era": 1.0, "density": 0.5}
    metrics = {name: torch.tensor([mu]) for name, mu in usual.items()}
    metrics["density"] = torch.tensor([0.6])
    shaped, _ = module.shape_advantages(torch.tensor([1.0]), metrics, usual)
    assert shaped.item() == pytest.approx(1 + math.tanh(0.2))


def test_groups_of_equal_rewards_are_left_out_of_the_loss(solved, tmp_path, monkeypatch):
    for module, counted in ((train, True), (solved("Dynamic sampling"), False)):
        calls = spy(monkeypatch, module, "policy_loss")
        run(module, tmp_path / str(counted), "--steps", "1", "--mini_batches", "1", "--shaping", "none")
        ((_, _, advantages, weights, *_), _) = calls[0]
        teaches_nothing = (advantages == 0).all(1)  # [B]
        assert len(calls) == 1 and 0 < teaches_nothing.sum() < 16
        assert (weights[teaches_nothing].sum() > 0) == counted
        assert weights.sum().item() == pytest.approx(1)  # divided by the tokens that are left


@pytest.mark.parametrize("name, count, operators", [("pairs", 1024, {3}), ("flat", 2048, {3, 4, 5})])
def test_the_files_of_own_tasks_have_right_answers_in_characters_that_the_model_knows(
    name, count, operators, tmp_path, monkeypatch, tokenizer
):
    monkeypatch.chdir(tmp_path)
    (source,) = [source for source in code("task of your own", "python") if f"{name}-train" in source]
    exec(source, {})  # the page's own code
    training, held_out = (read_rows(f"{name}-{part}.jsonl") for part in ("train", "test"))
    assert (len(training), len(held_out)) == (count, 128) and not training.keys() & held_out.keys()
    for question, answer in (training | held_out).items():
        assert value_of(question.removesuffix("=?")) == int(answer)
        assert len(re.findall("[+*-]", question)) in operators
        assert tokenizer.unk_token_id not in tokenizer.encode(question)


def read_rows(file):
    rows = [json.loads(line) for line in open(file)]
    return {row["question"]: row["answer"] for row in rows}


def value_of(text):
    """Brackets as Python has them; without brackets from left to right."""
    if "(" in text:
        return eval(text)
    value, *steps = re.findall(r"[+*-]?\d+", text)
    for step in steps:
        value = eval(f"{value}{step}")
    return value


def test_the_command_for_an_own_task_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(code("task of your own", "python")[0], {})  # the page's own code
    (block,) = code("task of your own", "bash")
    _, script, *options = shlex.split(block.replace("\\\n", " "))
    assert script == "train.py"
    (line,) = run(train, tmp_path / "run", *options, *SMALL, "--steps", "1")
    assert line["reward"] == line["correct"] and line["step"] == 1


def test_a_bonus_on_the_last_token_is_a_mean_bonus_of_bonus_by_length(solved, tmp_path, monkeypatch):
    module = solved("last token")
    shaped_calls, updates = spy(monkeypatch, module, "shape_advantages"), spy(monkeypatch, module, "update_policy")
    run(module, tmp_path / "run", "--steps", "2")
    (A, *_), (shaped, _) = shaped_calls[1]
    (_, rollout), _ = updates[1]
    length = rollout.mask.sum(1)  # [B]
    added = (rollout.advantages - A[:, None]) * rollout.mask  # [B, T]
    assert (shaped > A).any() and ((added != 0).sum(1) <= 1).all()
    torch.testing.assert_close(added.sum(1) / length, (shaped - A) / length)


def test_every_exercise_has_a_solution_and_a_test():
    tested = ["std", "cheated", "third channel", "Dynamic sampling", "task of your own", "last token"]
    assert len(TITLES) == len(tested)
    for title in tested:
        assert code(title, "bash") and (code(title, "diff") or code(title, "python"))
