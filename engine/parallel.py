"""Processes and shards: what a run needs to know of the machines that it runs on.

How it differs from the textbook. (1) The calls read the same on one process, where most of them do nothing, and on
sixteen: train.py asks for no rank. (2) Weights are split over the processes (FSDP2: each holds 1 / size of
weights, gradient and AdamW state in float32, and gathers a block in bfloat16 as it needs it), but `unsharded` gathers
all of them for sampling, where processes must be free to finish at different times. (3) Which prompts a step has, and
which of them a process takes, are functions of (seed, step, rank): they need no message and no memory, so a resumed
run, or one on another number of processes, sees the same prompts.
"""

import contextlib
import functools
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from engine.models import blocks


PATIENCE = timedelta(hours=12)  # how long a process waits for another, which may still be sampling
PRECEDENCE = 10  # seconds that the first process has to say why a run ends, before another says it


@dataclass(frozen=True)
class World:
    """This process among `size`. On one process no method sends anything: what it returns is the process's own."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self):
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    @property
    def quiet(self):
        """For tqdm's `disable`: True on all ranks but the first, else None (no bar where there is no terminal)."""
        return None if self.first else True

    def say(self, text):
        if self.first:
            print(text, flush=True)

    def barrier(self):
        if self.size > 1:
            distributed.barrier()

    def gather(self, items):
        """The lists of all processes joined in the order of ranks, on every process."""
        if self.size == 1:
            return items
        lists = [None] * self.size
        distributed.all_gather_object(lists, items)
        return [item for part in lists for item in part]

    def sum(self, x):
        """Tensor x added up over the processes, on every process."""
        if self.size > 1:
            x = x.clone()
            distributed.all_reduce(x)
        return x

    def sums(self, *parts):
        """{name: sum over the parts, and over the processes}, as floats; parts: {name: number or tensor []} each."""
        own = {name: sum(part[name] for part in parts) for name in parts[0]}
        values = torch.tensor([float(value) for value in own.values()], dtype=torch.float64)
        return dict(zip(own, self.sum(values).tolist()))

    def means(self, numbers):
        """{name: mean of a number over the processes}; what is None (on all of them) stays None."""
        known = {name: value for name, value in numbers.items() if value is not None}
        return numbers | {name: total / self.size for name, total in self.sums(known).items()}

    def known_means(self, metrics):
        """{name: mean over all responses that have the metric, NaN if none}, {name_undefined: how many have not}."""
        values = torch.stack(list(metrics.values()))  # [metrics, B]
        unknown = values.isnan()
        sums = torch.stack([values.nansum(1), (~unknown).sum(1), unknown.sum(1)])
        total, known, missing = self.sum(sums)
        means = dict(zip(metrics, (total / known).tolist()))
        return means, {f"{name}_undefined": int(count) for name, count in zip(metrics, missing.tolist())}

    def counts(self, mask):
        """(True tokens, but at least 1; responses) of the masks [B, T] of all processes, each of as many rows."""
        return self.sum(mask.sum()).clamp(min=1), len(mask) * self.size

    def backward(self, loss):
        """The gradient of the sum of the losses of all processes: the factor undoes the mean that FSDP takes."""
        (loss * self.size).backward()

    def equally_often(self, parts):
        """Rollouts; then the last one again, with nothing to learn from, until every process has had as many.

        FSDP's processes must call the model equally often, and micro-batches are as many as lengths make them.
        """
        parts = list(parts)
        rounds = max(self.gather([len(parts)]))  # before the first call of the model
        yield from parts
        for _ in range(rounds - len(parts)):
            yield replace(parts[-1], learnt=torch.zeros_like(parts[-1].learnt))

    def step_batch(self, problems, step, prompts, mini_batches, seed):
        """This process's share of a step's prompts, ordered by mini-batch: (places in the step, problems, prompts).

        Three lists; problems: [(problem, its prompt)]. A mini-batch has the same prompts on any number of processes:
        each takes an equal share of each.
        """
        whole = batch_of(problems, step, prompts, seed)
        places = self.own_prompts(prompts, mini_batches)
        return places, [whole[place][0] for place in places], [whole[place][1] for place in places]

    def own_prompts(self, prompts, mini_batches):
        """Which of a step's prompts this process takes, by their places in the step: its share of each mini-batch.

        >>> World(rank=1, size=2, device="cpu").own_prompts(8, 2)
        [2, 3, 6, 7]
        """
        share = prompts // (mini_batches * self.size)
        firsts = [(m * self.size + self.rank) * share for m in range(mini_batches)]
        return [first + i for first in firsts for i in range(share)]

    def by_prompt(self, x, places):
        """Rows [N, ...] of all processes in the order of their prompts' places, on every process; x [B, ...].

        places: see own_prompts. Each has as many rows as the others. So the result is that of a single process.
        """
        own = zip(places, x.cpu().chunk(len(places)))
        everything = sorted(self.gather(list(own)), key=lambda item: item[0])
        return torch.cat([rows for _, rows in everything])

    def deal_out(self, metrics, places, group, seed):
        """Metrics {name: [B]} dealt out anew among all responses of the step, by a permutation that `seed` decides.

        places: of this process's prompts (own_prompts), with `group` responses to each.
        """
        own = torch.stack(list(metrics.values()), 1)  # [B, metrics]
        everything = self.by_prompt(own, places)  # [responses of the step, metrics]
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(everything), generator=generator)
        mine = order.view(-1, group)[places].flatten()  # whose metrics each response of this process gets, [B]
        return dict(zip(metrics, everything[mine].T.to(self.device)))

    @contextlib.contextmanager
    def all_or_none(self):
        """What a process refuses inside (ValueError, OSError) is a ValueError on all of them, with its reason."""
        error = None
        try:
            yield
        except (ValueError, OSError) as problem:
            error = str(problem)
        for rank, reason in enumerate(self.gather([error])):
            if reason:
                raise ValueError(reason if self.size == 1 else f"{reason} (rank {rank})")

    def agree(self, what, value):
        """ValueError on every process if one has another value than the first."""
        first, *others = self.gather([value])
        for rank, other in enumerate(others, 1):
            if other != first:
                raise ValueError(f"rank {rank} sees other {what} than rank 0: {other} instead of {first}")

    def close(self):
        self.barrier()  # nobody leaves while another still talks
        if distributed.is_initialized():
            distributed.destroy_process_group()


def setup(threads=None):
    """The World of this process: one, or what torchrun says (RANK, LOCAL_RANK, WORLD_SIZE); `threads` CPU threads."""
    if threads:
        torch.set_num_threads(threads)
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        local, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if local >= there:
            raise OSError(f"process {local} of this machine has no GPU, there are {there}: --nproc_per_node {there}")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if (size > 1 or device.type == "cuda") and not distributed.is_initialized():
        alone = {} if size > 1 else {"store": distributed.HashStore(), "rank": 0, "world_size": 1}
        try:
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            distributed.init_process_group(backend, timeout=PATIENCE, **alone)
        except distributed.DistNetworkError as error:
            raise OSError(f"rank {rank} cannot join the others (is MASTER_PORT in use?): {error}") from error
    return World(rank, size, device)


def first_process():
    return os.environ.get("RANK", "0") == "0"


def several_processes():
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def end_with(program, reason):
    """End this process, where others may end for the same reason, so that the reason is said once.

    The first process says it at once, and then torchrun ends the others. One that lives on has a reason of its own (a
    GPU too few, say), or runs on another machine: it says it as well.
    """
    if not first_process():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # torchrun's, which must not become a Ctrl-C here
        time.sleep(PRECEDENCE)
        reason = f"rank {os.environ['RANK']}: {reason}"
    sys.exit(f"{program}: {reason}")


def leave():
    """End one of several processes at once, its work done.

    Threads of the process group may still hold Python objects; while the interpreter takes itself apart they now and
    then abort (seen on gloo), and torchrun would call a finished run failed.
    """
    if several_processes():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def batch_of(problems, step, count, seed):
    """The `count` problems of a step: a walk through a new permutation of the data each epoch."""
    positions = [divmod(i, len(problems)) for i in range(step * count, (step + 1) * count)]  # (epoch, place in it)
    orders = {
        epoch: random.Random(f"{seed}/{epoch}").sample(range(len(problems)), len(problems))
        for epoch in {epoch for epoch, _ in positions}
    }
    return [problems[orders[epoch][place]] for epoch, place in positions]


# Work on a core that torch leaves idle


def in_background(device, function, *args):
    """function(*args), computed meanwhile on a second core if torch uses only one, else when `result()` is called."""
    if device.type == "cpu" and torch.get_num_threads() == 1:
        pool = ThreadPoolExecutor(1)
        future = pool.submit(function, *args)
        pool.shutdown(wait=False)  # the thread ends with its work
        return future
    return Later(functools.partial(function, *args))


@dataclass(frozen=True)
class Later:
    """A call that is made when its result is asked for."""

    result: Callable


# Shards


def shard(policy, world):
    """Split a module's weights over the processes, block by block (FSDP2). One CPU process keeps them as they are.

    On a GPU blocks compute in bfloat16; weights and the sum of gradients stay float32.
    """
    if not distributed.is_initialized():
        return policy
    cuda = world.device.type == "cuda"
    precision = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if cuda else MixedPrecisionPolicy()
    for block in blocks(policy):
        fully_shard(block, mp_policy=precision)
    return fully_shard(policy, mp_policy=precision, reshard_after_forward=False)


@contextlib.contextmanager
def unsharded(*policies):
    """All weights on each process meanwhile, so that they may call the model at different times, and differently often.

    Without gradients only. A policy that is None is left out. Where a CPU multiplies in bfloat16, weights that are
    trained are rounded once in here, and not at each call.
    """
    rounded = any(policy.bfloat16 for policy in policies if policy)
    modules = [module for policy in policies if policy for module in policy.modules()]
    parts = [module for module in modules if hasattr(module, "set_reshard_after_forward")]  # FSDP's
    roots = {id(policy) for policy in policies}
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
        yield
    for part in parts:
        part.reshard()
        part.set_reshard_after_forward(id(part) not in roots, recurse=False)
