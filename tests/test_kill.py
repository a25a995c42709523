"""Runs that are killed, stopped, or cannot write: what is left of them. `bench/kill_run.py` does the first at length."""

import signal
import subprocess
import sys
import time

import pytest

from bench import kill_run
from bench.kill_run import OPTIONS, ROOT, TORCHRUN, alive, contents, kill_and_resume, processes_of


pytestmark = pytest.mark.slow


def start(processes, out, *options, program=(ROOT / "train.py",)):
    command = [sys.executable, *([*TORCHRUN, str(processes)] if processes > 1 else []), *map(str, program), *OPTIONS]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([*command, "--out", str(out), *options], **pipes)


def complaints(run):
    """What train.py says, from all processes, about its failure."""
    _, said = run.communicate(timeout=100)
    assert run.returncode != 0 and "Traceback" not in said.split("torch/distributed/elastic")[0], said
    return [line for line in said.splitlines() if line.startswith("train.py: ")]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_resumes_from_a_complete_checkpoint_and_ends_as_if_nothing_had_been(tmp_path, processes):
    # Seed 4 kills at a third of the time that the untouched run takes; seed 0, at its end, may come too late.
    done, _, difference, one, other = kill_and_resume(tmp_path, processes, 1, steps=4, seed=4, tell=lambda text: None)
    assert done == 1 and [line["step"] for line in other] == [1, 2, 3, 4]
    assert difference <= (0 if processes == 1 else 1e-5) and (processes > 1 or one == other)


@pytest.mark.parametrize("where", ["step", "save"])
def test_sigterm_to_torchrun_ends_all_processes_after_the_step_with_a_checkpoint_of_it(tmp_path, where):
    out, log = tmp_path / "run", tmp_path / "run" / "metrics.jsonl"
    program = [ROOT / "train.py"] if where == "step" else [kill_run.__file__, "worker"]  # whose saves are slow
    every = {"step": "500", "save": "2"}[where]
    run = start(2, out, "--steps", "500", "--save_every", every, program=program)
    while not (list(out.glob(".checkpoint-*")) if where == "save" else log.exists() and log.read_text()):
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)
    ranks = processes_of(run, 2)
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=60)
    done = len(log.read_text().splitlines())
    assert run.returncode != 0 and len(ranks) == 2 and not any(map(alive, ranks))
    assert [path.name for path in out.glob("*checkpoint-*")] == [f"checkpoint-{done}"] and 1 <= done < 500, said
    assert contents(out / f"checkpoint-{done}")
    assert said.count(f"stopped after step {done} of 500") == 1 and "--resume" in said


# train.py on a disk that has room for the first checkpoint, and for no file above 100 kB after it
FULL = f"""
import resource, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from engine import runs
import train
save = runs.save_checkpoint

def save_checkpoint(folder, policy, *rest):
    path = save(folder, policy, *rest)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error instead of the process's end
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    return path

runs.save_checkpoint = save_checkpoint
train.main()
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_checkpoint_that_cannot_be_written_ends_all_with_one_message_and_leaves_the_older(tmp_path, processes):
    (tmp_path / "full.py").write_text(FULL)
    run = start(processes, tmp_path / "run", "--steps", "3", program=[tmp_path / "full.py"])
    (told,) = complaints(run)
    assert "checkpoint-2 cannot be written" in told and "MiB are free" in told
    assert [path.name for path in (tmp_path / "run").glob("*checkpoint*")] == ["checkpoint-1"]  # nor a .checkpoint-
    assert contents(tmp_path / "run" / "checkpoint-1")


def test_a_folder_that_cannot_be_made_ends_all_processes_with_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    (told,) = complaints(start(2, tmp_path / "file" / "run", "--steps", "1"))
    assert "Not a directory" in told and str(tmp_path / "file" / "run") in told
