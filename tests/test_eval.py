import json
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import eval as evaluation  # `eval` is also a builtin
from engine import stats
from engine.config import parse_eval
from engine.data import Problem
from engine.evaluations import Finished, compare, read_samples, resolve_model, write_samples
from engine.models import weights_hash
from engine.stats import summarise
from rank import METRICS
from eval import Protocol, batches, evaluate, main, sample_batch
from processes import begin, ended, together

ROOT = Path(__file__).resolve().parent.parent
PROTOCOL = Protocol(template="plain", n=3, temperature=1.0, top_p=1.0, max_new_tokens=20, seed=0, batch=12, stride=4)


def record(id, sample, correct, answer="1", source="s", **other):
    base = dict(
        source=source, id=id, sample=sample, correct=correct, answer=answer, too_long=False, length=4, truncated=False
    )
    return base | dict(er=2.0, erv=None, era=None) | other


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


def test_each_sample_is_graded_by_the_verifier_that_training_uses(policy, tokenizer, monkeypatch):
    graded = []

    def verify(text, gold, last_number):
        graded.append((text, gold, last_number))
        return len(graded) % 2 == 0

    monkeypatch.setattr(evaluation, "verify", verify)
    records, _ = evaluate(policy, tokenizer, problems_for(2), replace(PROTOCOL, last_number=True), {0})
    assert graded == [(r["response"], r["gold"], True) for r in records]
    assert [r["correct"] for r in records] == [False, True] * 3


def test_a_sample_does_not_depend_on_its_batch(policy, tokenizer):
    together, states = evaluate(policy, tokenizer, problems_for(6), PROTOCOL, {0})
    alone, same = evaluate(policy, tokenizer, problems_for(6), replace(PROTOCOL, batch=1), {0})
    assert [(r["id"], r["sample"], r["response"]) for r in together] == [
        (r["id"], r["sample"], r["response"]) for r in alone
    ]
    assert torch.allclose(states, same, atol=1e-5)


def test_a_new_metric_needs_no_word_of_evaluation(policy, tokenizer, monkeypatch):
    asked = []

    def rank_metrics(hidden, mask, stride, window):
        asked.append(stride)
        return {"er": hidden.new_zeros(len(hidden)), "spread": mask.sum(1) / 2}

    table = {"er": None, "spread": None}
    monkeypatch.setattr(evaluation, "rank_metrics", rank_metrics)
    monkeypatch.setattr(evaluation, "METRICS", table)
    monkeypatch.setattr(stats, "METRICS", table)
    records, _ = evaluate(policy, tokenizer, problems_for(2), PROTOCOL, {0})
    assert asked == [PROTOCOL.stride] and [r["spread"] for r in records] == [r["length"] / 2 for r in records]
    assert list(summarise(records)["incorrect"]) == ["er", "spread"] and "erv" not in records[0]


def test_a_prompt_that_does_not_fit_is_scored_wrong_and_counted(policy, tokenizer):
    long = Problem("(" * 600, "1", "sums", "sums-long")
    records, means = evaluate(policy, tokenizer, [long, *problems_for(2)], PROTOCOL, {0})
    s = summarise(records)
    assert len(means) == 6
    assert s["too_long"] == 1 and s["problems"] == 3
    assert [r["correct"] for r in records if r["id"] == "sums-long"] == [False] * 3
    alone, none = evaluate(policy, tokenizer, [long], PROTOCOL, {0})
    assert summarise(alone)["length"] is None and none is None


def test_a_prompt_fits_if_it_leaves_room_for_the_longest_response(policy, tokenizer, monkeypatch):
    prompts = [[5] * 7, [5] * 8, [5] * 9]
    monkeypatch.setattr(evaluation, "model_room", lambda asked: 8 + PROTOCOL.max_new_tokens if asked is policy else 0)
    records, means = sample_batch(policy, tokenizer, problems_for(3), prompts, PROTOCOL, {0})
    assert [r["too_long"] for r in records] == [False] * 6 + [True] * 3 and len(means) == 6


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


def test_compare_refuses_other_problems_and_names_some(tmp_path):
    a, b = evaluated(tmp_path / "a", [0.5] * 5), evaluated(tmp_path / "b", [0.5] * 5)
    lines = (b / "samples.jsonl").read_text().replace('"p4"', '"p9"')
    (b / "samples.jsonl").write_text(lines)
    with pytest.raises(ValueError, match="different problems.*p4.*p9"):
        compare(a, b)


def test_the_command_line_compares_two_folders(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    a, b = evaluated(tmp_path / "a", [0.0] * 20), evaluated(tmp_path / "b", [1.0] * 20)
    main(["--compare", "a", "b"])
    assert capsys.readouterr().out == (
        "s                   20 problems  difference +100.0 [+66.3, +100.0]  p = 0.0001\n"
    )


def test_without_a_model_the_newest_checkpoint_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_model("some/model") == ("some/model", "some/model")
    for place, age in (("a/checkpoint-9", 300), ("b/checkpoint-4", 200), ("b/notes", 100)):
        folder = tmp_path / "runs" / place
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - age,) * 2)
    path, said = resolve_model(None)
    assert path == "runs/b/checkpoint-4" and "newest checkpoint" in said


def test_the_paper_protocol_asks_by_benchmark_and_a_checkpoint_for_its_template(tmp_path):
    sets = {"gaokao2024_I": problems_for(14), "gsm8k": problems_for(200)}
    (tmp_path / "run.json").write_text('{"template": "abel"}')
    paper = evaluation.protocols_of(parse_eval(["--bench", "gsm8k", "--protocol", "paper"]), tmp_path, sets)
    assert {name: protocol.n for name, protocol in paper.items()} == {"gaokao2024_I": 16, "gsm8k": 1}
    assert paper["gsm8k"] == Protocol("abel", 1, 0.6, 0.95, 1536, 0, 256, 40)
    own = ["--bench", "gsm8k", "--n", "3", "--template", "chat"]
    plain = evaluation.protocols_of(parse_eval(own), tmp_path, sets)
    assert {protocol.n for protocol in plain.values()} == {3} and plain["gsm8k"].template == "chat"
    with pytest.raises(ValueError, match="same answer 16 times"):
        evaluation.protocols_of(parse_eval(["--protocol", "paper", "--temperature", "0"]), tmp_path, sets)


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
    with pytest.raises(SystemExit, match="other values, {.temperature.: .0.6, 0.5.} .then, now.: give another --out"):
        main([*command, "--resume", "--temperature", "0.5"])
    main([*command, "--resume"])
    assert len(read_samples(tmp_path / "done" / "samples.jsonl")) == 8  # nothing was sampled twice
    assert set(results["benchmarks"]["own"]["dataset"]) == set(METRICS)


def test_several_sets_are_pooled_under_their_common_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main("--bench toy --n 1 --limit 2 --out done".split())
    assert "toy pooled" in capsys.readouterr().out
    results = json.loads((tmp_path / "done" / "results.json").read_text())["benchmarks"]
    assert results["toy pooled"]["problems"] == 16 and results["toy-3"]["problems"] == 2


def test_kill_minus_nine_and_resume_end_in_the_samples_of_an_uninterrupted_run(tmp_path):
    options = "--bench toy --n 2 --limit 12 --batch 16 --out".split()
    said = tmp_path / "said"
    whole = begin("eval", *options, "whole", cwd=tmp_path, said=tmp_path / "whole.said")
    victim = begin("eval", *options, "cut", cwd=tmp_path, said=said)
    part = tmp_path / "cut" / "samples.0.jsonl"
    while not (part.exists() and part.read_text().count("\n") >= 32):
        time.sleep(0.01)
        assert victim.is_alive(), said.read_text()
    victim.kill()
    assert ended(victim) == -signal.SIGKILL
    assert not (tmp_path / "cut" / "results.json").exists()
    assert ended(begin("eval", *options, "cut", "--resume", cwd=tmp_path, said=said)) == 0, said.read_text()
    assert ended(whole) == 0
    samples = [(tmp_path / name / "samples.jsonl").read_text() for name in ("whole", "cut")]
    assert samples[0] == samples[1] and samples[0].count("\n") == 8 * 12 * 2
    results = [json.loads((tmp_path / name / "results.json").read_text())["benchmarks"] for name in ("whole", "cut")]
    assert results[0] == results[1]


def main_in(folder, *argv):
    os.chdir(folder)
    main(argv)


def test_two_processes_give_the_samples_of_one(tmp_path):
    options = "--bench toy --samples 2 --limit 6 --batch 8 --out".split()
    for count, name in ((1, "one"), (2, "two")):
        together(count, main_in, tmp_path, *options, name, log=tmp_path / f"{name}.said")
    for a, b in zip(*(read_samples(tmp_path / name / "samples.jsonl") for name in ("one", "two")), strict=True):
        ranks = [[r.pop(m) for m in METRICS] for r in (a, b)]
        assert a == b and ranks[0] == pytest.approx(ranks[1], rel=1e-5)  # float32 states: BLAS rounds by its threads


def clocks_apart(folder, *argv):
    evaluation.time = SimpleNamespace(time=time.time, strftime=lambda form: f"clock{os.environ['RANK']}")
    main_in(folder, *argv)


def test_two_processes_write_to_the_folder_that_the_first_one_names(tmp_path):
    together(2, clocks_apart, tmp_path, *"--bench toy --samples 1 --limit 2".split(), log=tmp_path / "said")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["clock0-eval"]


def test_only_the_file_of_this_process_is_mended(tmp_path):
    for rank in (0, 1):
        write_samples(tmp_path / f"samples.{rank}.jsonl", [record("a", rank, True)])
        with open(tmp_path / f"samples.{rank}.jsonl", "a") as file:
            file.write('{"torn')
    finished = Finished(tmp_path, 0)
    assert len(finished.found) == 2
    torn = [(tmp_path / f"samples.{rank}.jsonl").read_text().endswith('{"torn') for rank in (0, 1)]
    assert torn == [False, True]


def test_the_hash_of_weights_shows_one_bit_and_the_order_and_no_number_of_threads(one_thread):
    values = torch.randn(1000, 1000, generator=torch.Generator().manual_seed(0))
    values[0, 0] = 1e-12
    model = SimpleNamespace(state_dict=lambda: {"w": values})
    before = weights_hash(model)
    torch.set_num_threads(3)
    assert weights_hash(model) == before
    values[0, :2] = values[0, :2].flip(0)
    swapped = weights_hash(model)
    values[0, :2] = values[0, :2].flip(0)
    assert weights_hash(model) == before != swapped
    values[0, 0] = torch.nextafter(values[0, 0], torch.tensor(1.0))
    assert weights_hash(model) not in (before, swapped)


def test_samples_with_any_characters_come_back_from_their_file(tmp_path):
    odd = [record("a", 0, False, answer="\u2028 \x85 \r \n \x00 é 中")]
    write_samples(tmp_path / "s.jsonl", odd)
    assert read_samples(tmp_path / "s.jsonl") == odd


@pytest.mark.parametrize("options, message", [
    (["--bench", "gsm9k"], "gsm8k"),
    (["--bench", "none.jsonl"], "none.jsonl"),
    (["--temperature", "0", "--n", "8"], "same answer"),
    (["--template", "chat"], "chat template"),
    (["--model", "no/such"], "no/such"),
    (["--compare", "a"], "two"),
    (["--resume"], "--out"),
    (["--bench", "toy", "--max_new_tokens", "5000"], "no room for any prompt"),
])  # fmt: skip
def test_bad_options_are_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        main(options)


def test_resume_knows_questions_golds_and_weights_by_their_hash_and_names_what_differs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"question": p.question, "answer": p.answer} for p in problems_for(2)]
    write = lambda: Path("own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write()
    shutil.copytree(ROOT / "toy_base", "model")
    command = ["--bench", "own.jsonl", "--model", "model", "--max_new_tokens", "20", "--out", "done"]
    main(command)
    main([*command, "--resume"])  # as it was
    weights = load_file("model/model.safetensors")
    weights["model.norm.weight"][0] *= 1.001
    save_file(weights, "model/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SystemExit, match="other values, {'weights': .*give another --out"):
        main([*command, "--resume"])
    shutil.copy(ROOT / "toy_base" / "model.safetensors", "model")
    rows[1]["answer"] = "77"
    write()
    with pytest.raises(SystemExit, match="other values, {'data': .*give another --out"):
        main([*command, "--resume"])
    main([*command[:-1], "other"])
    with pytest.raises(SystemExit, match="cannot be compared, they differ in {'data'"):
        main(["--compare", "done", "other"])


def test_a_system_message_for_a_checkpoint_whose_template_is_no_chat_is_refused():
    config = parse_eval(["--system", "Be brief."])
    with pytest.raises(ValueError, match="for --template chat; this model's is plain"):
        evaluation.protocols_of(config, ROOT / "toy_base", {"toy-1": problems_for(1)})
