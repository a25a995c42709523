import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train
from engine.parallel import setup
from train import batch_of, parse, start, train_step, update

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--prompts", "16", "--group", "8", "--max_new_tokens", "60", "--bench", "none"]


@pytest.fixture
def state():
    """A new State of a small toy run; options as on the command line."""
    return lambda *options: start(parse([*SMALL, *options])[0], setup())


def weights(s):
    return {name: p.detach().clone() for name, p in s.policy.named_parameters()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def run_cli(*options, cwd=ROOT, **other):
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *options], cwd=cwd, capture_output=True, text=True, **other
    )


def lines(out):
    return [json.loads(line) for line in (Path(out) / "metrics.jsonl").read_text().splitlines()]


def model_of(checkpoint):
    from safetensors.torch import load_file

    return load_file(Path(checkpoint) / "model.safetensors")


def test_a_step_logs_what_the_design_names_and_its_seconds_add_up(state):
    line = train_step(state())
    named = """step reward loss er erv era beta bonus_fraction equal_groups entropy length truncated clip_fraction kl
               grad_norm lr tokens seconds dataset_er dataset_erv dataset_era er_undefined erv_undefined""".split()
    assert set(named) <= line.keys()
    assert set(line["seconds"]) == {"rollout", "verify", "score", "rank", "update", "other"}
    assert sum(line["seconds"].values()) == pytest.approx(line["step_seconds"])
    assert line["lr"] == 2e-4 and line["beta"] is None  # no controller before there is a running mean
    json.loads(json.dumps(line, allow_nan=False))


def test_verl_gives_a_bonus_on_every_step_after_the_first_and_none_never_does(state):
    for shaping in ("verl", "none"):
        s = state("--shaping", shaping)
        found = [train_step(s) for _ in range(4)]
        assert found[0]["bonus_fraction"] == 0
        assert all(line["er"] >= 1 for line in found)  # rank metrics are logged either way
        for line in found[1:]:
            assert line["equal_groups"] < 1  # there is something to compare
            assert (line["bonus_fraction"] > 0) == (shaping == "verl")


def test_one_update_with_verl_moves_the_weights_elsewhere_than_one_with_none(state):
    moved = {}
    for shaping in ("verl", "none"):
        s = state("--shaping", shaping)
        s.baseline = torch.tensor([5.0, 2.0, 0.5], dtype=torch.float64)
        train_step(s)
        moved[shaping] = weights(s)
    assert not equal(moved["verl"], moved["none"])
    assert not equal(moved["none"], weights(state()))


@pytest.mark.parametrize("shaping", ["er", "erv", "equal", "shuffled", "entropy", "release"])
def test_every_shaping_trains(state, shaping):
    s = state("--shaping", shaping)
    before = weights(s)
    found = [train_step(s) for _ in range(3)]
    assert not equal(before, weights(s)) and found[-1]["bonus_fraction"] > 0
    assert found[-1]["beta"] == {"er": 1.0, "erv": 0.0, "equal": 0.5, "entropy": None}.get(shaping, found[-1]["beta"])


def test_the_shapings_of_the_command_line_are_those_of_shaping():
    import shaping

    assert train.SHAPINGS == shaping.MODES


def test_the_release_baseline_starts_at_zero_and_is_a_batch_late(state):
    s = state("--shaping", "release")
    first = train_step(s)
    assert s.baseline.tolist() == [0, 0, 0]
    train_step(s)
    assert s.baseline[0].item() == pytest.approx(0.3 * first["er"])


def test_micro_batches_do_not_change_the_update(state):
    moved = {}
    for micro in (10**6, 200):
        s = state("--micro_tokens", str(micro), "--entropy_coef", "0.01")
        line = train_step(s)
        moved[micro] = weights(s), line["loss"], line["clip_fraction"]
    torch.testing.assert_close(moved[200][0], moved[10**6][0], atol=1e-5, rtol=1e-4)  # lr 2e-4, twice
    assert moved[200][1] == pytest.approx(moved[10**6][1], abs=1e-6)


def test_the_loss_counts_tokens_over_the_whole_update(state):
    # With old = new log-probs the loss is - sum_it A_i / tokens, whatever the micro-batches are.
    s = state("--micro_tokens", "200", "--mini_batches", "1")
    from rollout import generate, sample_seed, score

    batch = batch_of(s.problems, 0, 8, 0)
    r = generate(s.policy, [p for _, p in batch], [sample_seed(i) for i in range(32)], 60, s.stop_ids, 0)
    A = torch.linspace(-1, 2, 32)
    done = update(s, r, A, score(s.policy, r)[0], None)
    assert done["loss"] == pytest.approx(-(A * r.mask.sum(1)).sum().item() / r.mask.sum().item(), abs=1e-5)


def test_the_reference_of_the_kl_term_is_the_model_at_the_start(state):
    s = state("--kl_coef", "0.1")
    first, second = train_step(s), train_step(s)
    assert 0 <= first["kl_reference"] < second["kl_reference"]  # the first update of the first step starts at it
    assert not equal(weights(s), {k: p for k, p in s.reference.named_parameters()})
    assert equal({k: p for k, p in s.reference.named_parameters()}, weights(state()))


def test_truncated_responses_can_be_left_out_of_the_loss(state):
    s = state("--mask_truncated", "--max_new_tokens", "2")
    before = weights(s)
    line = train_step(s)
    assert line["truncated"] == 1 and line["loss"] == 0 and equal(before, weights(s))


def test_batches_walk_through_all_of_the_data_in_a_new_order_each_epoch():
    data = list(range(10))
    walk = [p for step in range(8) for p in batch_of(data, step, 5, seed=3)]
    epochs = [walk[i : i + 10] for i in range(0, 40, 10)]
    assert all(sorted(e) == data for e in epochs) and len({tuple(e) for e in epochs}) == 4
    assert batch_of(data, 5, 5, 3) == walk[25:30] and batch_of(data, 0, 5, 4) != walk[:5]


def test_a_run_stopped_by_sigterm_and_resumed_ends_bit_identical(tmp_path):
    options = [*SMALL, "--steps", "6", "--eval_every", "2", "--save_every", "100"]
    assert run_cli(*options, "--out", str(tmp_path / "whole")).returncode == 0
    stopped = subprocess.Popen([sys.executable, str(ROOT / "train.py"), *options, "--out", str(tmp_path / "cut")],
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    log = tmp_path / "cut" / "metrics.jsonl"
    while not (log.exists() and log.read_text().count("\n") >= 2):
        time.sleep(0.02)
        assert stopped.poll() is None
    stopped.send_signal(signal.SIGTERM)
    said = stopped.communicate(timeout=60)[1]
    done = len(lines(tmp_path / "cut"))
    assert stopped.returncode == 1 and f"after step {done} of 6" in said and "--resume" in said
    assert 2 <= done < 6 and (tmp_path / "cut" / f"checkpoint-{done}").exists()
    resumed = run_cli("--out", str(tmp_path / "cut"), "--resume")  # options come from config.json
    assert resumed.returncode == 0, resumed.stderr
    one, other = (model_of(tmp_path / name / "checkpoint-6") for name in ("whole", "cut"))
    assert equal(one, other)
    times = {"seconds", "step_seconds"}
    strip = lambda out: [{k: v for k, v in line.items() if k not in times} for line in lines(out)]
    assert strip(tmp_path / "whole") == strip(tmp_path / "cut")


def test_resume_after_a_crash_drops_the_lines_past_the_checkpoint(tmp_path):
    out = str(tmp_path / "run")
    train.main([*SMALL, "--steps", "3", "--save_every", "2", "--out", out])
    want = model_of(tmp_path / "run" / "checkpoint-3")
    shutil.rmtree(tmp_path / "run" / "checkpoint-3")
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "rew')  # torn
    train.main(["--out", out, "--resume"])
    assert [line["step"] for line in lines(out)] == [1, 2, 3]
    assert equal(model_of(tmp_path / "run" / "checkpoint-3"), want)


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(tmp_path):
    config, out, _ = parse([*SMALL, "--steps", "1", "--out", str(tmp_path / "run")])
    out.mkdir()
    (out / "config.json").write_text(json.dumps(train.asdict(config)))
    train.main(["--out", str(out), "--resume"])
    assert [line["step"] for line in lines(out)] == [1]


def test_only_the_newest_checkpoints_are_kept_and_plain_from_pretrained_loads_them(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    train.main([*SMALL, "--steps", "3", "--save_every", "1", "--keep", "2", "--out", str(tmp_path / "run")])
    assert sorted(p.name for p in (tmp_path / "run").glob("*checkpoint*")) == ["checkpoint-2", "checkpoint-3"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "checkpoint-3")
    assert equal(dict(model.named_parameters()), {k: v for k, v in model_of(tmp_path / "run" / "checkpoint-3").items()})
    tokens = AutoTokenizer.from_pretrained(tmp_path / "run" / "checkpoint-3")
    assert tokens.encode("(1+2)\\boxed{3}") == AutoTokenizer.from_pretrained(ROOT / "toy_base").encode(
        "(1+2)\\boxed{3}"
    )
    assert json.loads((tmp_path / "run" / "checkpoint-3" / "run.json").read_text())["template"] == "plain"


def test_a_non_finite_loss_stops_the_run_and_leaves_the_checkpoint(tmp_path, monkeypatch):
    import grpo

    original, calls = grpo.policy_loss, []

    def poisoned(*args, **kwargs):
        calls.append(1)
        loss, stats = original(*args, **kwargs)
        return (loss * math.nan if len(calls) > 2 else loss), stats  # two updates a step: the second step is hit

    monkeypatch.setattr(grpo, "policy_loss", poisoned)
    with pytest.raises(SystemExit, match="step 2: loss nan.*\n.*checkpoint-1"):
        train.main([*SMALL, "--steps", "3", "--save_every", "1", "--out", str(tmp_path / "run")])
    monkeypatch.undo()
    train.main(["--out", str(tmp_path / "run"), "--resume"])
    assert [line["step"] for line in lines(tmp_path / "run")] == [1, 2, 3]


def test_prompts_that_are_too_long_are_left_out_and_counted(state, capsys):
    s = state("--max_prompt_tokens", "16")
    told = capsys.readouterr().out
    assert "prompts are longer than 16 tokens" in told
    assert s.problems and all(len(ids) <= 16 for _, ids in s.problems)
    with pytest.raises(ValueError, match="no prompt fits"):
        state("--max_prompt_tokens", "3")
    with pytest.raises(ValueError, match="no prompt fits"):
        state("--max_new_tokens", "512")  # all of the model's positions


def test_a_folder_that_holds_a_run_is_refused_and_resume_cannot_change_the_run(tmp_path):
    out = tmp_path / "run"
    train.main([*SMALL, "--steps", "1", "--out", str(out)])
    with pytest.raises(SystemExit, match="holds a run"):
        train.main([*SMALL, "--out", str(out)])
    with pytest.raises(SystemExit, match="cannot change lr: 0.0002 -> 0.1"):
        train.main(["--out", str(out), "--resume", "--lr", "0.1"])
    train.main(["--out", str(out), "--resume", "--steps", "2"])  # going on for longer is fine
    assert [line["step"] for line in lines(out)] == [1, 2]


@pytest.mark.parametrize("options, message", [
    (["--group", "1"], "another of its group"),
    (["--kappa", "1"], "kappa"),
    (["--window", "4"], "two strides"),
    (["--mini_batches", "9", "--prompts", "8"], "mini_batches"),
    (["--temperature", "0"], "temperature"),
    (["--model", "no/such/folder", "--data", "toy"], "no/such/folder"),
    (["--data", "missing.jsonl"], "missing.jsonl"),
    (["--data", "gsm9k"], "gsm8k"),
    (["--resume"], "no run in"),
])  # fmt: skip
def test_bad_options_are_refused_with_the_remedy(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        train.main([*SMALL, *options])
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_resume_of_a_named_folder_that_holds_no_run_begins_one_and_says_so(tmp_path, capsys):
    train.main([*SMALL, "--steps", "1", "--resume", "--out", str(tmp_path / "new")])
    assert "from the start" in capsys.readouterr().out
    assert [line["step"] for line in lines(tmp_path / "new")] == [1]


def test_unknown_options_and_shapings_are_refused_and_the_choices_listed():
    unknown, shaping = run_cli("--shapin", "verl"), run_cli("--shaping", "verll")
    assert unknown.returncode == 2 and "--shapin" in unknown.stderr and "--mini_batches" in unknown.stderr
    assert shaping.returncode == 2 and all(
        mode in shaping.stderr for mode in ("verll", "shuffled", "entropy", "release")
    )


def test_a_jsonl_of_ones_own_trains_any_model_folder(tmp_path):
    rows = [{"question": f"{a}+{a}=?", "answer": str(2 * a)} for a in range(2, 12)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    options = "--data own.jsonl --template plain --steps 1 --prompts 4 --max_new_tokens 30 --out run".split()
    done = run_cli("--model", str(ROOT / "toy_base"), *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["lr"] == 5e-7  # the paper's recipe
