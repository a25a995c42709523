"""Two gloo processes against one: training runs that note their responses."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engine import parallel  # noqa: E402
from engine.checkpoints import read_weights  # noqa: E402
from engine.runs import read_metrics  # noqa: E402
from processes import together  # noqa: E402

pytestmark = pytest.mark.slow
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]


def worker(out, *options):
    """A run whose responses, with their golds, go to <out>.<rank>.json."""
    import train

    grade, graded = train.grade, []

    def noting(function, problems, rollout, tokenizer, *rest):
        graded.extend(zip(rollout.texts(tokenizer), [problem.answer for problem in problems]))
        return grade(function, problems, rollout, tokenizer, *rest)

    train.grade = noting
    train.main([*options, "--out", out])
    Path(f"{out}.{os.environ.get('RANK', 0)}.json").write_text(json.dumps(graded))


def run(processes, out, *options):
    together(processes, worker, str(out), *options, log=out.with_suffix(".said"))
    return [json.loads(path.read_text()) for path in sorted(out.parent.glob(f"{out.name}.*.json"))]


SMALL = "--prompts 8 --group 4 --mini_batches 2 --bench none --max_new_tokens 60 --micro_tokens 600".split()


@pytest.mark.parametrize("options", [
    "--shaping verl --kl_coef 0.01", "--shaping none --kl_coef 0.01",
    "--shaping shuffled --mask_truncated --normalise sequence",
    "--shaping verl --mini_batches 1 --recompute --entropy_coef 0.01",
])  # fmt: skip
def test_two_processes_sample_as_one_and_reach_the_same_weights_in_a_checkpoint_that_loads(tmp_path, options):
    from transformers import AutoModelForCausalLM

    one, two = tmp_path / "one", tmp_path / "two"
    options = [*SMALL, "--steps", "5", *options.split()]
    (whole,), parts = run(1, one, *options), run(2, two, *options)
    assert len(parts) == 2 and len(parts[0]) == len(parts[1]) == len(whole) // 2
    assert sorted(map(tuple, whole)) == sorted(tuple(pair) for part in parts for pair in part)
    a, b = read_weights(one / "checkpoint-5"), read_weights(two / "checkpoint-5")
    torch.testing.assert_close(b, a, atol=1e-5, rtol=0)  # and the same names
    ids = torch.arange(12)[None]
    loaded = (AutoModelForCausalLM.from_pretrained(out / "checkpoint-5") for out in (one, two))
    with torch.no_grad():
        torch.testing.assert_close(*(model(ids).logits for model in loaded), atol=1e-4, rtol=1e-4)
    for x, y in zip(read_metrics(one, times=False), read_metrics(two, times=False), strict=True):
        known = {k: v for k, v in x.items() if v is not None}
        assert x.keys() == y.keys() and {k: y[k] for k in known} == pytest.approx(known, rel=1e-3, abs=1e-5)


def test_a_sharded_run_resumes_from_its_checkpoint_on_one_process_and_on_two(tmp_path):
    options = [*SMALL, "--prompts", "4", "--save_every", "2"]
    run(2, tmp_path / "whole", *options, "--steps", "4")
    run(2, tmp_path / "cut", *options, "--steps", "2")
    for processes in (1, 2):
        copy = tmp_path / f"copy{processes}"
        subprocess.run(["cp", "-r", str(tmp_path / "cut"), str(copy)], check=True)
        run(processes, copy, "--resume", "--steps", "4")
        resumed, whole = read_weights(copy / "checkpoint-4"), read_weights(tmp_path / "whole" / "checkpoint-4")
        torch.testing.assert_close(resumed, whole, atol=1e-5, rtol=0)


def refused(processes, program, *argv, cwd):
    """What the processes of a run under torchrun say of its end."""
    command = [*TORCHRUN, str(processes), str(program), *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)
    assert done.returncode != 0
    return [line for line in done.stderr.splitlines() if line.startswith("train.py: ")]


@pytest.mark.parametrize("late", [0, 1])
def test_prompts_that_do_not_divide_among_processes_are_refused_once_whoever_comes_last(tmp_path, late):
    (tmp_path / "late.py").write_text(
        f"import os, sys, time; sys.path.insert(0, {str(ROOT)!r}); import train\n"
        f"time.sleep(2 * (os.environ['RANK'] == '{late}')); train.main(sys.argv[1:])"
    )
    (message,) = refused(2, tmp_path / "late.py", "--prompts", "6", "--mini_batches", "2", cwd=tmp_path)
    assert "--prompts 6" in message and "2 processes" in message and "rank" not in message


def test_a_reason_that_only_a_later_process_has_is_said_by_it(monkeypatch):
    waited = []
    monkeypatch.setattr(parallel.time, "sleep", waited.append)
    handled = []
    monkeypatch.setattr(parallel.signal, "signal", lambda *args: handled.append(args))
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit, match="^train.py: rank 1: process 1 of this machine has no GPU$"):
        parallel.end_with("train.py", OSError("process 1 of this machine has no GPU"))
    assert waited == [parallel.PRECEDENCE] and handled == [(signal.SIGTERM, signal.SIG_DFL)]


def test_a_process_that_sees_other_data_stops_all_with_one_message(tmp_path):
    for rank in (0, 1):
        rows = [{"question": f"{a}+{rank}=?", "answer": "1"} for a in range(2, 9)]
        (tmp_path / f"rank{rank}").mkdir()
        (tmp_path / f"rank{rank}" / "own.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    # each process in a folder of its own: the same file name, other contents
    program = (
        "import os, sys; from pathlib import Path; here = Path(sys.argv[1]); os.chdir(here / ('rank' + os.environ"
        "['RANK'])); sys.path.insert(0, sys.argv[2]); import train; train.main(['--data', 'own.jsonl', '--model', "
        "sys.argv[3], '--template', 'plain', '--max_new_tokens', '30', '--kl_coef', '0'])"
    )
    (tmp_path / "other.py").write_text(program)
    argv = [str(tmp_path), str(ROOT), str(ROOT / "toy_base")]
    (message,) = refused(2, tmp_path / "other.py", *argv, cwd=tmp_path)
    assert "rank 1 sees other data than rank 0" in message


def test_two_processes_agree_on_the_best_evaluation_and_save_it_together(tmp_path):
    rows = [{"question": f"({a}*2)+3=?", "answer": str(2 * a + 3)} for a in range(2, 8)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = [*SMALL, "--bench", str(tmp_path / "own.jsonl"), "--eval_every", "1", "--keep_best", "--save_every", "100"]
    run(2, tmp_path / "out", *options, "--steps", "3")
    evaluations = [json.loads(line) for line in (tmp_path / "out" / "evaluations.jsonl").read_text().splitlines()]
    shares = {line["step"]: line["benchmarks"]["own"]["pass@1"] for line in evaluations if line["n"] == 1}
    assert list(shares) == [1, 2]
    best = max(shares, key=shares.get)
    assert {f"checkpoint-{best}", "checkpoint-3"} <= {path.name for path in (tmp_path / "out").glob("checkpoint-*")}
