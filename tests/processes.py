"""Programs, and the several processes of a run, forked from a process that has imported what they need.

`python train.py` and torchrun, whose processes take seconds to import, are tested where it matters: signals, refusals,
kills.
"""

import importlib
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["train", "eval"])


def begin(program, *argv, cwd, said):
    """A started process that does what `python program.py argv` does in folder cwd; it says all to the file `said`."""
    begun = FORKS.Process(target=run_main, args=(program, argv, cwd, said))
    start(begun)
    return begun


def run_main(program, argv, cwd, said):
    say_to(said)
    os.chdir(cwd)
    importlib.import_module(program).main(list(map(str, argv)))


def ended(begun, timeout=300):
    """The exit code of a process that was begun."""
    begun.join(timeout)
    return begun.exitcode


class ForkedRun:
    """subprocess.run for train.py and eval.py; `commands`: those that it was called with.

    `module` takes the place of one module's `subprocess`, where the standard library's own calls do not meet it.
    """

    def __init__(self, folder):
        self.folder, self.commands = folder, []
        self.module = SimpleNamespace(**vars(subprocess) | {"run": self.run})

    def run(self, command, cwd=ROOT, env=None, **pipes):
        said = self.folder / f"{len(self.commands)}.said"
        self.commands.append(command)
        _, program, *argv = command  # python …/train.py
        code = ended(begin(Path(program).stem, *argv, cwd=cwd, said=said))
        return subprocess.CompletedProcess(command, code, "", said.read_text())


def together(count, function, *args, log, timeout=300):
    """Call function(*args) in `count` processes that find each other; AssertionError, with what they said, if one fails.

    function: of a module that can be imported; log: the file that takes what a process says, with its rank appended.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    found = [FORKS.Process(target=process, args=(rank, count, port, log, function, args)) for rank in range(count)]
    start(*found)
    for one in found:
        one.join(timeout)
        if one.exitcode is None:
            one.kill()
    said = [open(f"{log}.{rank}").read() for rank in range(count)]
    assert all(one.exitcode == 0 for one in found), said


def process(rank, count, port, log, function, args):
    say_to(f"{log}.{rank}")
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    os.environ |= place | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    function(*args)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # as engine.parallel.leave


def start(*processes):
    """Start them, the first ones with a process that they are forked from, which finds train.py by PYTHONPATH."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        for one in processes:
            one.start()


def say_to(path):
    """From here on what this process prints goes to a file."""
    with open(path, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
