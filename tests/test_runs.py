"""Logs that are cut short, command lines that would mix runs, and phases of a step."""

import json
import signal
from types import SimpleNamespace

import pytest
import torch

from engine import runs
from engine.parallel import World
from engine.runs import Clock, Run, choose, cut_log, read_lines, read_metrics


def test_a_kill_while_a_file_is_rewritten_leaves_its_old_text(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n')

    def killed(path):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(runs, "flush", killed)
        with pytest.raises(SystemExit):
            cut_log(path, 1)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    cut_log(path, 1)
    assert path.read_text() == '{"step": 1}\n'


def test_a_torn_last_line_and_a_missing_log_are_no_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_lines(path) == []
    path.write_text('{"step": 1, "seconds": {}, "step_seconds": 2.0, "reward": 0.5}\n{"step": 2, "rew')
    assert [line["step"] for line in read_lines(path)] == [1]
    assert read_metrics(tmp_path, times=False) == [{"step": 1, "reward": 0.5}]
    assert read_metrics(tmp_path)[0]["step_seconds"] == 2.0


def test_laps_of_the_same_phase_add_up_and_all_together_are_the_total(monkeypatch):
    times = iter([10.0, 11.0, 13.0, 16.0])
    monkeypatch.setattr(runs.time, "perf_counter", lambda: next(times))
    clock = Clock()
    for phase in ("sample", "update", "sample"):
        clock.lap(phase)
    assert clock.seconds == {"sample": 4.0, "update": 2.0} and clock.total() == 6.0


def begun(folder, **changes):
    """A folder as a run of the default begins it, with changes to what it stores; None removes an option."""
    config, folder, _ = choose(["--out", str(folder)])
    folder.mkdir(parents=True)
    stored = {**vars(config), **changes}
    stored = {name: value for name, value in stored.items() if name not in changes or value is not None}
    (folder / "config.json").write_text(json.dumps(stored))
    return str(folder)


def test_a_resumed_run_has_its_own_options_and_takes_those_that_change_no_result(tmp_path):
    out = begun(tmp_path / "run", lr=0.001, steps=7)
    config, folder, checkpoint = choose(["--out", out, "--resume", "--steps", "9", "--threads", "2"])
    assert (config.lr, config.steps, config.threads, checkpoint) == (0.001, 9, 2, None) and str(folder) == out


@pytest.mark.parametrize("options, message", [
    (["--gain", "3"], "cannot set --gain: the run was begun by a version without that option"),
    (["--lr", "0.5"], "cannot change lr: 0.0002 -> 0.5"),
])  # fmt: skip
def test_what_would_change_a_run_half_way_is_refused_in_one_sentence(tmp_path, options, message):
    out = begun(tmp_path / "run", gain=None)  # as an older version begins it, that does not know --gain
    assert choose(["--out", out, "--resume"])[0].gain == 2.0
    assert choose(["--out", out, "--resume", "--gain", "2"])[0].gain == 2.0  # as it was all the time
    with pytest.raises(ValueError, match=message) as refused:
        choose(["--out", out, "--resume", *options])
    assert "\n" not in str(refused.value) and "start a new run" in str(refused.value)


@pytest.mark.parametrize("changes, message", [
    (dict(warp=9), "with options that this one does not know: warp"),
    (dict(shaping="release"), "--shaping release: choose one of verl"),
])  # fmt: skip
def test_a_run_begun_with_what_this_version_does_not_know_is_refused_in_one_sentence(tmp_path, changes, message):
    out = begun(tmp_path / "run", **changes)
    with pytest.raises(ValueError, match=message):
        choose(["--out", out, "--resume"])


class Half(World):
    """The first of two processes; the other one answers as `other` says."""

    def gather(self, items):
        return [*items, *self.other]


def test_an_out_folder_that_another_rank_does_not_see_is_refused(tmp_path):
    config, folder, _ = choose(["--out", str(tmp_path / "run")])
    world = Half(0, 2, torch.device("cpu"))
    object.__setattr__(world, "other", [None])
    run = Run(config, world, folder)
    object.__setattr__(world, "other", [False])
    with pytest.raises(OSError, match="run is not there on ranks .1.: give a folder that all machines see"):
        run.begin(0)


def test_a_ctrl_c_after_the_last_look_of_a_step_is_heard_at_the_end_of_the_next(tmp_path, monkeypatch):
    config, folder, _ = choose(["--out", str(tmp_path / "run"), "--steps", "3"])
    run = Run(config, World(0, 1, torch.device("cpu")), folder)
    run.begin(0)
    saved, s = [], SimpleNamespace(step=0)
    monkeypatch.setattr(run, "save", lambda s: saved.append(s.step) or setattr(run, "saved_step", s.step))
    leave = run.stop.__class__.__exit__

    def late(self, *error):  # between the last look and the end of the block
        if s.step == 1:
            signal.raise_signal(signal.SIGINT)
        leave(self, *error)

    monkeypatch.setattr(run.stop.__class__, "__exit__", late)
    with pytest.raises(KeyboardInterrupt):
        for _ in range(3):
            with run.whole_step(s):
                s.step += 1
    assert saved == [2]


@pytest.mark.parametrize("size, others", [(1, []), (2, [False]), (2, [True])])
def test_a_sigterm_in_an_evaluation_waits_for_its_end_on_several_processes(size, others):
    asked = []
    world = SimpleNamespace(size=size, gather=lambda items: asked.append(items) or [*items, *others])
    run = SimpleNamespace(world=world, stop=runs.StopAtStepEnd())
    ended = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as engine.runs.failures
    try:
        with pytest.raises(KeyboardInterrupt), Run.whole_evaluation(run):
            if others != [True]:  # else it is another process that was asked
                signal.raise_signal(signal.SIGTERM)
            ended.append(True)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert ended == ([True] if size > 1 else []) and asked == ([] if size == 1 else [[others != [True]]])
