import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import rank
import train
from engine.batch import sample_seed
from engine.checkpoints import read_weights
from engine.parallel import batch_of, setup
from engine.runs import choose, read_metrics
from engine.state import start
from rollout import Policy, generate, score
from train import train_step, update_policy
from processes import begin, ended

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--prompts", "16", "--group", "8", "--max_new_tokens", "60", "--bench", "none"]


@pytest.fixture
def state():
    """A new State of a small toy run; options as on the command line."""
    return lambda *options: start(Policy, choose([*SMALL, *options])[0], setup())


def weights(s):
    return {name: p.detach().clone() for name, p in s.policy.named_parameters()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_step_logs_what_the_design_names_and_its_seconds_add_up(state):
    line = train_step(state())
    named = """step reward correct sampler_gap sampler_ratio loss er erv era beta bonus_fraction equal_groups entropy length truncated clip_fraction kl
               grad_norm lr tokens seconds dataset_er dataset_erv dataset_era er_undefined erv_undefined""".split()
    assert set(named) <= line.keys()
    assert set(line["seconds"]) == {"rollout", "verify", "score", "rank", "update", "other"}
    assert sum(line["seconds"].values()) == pytest.approx(line["step_seconds"])
    assert line["reward"] == line["correct"]  # --reward correct
    assert 0 < line["sampler_gap"] < 1e-5 and 1 <= line["sampler_ratio"] < 1 + 1e-4  # float32 both, and not the same sums
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
        s.mu = {"er": 5.0, "erv": 2.0, "era": 0.5}
        train_step(s)
        moved[shaping] = weights(s)
    assert not equal(moved["verl"], moved["none"])
    assert not equal(moved["none"], weights(state()))


@pytest.mark.parametrize("shaping", ["er", "erv", "equal", "shuffled", "entropy"])
def test_every_shaping_trains(state, shaping):
    s = state("--shaping", shaping)
    before = weights(s)
    found = [train_step(s) for _ in range(3)]
    assert not equal(before, weights(s)) and found[-1]["bonus_fraction"] > 0
    assert found[-1]["beta"] == {"er": 1.0, "erv": 0.0, "equal": 0.5, "entropy": None}.get(shaping, found[-1]["beta"])


def test_a_new_entry_of_the_metrics_table_reaches_the_log_and_the_running_means(state, monkeypatch):
    norms = lambda batch: rank.mean_states(batch.hidden, batch.mask).norm(dim=1)
    monkeypatch.setitem(rank.METRICS, "size", norms)
    s = state()
    line = train_step(s)
    assert line["size"] > 0 and line["size_undefined"] == 0 and line["dataset_size"] > 0
    assert s.mu["size"] == line["size"]


def test_the_graded_reward_pays_for_the_box_and_the_log_keeps_the_share_of_right_answers(state, monkeypatch):
    plain, graded = train_step(state()), train_step(state("--reward", "graded"))
    assert graded["correct"] == plain["correct"] == plain["reward"]  # the same samples
    boxed_or_not = {1.0, 0.5, -0.5, -1.0}
    found, advantages = [], train.group_advantages

    def noting(R, *rest):
        found.extend(R.tolist())
        return advantages(R, *rest)

    monkeypatch.setattr(train, "group_advantages", noting)
    train_step(state("--reward", "graded"))
    assert set(found) <= boxed_or_not and len(set(found)) > 1
    assert graded["reward"] == pytest.approx(sum(found) / len(found))


def test_adamw_has_the_betas_and_the_weight_decay_of_the_options(state):
    group = state("--adam_beta1", "0.8", "--adam_beta2", "0.99", "--weight_decay", "0.1").optimizer.param_groups[0]
    assert (group["betas"], group["weight_decay"]) == ((0.8, 0.99), 0.1)


def test_a_metric_whose_name_is_taken_is_refused_instead_of_hiding_another_number(state, monkeypatch):
    monkeypatch.setitem(rank.METRICS, "length", lambda batch: batch.whole)
    with pytest.raises(ValueError, match="two numbers of a step are called length"):
        train_step(state())


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
    batch = batch_of(s.problems, 0, 8, 0)
    r = generate(s.policy, [p for _, p in batch], [sample_seed(i) for i in range(32)], 60, s.stop_ids)
    A = torch.linspace(-1, 2, 32)
    r.advantages, r.old_logprobs = A[:, None].expand(r.mask.shape), score(s.policy, r)[0]
    done = update_policy(s, r)
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


def test_a_run_stopped_by_sigterm_and_resumed_ends_bit_identical(tmp_path):
    options = [*SMALL, "--steps", "6", "--eval_every", "2", "--save_every", "100"]
    whole, cut, said = tmp_path / "whole", tmp_path / "cut", tmp_path / "said"
    untouched = begin("train", *options, "--out", whole, cwd=ROOT, said=tmp_path / "whole.said")
    stopped = begin("train", *options, "--out", cut, cwd=ROOT, said=said)
    log = cut / "metrics.jsonl"
    while not (log.exists() and log.read_text().count("\n") >= 2):
        time.sleep(0.02)
        assert stopped.is_alive(), said.read_text()
    stopped.terminate()  # SIGTERM
    assert ended(stopped) == 1
    done = len(read_metrics(cut))
    assert f"after step {done} of 6" in said.read_text() and "--resume" in said.read_text()
    assert 2 <= done < 6 and (cut / f"checkpoint-{done}").exists()
    resumed = begin("train", "--out", cut, "--resume", cwd=ROOT, said=said)  # options come from config.json
    assert ended(resumed) == 0, said.read_text()
    assert ended(untouched) == 0
    one, other = (read_weights(out / "checkpoint-6") for out in (whole, cut))
    assert equal(one, other)
    assert read_metrics(whole, times=False) == read_metrics(cut, times=False)


def test_resume_after_a_crash_drops_the_lines_past_the_checkpoint(tmp_path):
    out = str(tmp_path / "run")
    train.main([*SMALL, "--steps", "3", "--save_every", "2", "--out", out])
    want = read_weights(tmp_path / "run" / "checkpoint-3")
    shutil.rmtree(tmp_path / "run" / "checkpoint-3")
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "rew')  # torn
    train.main(["--out", out, "--resume"])
    assert [line["step"] for line in read_metrics(out)] == [1, 2, 3]
    assert equal(read_weights(tmp_path / "run" / "checkpoint-3"), want)


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(tmp_path):
    config, out, _ = choose([*SMALL, "--steps", "1", "--out", str(tmp_path / "run")])
    out.mkdir()
    (out / "config.json").write_text(json.dumps(vars(config)))
    train.main(["--out", str(out), "--resume"])
    assert [line["step"] for line in read_metrics(out)] == [1]


def test_only_the_newest_checkpoints_are_kept_and_plain_from_pretrained_loads_them(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    train.main([*SMALL, "--steps", "3", "--save_every", "1", "--keep", "2", "--out", str(tmp_path / "run")])
    assert sorted(p.name for p in (tmp_path / "run").glob("*checkpoint*")) == ["checkpoint-2", "checkpoint-3"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "checkpoint-3")
    assert equal(dict(model.named_parameters()), read_weights(tmp_path / "run" / "checkpoint-3"))
    tokens = AutoTokenizer.from_pretrained(tmp_path / "run" / "checkpoint-3")
    assert tokens.encode("(1+2)\\boxed{3}") == AutoTokenizer.from_pretrained(ROOT / "toy_base").encode(
        "(1+2)\\boxed{3}"
    )
    assert json.loads((tmp_path / "run" / "checkpoint-3" / "run.json").read_text())["template"] == "plain"


def test_a_non_finite_loss_stops_the_run_and_leaves_the_checkpoint(tmp_path, monkeypatch):
    original, calls = train.policy_loss, []

    def poisoned(*args, **kwargs):
        calls.append(1)
        loss, stats = original(*args, **kwargs)
        return (loss * math.nan if len(calls) > 2 else loss), stats  # two updates a step: the second step is hit

    monkeypatch.setattr(train, "policy_loss", poisoned)
    with pytest.raises(SystemExit, match="step 2: loss nan.*\n.*checkpoint-1"):
        train.main([*SMALL, "--steps", "3", "--save_every", "1", "--out", str(tmp_path / "run")])
    assert len(calls) == 3  # the first update of step 2 was the last
    monkeypatch.undo()
    train.main(["--out", str(tmp_path / "run"), "--resume"])
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [1, 2, 3]


def test_prompts_that_are_too_long_are_left_out_and_counted(state, capsys):
    s = state("--max_prompt_tokens", "16")
    told = capsys.readouterr().out
    assert "prompts are longer than 16 tokens" in told
    assert s.problems and all(len(ids) <= 16 for _, ids in s.problems)
    with pytest.raises(ValueError, match="no prompt fits"):
        state("--max_prompt_tokens", "3")
    with pytest.raises(ValueError, match="--max_new_tokens 512 leaves no room for any prompt: the model has 512"):
        state("--max_new_tokens", "512")


def test_prompts_with_too_many_characters_are_left_out_and_counted(state, capsys):
    s = state("--max_prompt_characters", "20")
    assert "longer than 64 tokens or 20 characters: left out" in capsys.readouterr().out
    assert s.problems and all(len(problem.question) <= 20 for problem, _ in s.problems)
    assert max(len(problem.question) for problem, _ in s.problems) > 17


def test_resume_after_the_data_changed_is_refused_and_nothing_is_lost(tmp_path):
    rows = [{"question": f"{a}+{a}=?", "answer": str(2 * a)} for a in range(2, 12)]
    own = tmp_path / "own.jsonl"
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--data", str(own), "--model", str(ROOT / "toy_base"), "--template", "plain", "--kl_coef", "0"]
    out = ["--out", str(tmp_path / "run"), "--max_new_tokens", "20", "--prompts", "4", "--steps", "1"]
    train.main([*options, *out])
    own.write_text(own.read_text().replace('"answer": "22"', '"answer": "23"'))
    with pytest.raises(SystemExit, match="own.jsonl is not what .*checkpoint-1 was trained on") as refused:
        train.main([*out, "--resume", "--steps", "2"])
    assert "\n" not in str(refused.value) and (tmp_path / "run" / "checkpoint-1").exists()
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [1]


def test_a_run_says_what_ends_a_response_where_its_log_is_and_how_it_goes_without_a_terminal(tmp_path, capsys):
    train.main([*SMALL, "--steps", "2", "--stop", "*", "--out", str(tmp_path / "run")])
    told = capsys.readouterr().out
    assert "a response ends with <eos> or *" in told and f"log: {tmp_path}/run/metrics.jsonl" in told
    assert "step 1 of 2: reward 0." in told and "step 2 of 2: reward 0." in told
    about = json.loads((tmp_path / "run" / "checkpoint-2" / "run.json").read_text())
    assert about["stop"] == ["*"]


def test_a_folder_that_holds_a_run_is_refused_and_resume_cannot_change_the_run(tmp_path):
    out = tmp_path / "run"
    train.main([*SMALL, "--steps", "1", "--out", str(out)])
    with pytest.raises(SystemExit, match="holds a run"):
        train.main([*SMALL, "--out", str(out)])
    with pytest.raises(SystemExit, match="cannot change lr: 0.0002 -> 0.1"):
        train.main(["--out", str(out), "--resume", "--lr", "0.1"])
    train.main(["--out", str(out), "--resume", "--steps", "2"])  # going on for longer is fine
    assert [line["step"] for line in read_metrics(out)] == [1, 2]


@pytest.mark.parametrize("options, message", [
    (["--group", "1"], "another of its group"),
    (["--kappa", "1"], "kappa"),
    (["--window", "4"], "three strides"),
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
    assert [line["step"] for line in read_metrics(tmp_path / "new")] == [1]


@pytest.mark.parametrize("argv, named", [
    (["--shapin", "verl"], ["--shapin", "--mini_batches"]), (["--shaping", "verll"], ["verll", "shuffled", "entropy"])
])  # fmt: skip
def test_unknown_options_and_shapings_are_refused_and_the_choices_listed(argv, named, capsys):
    with pytest.raises(SystemExit) as end:
        train.main(argv)
    said = capsys.readouterr().err
    assert end.value.code == 2 and all(name in said for name in named)


def test_a_jsonl_of_ones_own_trains_any_model_folder(tmp_path):
    rows = [{"question": f"{a}+{a}=?", "answer": str(2 * a)} for a in range(2, 12)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    options = "--data own.jsonl --template plain --steps 1 --prompts 4 --max_new_tokens 30 --out run".split()
    command = [sys.executable, str(ROOT / "train.py"), "--model", str(ROOT / "toy_base"), *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "config.json").read_text())["lr"] == 5e-7  # the paper's recipe
