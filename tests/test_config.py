"""Options: their bounds, their recipes, and the command line that they make."""

import math
from dataclasses import fields

import pytest
import torch

from engine.config import EvalConfig, TrainConfig, check, complete_eval, complete_train, may_change, parse, parse_eval
from rank import rank_metrics

BOUNDED = [
    (kind, option.name, option.metadata)
    for kind in (TrainConfig, EvalConfig) for option in fields(kind)
    if option.metadata["bounds"]
]  # fmt: skip


def parsed(*words):
    return parse(TrainConfig, "words", list(words))


@pytest.mark.parametrize("kind, name, about", BOUNDED, ids=[f"{kind.__name__} {name}" for kind, name, _ in BOUNDED])
def test_each_bound_lets_its_edge_pass_or_not_and_refuses_what_lies_beyond_and_nan(kind, name, about):
    def refused(value):
        try:
            check(kind(**{name: value}))
        except ValueError as error:
            assert f"--{name} {value} must be" in str(error)
            return True
        return False

    tiny, bounds = 1e-9, about["bounds"]
    if "least" in bounds:
        assert not refused(bounds["least"]) and refused(bounds["least"] - tiny)
    if "above" in bounds:
        assert refused(bounds["above"]) and not refused(bounds["above"] + tiny)
    if "most" in bounds:
        assert not refused(bounds["most"]) and refused(bounds["most"] + tiny)
    if "below" in bounds:
        assert refused(bounds["below"]) and not refused(bounds["below"] - tiny)
    assert refused(math.nan)


def test_every_bound_usual_range_and_meaning_is_in_the_help(capsys):
    with pytest.raises(SystemExit):
        parsed("--help")
    shown = " ".join(capsys.readouterr().out.split())
    for option in fields(TrainConfig):
        assert f"--{option.name}" in shown and " ".join(option.metadata["help"].split()) in shown
    assert "bonus at most |A| / kappa; usually 2; above 1" in shown


def test_options_that_are_left_out_take_the_recipe_of_the_task_and_those_that_are_given_stay():
    toy, own = complete_train(parsed()), complete_train(parsed("--data", "mine.jsonl", "--lr", "0.5"))
    assert (toy.model, toy.data, toy.lr, toy.stride, toy.bench) == ("toy", "toy", 2e-4, 4, "toy")
    assert (own.model, own.data, own.lr, own.stride, own.bench) == ("toy", "mine.jsonl", 0.5, 40, "none")
    # the paper's recipe is its release's
    assert (own.normalise, own.reward, own.adam_beta1, own.adam_beta2) == ("sequence", "graded", 0.9, 0.999)
    assert (own.weight_decay, own.max_prompt_characters, own.max_prompt_tokens) == (0.01, 512, 512)
    assert (toy.normalise, toy.reward, toy.adam_beta2, toy.weight_decay) == ("token", "correct", 0.95, 0.0)
    assert parse_eval([]).n == 8 and parse_eval(["--bench", "gsm8k"]).temperature == 0.6
    assert parse_eval(["--samples", "3"]).n == 3


def test_yes_and_no_can_be_said_in_three_ways():
    assert parsed("--mask_truncated").mask_truncated and not parsed("--mask_truncated", "no").mask_truncated
    assert not parsed("--no_scale_std").scale_std and not parsed("--scale_std", "false").scale_std
    assert parsed("--scale_std").scale_std and parsed("--scale_std", "1").scale_std


@pytest.mark.parametrize("words", [["--scale_std", "maybe"], ["--lr", "fast"], ["--shaping", "verll"], ["--shap", "er"]])
def test_a_word_that_cannot_be_read_ends_the_program_with_the_choices(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(*words)
    assert ended.value.code == 2 and "--mini_batches" in capsys.readouterr().err


@pytest.mark.parametrize("options, message", [
    (dict(temperature=0.0), "greedy responses of a group"),
    (dict(prompts=6, mini_batches=4), "--prompts 6 does not divide by --mini_batches 4 x 1 processes = 4"),
    (dict(window=12), "--window 12 must hold more than three strides of 4"),
    (dict(normalise="tokens"), "choose one of token, sequence, constant"),
])  # fmt: skip
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        complete_train(TrainConfig(**options))


def test_a_window_with_one_state_more_than_three_strides_is_enough_and_gives_every_metric():
    assert complete_train(TrainConfig(window=13)).window == 13  # stride 4: prefixes of 5, 9 and 13 states
    z = torch.randn(1, 20, 8, generator=torch.Generator().manual_seed(0))
    metrics = rank_metrics(z, torch.ones(1, 20, dtype=torch.bool), stride=4, window=13)
    assert all(value.isfinite().all() for value in metrics.values())


@pytest.mark.parametrize("options, message", [
    (dict(compare=["a"]), "--compare a: give two evaluation folders"), (dict(resume=True), "--resume needs --out"),
])  # fmt: skip
def test_an_evaluation_that_cannot_work_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        complete_eval(EvalConfig(**options))


def test_what_a_resumed_run_may_change_is_what_changes_no_result():
    assert may_change(TrainConfig) == {
        "steps", "eval_every", "save_every", "keep", "keep_best", "resume", "out", "micro_tokens", "sample_batch",
        "recompute", "threads", "bench_dir", "log_samples", "show", "tensorboard",
    }  # fmt: skip


@pytest.mark.parametrize("options, message", [
    (dict(keep_best=True), "--keep_best needs --eval_every"),
    (dict(overlong_buffer=96), "--overlong_buffer 96 must be below --max_new_tokens 96"),
    (dict(system="Be brief."), "for --template chat, not plain"),
    (dict(chat_options="{}"), "for --template chat, not plain"),
    (dict(template="chat", chat_options="{thinking"), "--chat_options {thinking: not JSON"),
    (dict(template="chat", chat_options="[1]"), "want an object"),
])  # fmt: skip
def test_options_that_could_have_no_effect_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        complete_train(TrainConfig(**options))
