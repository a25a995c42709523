import itertools
import json
import math
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import eval as evaluation  # `eval` is also a builtin
from engine.data import Problem
from eval import (
    Protocol,
    batches,
    compare,
    evaluate,
    interval,
    main,
    majority,
    paper_n,
    pass_at_k,
    read_samples,
    summarise,
    write_samples,
)

ROOT = Path(__file__).resolve().parent.parent
PROTOCOL = Protocol(template="plain", n=3, temperature=1.0, top_p=1.0, max_new_tokens=20, seed=0, batch=12, stride=4)


def record(id, sample, correct, answer="1", source="s", **other):
    base = dict(
        source=source, id=id, sample=sample, correct=correct, answer=answer, too_long=False, length=4, truncated=False
    )
    return base | dict(er=2.0, erv=None, era=None) | other


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_pass_at_k_matches_counting_every_choice_of_k_samples(n):
    for c in range(n + 1):
        for k in range(1, n + 1):
            hits = [any(i < c for i in chosen) for chosen in itertools.combinations(range(n), k)]
            assert pass_at_k(n, c, k) == pytest.approx(sum(hits) / len(hits))


@pytest.mark.parametrize("n, c, k", [(4, 1, 5), (4, 5, 1), (4, 1, 0)])
def test_pass_at_k_is_refused_where_it_is_undefined(n, c, k):
    with pytest.raises(ValueError, match=f"pass@{k} of {n}"):
        pass_at_k(n, c, k)


@pytest.mark.parametrize("answers, correct, want", [
    (["1", "2", "1"], [1, 0, 1], 1.0),
    (["1", "2", "2"], [1, 0, 0], 0.0),
    (["1", "2"], [1, 0], 0.5),  # a tie
    (["1/2", "0.5", "7", "7", "2/4"], [1, 1, 0, 0, 1], 1.0),  # the same answer in three spellings
    ([None, None, "3"], [0, 0, 1], 1.0),  # no answer is no vote
    ([None], [0], 0.0),
])  # fmt: skip
def test_majority(answers, correct, want):
    assert majority(answers, [bool(c) for c in correct]) == want


@pytest.mark.parametrize("problems, mean", [(14, 0.3), (30, 0.4), (64, 0.15), (119, 0.7)])
def test_the_interval_covers_the_truth_in_95_of_100_simulations(problems, mean):
    rng, covered, runs = random.Random(0), 0, 1000
    for _ in range(runs):  # problems differ: solved with a probability of their own, 4 samples each
        own = [rng.betavariate(2 * mean, 2 * (1 - mean)) for _ in range(problems)]
        values = [sum(rng.random() < p for _ in range(4)) / 4 for p in own]
        low, high = interval(values, resamples=1000)
        covered += low <= mean <= high
    assert 0.93 <= covered / runs <= 0.97


def test_the_interval_holds_the_mean_and_is_never_a_point():
    for values in ([0.0] * 20, [1.0] * 20, [0.25, 0.5, 1.0], [1.0]):
        low, high = interval(values)
        assert 0 <= low <= sum(values) / len(values) <= high <= 1 and low < high


def test_a_summary_is_the_hand_computed_one():
    records = [
        record("a", 0, True),
        record("a", 1, False, "2", truncated=True),
        record("b", 0, False, None),
        record("b", 1, False, "3"),
    ]
    s = summarise(records)
    assert (s["problems"], s["n"], s["pass@1"], s["pass@2"], s["maj@2"]) == (2, 2, 0.25, 0.5, 0.25)
    assert (s["truncated"], s["no_answer"], s["too_long"], s["length"]) == (0.25, 0.25, 0, 4)
    assert s["correct"] == {"er": 2.0, "erv": None, "era": None}


def problems_for(n=9):
    return [Problem(f"{'(' * (i % 3)}{i}+{i}=?", str(2 * i), "sums", f"sums-{i}") for i in range(n)]


def test_an_interrupted_evaluation_goes_on_to_the_same_samples(policy, tokenizer, tmp_path):
    want, means = evaluate(policy, tokenizer, problems_for(), PROTOCOL, {0}, out=tmp_path)
    file = tmp_path / "samples.0.jsonl"
    written = file.read_text()
    assert read_samples(file) == want and len(want) == len(means) == 27
    for cut in range(0, len(written), 997):  # at any byte: between batches, within one, within a line
        file.write_text(written[:cut])
        again, same = evaluate(policy, tokenizer, problems_for(), PROTOCOL, {0}, out=tmp_path)
        assert again == want and torch.equal(same, means)
        assert set(file.read_text().split("\n")) == set(written.split("\n"))


def test_finished_batches_are_not_sampled_twice(policy, tokenizer, tmp_path, monkeypatch):
    evaluate(policy, tokenizer, problems_for(), PROTOCOL, {0}, out=tmp_path)
    kept = (tmp_path / "samples.0.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "samples.0.jsonl").write_text("".join(kept[:15]) + kept[15][:20])  # one batch of 12 is whole
    sampled, original = [], evaluation.sample_batch
    monkeypatch.setattr(evaluation, "sample_batch", lambda *a: sampled.append(len(a[2])) or original(*a))
    evaluate(policy, tokenizer, problems_for(), PROTOCOL, {0}, out=tmp_path)
    assert sampled == [4, 1]


def test_a_prompt_that_does_not_fit_is_scored_wrong_and_counted(policy, tokenizer):
    long = Problem("(" * 600, "1", "sums", "sums-long")
    records, means = evaluate(policy, tokenizer, [long, *problems_for(2)], PROTOCOL, {0})
    s = summarise(records)
    assert len(means) == 6
    assert s["too_long"] == 1 and s["problems"] == 3
    assert [r["correct"] for r in records if r["id"] == "sums-long"] == [False] * 3
    alone, none = evaluate(policy, tokenizer, [long], PROTOCOL, {0})
    assert summarise(alone)["length"] is None and none is None


def test_batches_hold_every_problem_once_longest_prompts_first():
    prompts = [[0] * n for n in (3, 9, 4, 9, 1, 2, 7)]
    cut = batches(prompts, prompts, PROTOCOL)
    assert [len(b) for b in cut] == [4, 3] and [i for b in cut for i in b] == [1, 3, 6, 2, 0, 5, 4]


def evaluated(folder, shares, protocol=None, n=4, seed=0, source="s"):
    """A folder as eval.py leaves it, whose problems are right with the given probabilities."""
    rng = random.Random(seed)
    folder.mkdir()
    records = [
        record(f"p{i}", j, rng.random() < share, source=source) for i, share in enumerate(shares) for j in range(n)
    ]
    write_samples(folder / "samples.jsonl", records)
    began = {"protocol": protocol or {"n": n, "temperature": 1.0, "seed": seed}, "problems": {source: len(shares)}}
    (folder / "results.json").write_text(json.dumps(began))
    return folder


def test_compare_finds_a_real_difference_and_none_between_halves_of_one_model(tmp_path):
    rng = random.Random(1)
    hard = [rng.random() for _ in range(200)]
    a, b = evaluated(tmp_path / "a", hard, seed=1), evaluated(tmp_path / "b", hard, seed=2)
    c = evaluated(tmp_path / "c", [min(1, p + 0.1) for p in hard], seed=3)
    same, better = compare(a, b)["s"], compare(a, c)["s"]
    assert same["p"] > 0.05 and same["95"][0] < 0 < same["95"][1]
    assert better["p"] < 0.01 and 0 < better["95"][0] < better["difference"] < better["95"][1]
    assert better["difference"] == pytest.approx(-compare(c, a)["s"]["difference"])


def test_compare_refuses_different_protocols_and_names_the_fields(tmp_path):
    a = evaluated(tmp_path / "a", [0.5] * 5)
    b = evaluated(tmp_path / "b", [0.5] * 5, protocol={"n": 4, "temperature": 0.6, "seed": 0})
    with pytest.raises(ValueError, match="temperature.*1.0.*0.6"):
        compare(a, b)


def test_the_command_line_evaluates_a_file_and_says_what_it_did(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.jsonl").write_text(
        "".join(json.dumps({"question": p.question, "answer": p.answer}) + "\n" for p in problems_for(4))
    )
    command = ["--bench", "own.jsonl", "--n", "2", "--max_new_tokens", "30", "--out", "done", "--show", "1"]
    main(command)
    told = capsys.readouterr().out
    assert "the shipped toy base (no checkpoint under runs/)" in told and "pass@1" in told and "gold '" in told
    results = json.loads((tmp_path / "done" / "results.json").read_text())
    assert results["benchmarks"]["own"]["problems"] == 4 and results["protocol"]["template"] == "plain"
    assert {"command", "versions", "model", "seconds"} <= results.keys()
    assert len(read_samples(tmp_path / "done" / "samples.jsonl")) == 8
    with pytest.raises(SystemExit, match="holds an evaluation"):
        main(command)
    with pytest.raises(SystemExit, match="nothing to resume"):
        main([*command, "--resume", "--temperature", "0.5"])
    main([*command, "--resume"])
    assert len(read_samples(tmp_path / "done" / "samples.jsonl")) == 8  # nothing was sampled twice
    assert set(results["benchmarks"]["own"]["dataset"]) == {"er", "erv", "era"}


def test_several_sets_are_pooled_under_their_common_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main("--bench toy --n 1 --limit 2 --out done".split())
    assert "toy pooled" in capsys.readouterr().out
    results = json.loads((tmp_path / "done" / "results.json").read_text())["benchmarks"]
    assert results["toy pooled"]["problems"] == 16 and results["toy-3"]["problems"] == 2


def test_kill_minus_nine_and_resume_end_in_the_samples_of_an_uninterrupted_run(tmp_path):
    command = [sys.executable, str(ROOT / "eval.py"), "--bench", "toy", "--n", "2", "--limit", "24", "--batch", "16"]
    subprocess.run([*command, "--out", "whole"], cwd=tmp_path, check=True, capture_output=True)
    victim = subprocess.Popen([*command, "--out", "cut"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    part = tmp_path / "cut" / "samples.0.jsonl"
    while not (part.exists() and part.read_text().count("\n") >= 32):
        time.sleep(0.01)
        assert victim.poll() is None
    victim.kill()
    victim.wait()
    assert not (tmp_path / "cut" / "results.json").exists()
    subprocess.run([*command, "--out", "cut", "--resume"], cwd=tmp_path, check=True, capture_output=True)
    whole, cut = ((tmp_path / name / "samples.jsonl").read_text() for name in ("whole", "cut"))
    assert whole == cut and whole.count("\n") == 8 * 24 * 2
    results = [json.loads((tmp_path / name / "results.json").read_text())["benchmarks"] for name in ("whole", "cut")]
    assert results[0] == results[1]


def test_two_processes_give_the_samples_of_one(tmp_path):
    options = "--bench toy --samples 2 --limit 6 --batch 8".split()
    one = [sys.executable, str(ROOT / "eval.py"), *options, "--out", "one"]
    two = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29531"]
    subprocess.run(one, cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(
        [*two, str(ROOT / "eval.py"), *options, "--out", "two"], cwd=tmp_path, check=True, capture_output=True
    )
    for a, b in zip(*(read_samples(tmp_path / name / "samples.jsonl") for name in ("one", "two")), strict=True):
        ranks = [[r.pop(m) for m in ("er", "erv", "era")] for r in (a, b)]
        assert a == b and ranks[0] == pytest.approx(ranks[1], rel=1e-5)  # float32 states: BLAS rounds by its threads


def test_samples_with_any_characters_come_back_from_their_file(tmp_path):
    odd = [record("a", 0, False, answer="\u2028 \x85 \r \n \x00 é 中")]
    write_samples(tmp_path / "s.jsonl", odd)
    assert read_samples(tmp_path / "s.jsonl") == odd


def test_the_papers_number_of_samples():
    sets = {
        "aime24": 30,
        "amc23": 40,
        "math24o": 21,
        "OlymMATH-EN-HARD": 100,
        "BeyondAIME": 100,
        "gaokao2024_I": 14,
        "gsm8k": 1319,
    }
    assert [paper_n(*s) for s in sets.items()] == [256, 256, 256, 32, 32, 16, 1]


@pytest.mark.parametrize("options, message", [
    (["--bench", "gsm9k"], "gsm8k"),
    (["--bench", "none.jsonl"], "none.jsonl"),
    (["--temperature", "0", "--n", "8"], "same answer"),
    (["--template", "chat"], "chat template"),
    (["--model", "no/such"], "no/such"),
    (["--compare", "a"], "two"),
])  # fmt: skip
def test_bad_options_are_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        main(options)


def test_statistics_of_the_interval_do_not_depend_on_call_order():
    assert interval([0.0, 1.0, 0.5]) == interval([0.0, 1.0, 0.5]) and math.isfinite(interval(torch.ones(3))[0])
