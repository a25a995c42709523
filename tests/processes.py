"""Several processes of one run, as torchrun starts them, but forked from a process that has imported what they need.

torchrun itself, whose processes take seconds to import, is tested where it matters: signals, refusals, kills.
"""

import multiprocessing
import os
import socket
import sys

from conftest import ROOT

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["train"])


def together(count, function, *args, log, timeout=300):
    """Call function(*args) in `count` processes that find each other; AssertionError, with what they said, if one fails.

    function: of a module that can be imported; log: the file that takes what a process says, with its rank appended.
    """
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)  # for the process that all are forked from
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    found = [FORKS.Process(target=process, args=(rank, count, port, log, function, args)) for rank in range(count)]
    for one in found:
        one.start()
    for one in found:
        one.join(timeout)
        if one.exitcode is None:
            one.kill()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
    said = [open(f"{log}.{rank}").read() for rank in range(count)]
    assert all(one.exitcode == 0 for one in found), said


def process(rank, count, port, log, function, args):
    with open(f"{log}.{rank}", "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    os.environ |= place | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    function(*args)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # as engine.parallel.leave
