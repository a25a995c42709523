"""Kill a run at random moments, resume it, and compare its end with that of a run which nobody touched.

    python bench/kill_run.py [--processes 2] [--kills 20] [--steps 40] [--seed 0]

A kill is a SIGKILL to one process of the run (under torchrun, where there are several). Every fourth falls in the
start-up, the others in training, where saving is slowed down so that many of them hit a save or the removal of an old
checkpoint. After each kill all processes must end, every folder called checkpoint-N must load, and the newest must not
be older than before. Then the run is resumed, to be killed again, and at last to its end: weights, optimizer, baseline
and log must be those of the untouched run, to the bit on one process and to 1e-5 on several.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import train
from engine import checkpoints
from engine.models import load_model
from engine.parallel import World, leave
from engine.runs import read_metrics
from rollout import Policy

OPTIONS = "--prompts 4 --group 4 --mini_batches 2 --bench none --max_new_tokens 30 --save_every 1".split()
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
PAUSE = 0.02  # seconds before each file that is flushed or removed
LIMIT = 90  # seconds in which all processes of a killed run must have ended


def worker(argv):
    """train.py with slow saves."""
    flush, rmtree = checkpoints.flush, checkpoints.shutil.rmtree

    def slow_rmtree(folder, **options):
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                time.sleep(PAUSE)
                path.unlink()
        rmtree(folder, **options)

    def slow_flush(path):
        time.sleep(PAUSE)
        flush(path)

    checkpoints.flush = slow_flush
    checkpoints.shutil.rmtree = slow_rmtree
    train.main(argv)


def launch(processes, out, steps):
    """Start or resume a run: a Popen whose `output` is the file that it prints to."""
    command = [sys.executable, *([*TORCHRUN, str(processes)] if processes > 1 else []), __file__, "worker", *OPTIONS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.NamedTemporaryFile("w", dir=out.parent, suffix=".log", delete=False) as file:
        run = subprocess.Popen(
            [*command, "--steps", str(steps), "--out", str(out), "--resume"],
            stdout=file, stderr=subprocess.STDOUT, env=environment,
        )  # fmt: skip
    run.output = Path(file.name)
    return run


def to_its_end(processes, out, steps):
    """Seconds that a run takes from launch to training, and from there to its end."""
    launched = time.time()
    run = launch(processes, out, steps)
    if run.wait(timeout=600):
        raise RuntimeError(run.output.read_text())
    begun = (out / "config.json").stat().st_mtime
    return begun - launched, (out / "metrics.jsonl").stat().st_mtime - begun


def processes_of(run, processes):
    """Process ids of a run's ranks; torchrun is their parent."""
    if processes == 1:
        return [run.pid]
    try:
        return [int(pid) for pid in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def alive(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def kill(processes, out, steps, rng, seconds, start_up):
    """Start or resume the run and kill one of its processes, up to `seconds` later; False if it had ended before."""

    def begun():  # changes when training begins
        config = out / "config.json"
        return config.stat().st_mtime_ns if config.exists() else None

    before, run = begun(), launch(processes, out, steps)
    while not start_up and begun() == before and run.poll() is None:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, seconds))
    victims = processes_of(run, processes)
    while not victims and run.poll() is None:  # torchrun itself is starting
        time.sleep(0.01)
        victims = processes_of(run, processes)
    if run.poll() is not None:
        if run.returncode:
            raise RuntimeError(f"the run ended before it was killed:\n{run.output.read_text()}")
        return False
    os.kill(rng.choice(victims), signal.SIGKILL)
    run.wait(timeout=LIMIT)  # TimeoutExpired: the others hang
    if left := [pid for pid in victims if alive(pid)]:
        raise RuntimeError(f"{left} of {victims} still run")
    return True


def contents(checkpoint):
    """All that a checkpoint holds: tensors by name; an error if anything of it is missing."""
    world = World(0, 1, torch.device("cpu"))
    policy = Policy(load_model(checkpoint, world.device)[0])
    optimizer = torch.optim.AdamW(policy.parameters())
    state = checkpoints.load_state(checkpoint, policy, optimizer, world)
    step = json.loads((checkpoint / "run.json").read_text())["step"]
    if not state["step"] == step or checkpoint.name != f"checkpoint-{step}":
        raise RuntimeError(f"{checkpoint} holds step {state['step']}, and its run.json {step}")
    held = {f"weight {k}": p.detach() for k, p in policy.named_parameters()}
    for i, moments in enumerate(optimizer.state.values()):
        held |= {f"{k} {i}": v for k, v in moments.items()}
    return held | {f"mean {name}": torch.tensor(mu) for name, mu in state["baseline"].items()}


def kill_and_resume(folder, processes, kills, steps, seed=0, tell=print):
    """Kills done, those that hit a save, the largest difference of tensors at the end, and both runs' logs."""
    rng, whole, cut = random.Random(seed), Path(folder) / "whole", Path(folder) / "cut"
    starting, training = to_its_end(processes, whole, steps)
    tell(f"the untouched run: {starting:.1f} s to start, {training:.1f} s for {steps} steps")
    done, torn, newest = 0, 0, 0
    for i in range(kills):
        start_up = i % 4 == 3
        moment = starting if start_up else 1.3 * training / kills  # some progress is lost, so 1.3 ends near the end
        done += kill(processes, cut, steps, rng, moment, start_up)
        rubbish = len(list(cut.glob(".checkpoint-*")))
        torn += rubbish > 0
        found = [step for step, _ in checkpoints.checkpoints(cut)]
        for _, path in checkpoints.checkpoints(cut):
            contents(path)
        if found and found[-1] < newest or not found and newest:
            raise RuntimeError(f"the newest checkpoint was {newest}; after a kill there are {found}")
        newest = found[-1] if found else 0
        tell(
            f"kill {i + 1:>2} {'in the start-up' if start_up else 'in training':<16} complete: {found or 'none yet'}"
            f"{', and an unfinished one' * (rubbish > 0)}"
        )
    to_its_end(processes, cut, steps)
    one, other = (contents(checkpoints.last_checkpoint(out)) for out in (whole, cut))
    if one.keys() != other.keys():
        raise RuntimeError(f"the checkpoints hold different things: {one.keys() ^ other.keys()}")
    difference = max((one[k].double() - other[k].double()).nan_to_num().abs().max().item() for k in one)
    return done, torn, difference, read_metrics(whole, times=False), read_metrics(cut, times=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        done, torn, difference, one, other = kill_and_resume(folder, args.processes, args.kills, args.steps, args.seed)
    print(
        f"{args.processes} process(es), {done} kills, {torn} of them left an unfinished checkpoint: largest difference "
        f"{difference:g}; logs {'equal' if one == other else 'differ'} ({time.perf_counter() - began:.0f} s)"
    )
    if difference > (0 if args.processes == 1 else 1e-5) or (args.processes == 1 and one != other):
        sys.exit("the resumed run is not the untouched one")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(sys.argv[2:])
        leave()
    else:
        main()
