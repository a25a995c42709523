"""Processes, shards and checkpoints: what a run needs to know of the machines, and what it leaves on disk.

How it differs from the textbook. (1) The calls read the same on one process, where most of them do nothing. (2) Weights
are split over the processes (FSDP2: each holds 1 / size of weights, gradient and AdamW state in float32, and gathers a
block in bfloat16 as it needs it), but `unsharded` gathers all of them for sampling, where processes must be free to
finish at different times. (3) A checkpoint is everything (weights, optimizer, baseline, random state, configuration,
prompt template), written to a temporary folder, flushed, and renamed: a folder called checkpoint-N is complete or it
does not exist, whatever was killed when. Plain `from_pretrained` loads its model part; its optimizer part can be read
by another number of processes.

    DIR/checkpoint-N/config.json, model.safetensors, tokenizer files     the model
                     run.json                                            step, template and configuration
                     state.pt                                            step, baseline, random state
                     optimizer/                                          AdamW state, a file for each process
"""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed


@dataclass(frozen=True)
class World:
    """This process among `size`; on one process every method does nothing and says so by its result."""

    rank: int
    size: int
    device: torch.device

    @property
    def quiet(self):
        """For tqdm's `disable`: True on all ranks but the first, else None (no bar where there is no terminal)."""
        return True if self.rank else None

    def say(self, text):
        if self.rank == 0:
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
            distributed.all_reduce(x := x.clone())
        return x

    def agree(self, what, value, error=None):
        """ValueError on every process if one has an error (its text), or another value than the first."""
        seen = self.gather([(value, error)])
        for rank, (other, error) in enumerate(seen):
            if error:
                raise ValueError(error if self.size == 1 else f"{error} (rank {rank})")
            if other != seen[0][0]:
                raise ValueError(f"rank {rank} sees other {what} than rank 0: {other} instead of {seen[0][0]}")

    def close(self):
        self.barrier()  # nobody leaves while another still talks
        if distributed.is_initialized():
            distributed.destroy_process_group()


def leave():
    """End one of several processes at once, its work done.

    Threads of the process group may still hold Python objects; while the interpreter takes itself apart they now and
    then abort (seen on gloo), and torchrun would call a finished run failed.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


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
            distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", **alone)
        except distributed.DistNetworkError as error:
            raise OSError(f"rank {rank} cannot join the others (is MASTER_PORT in use?): {error}") from error
    return World(rank, size, device)


def load_model(name, device, dtype=torch.float32):
    """(model, tokenizer) from a hub id or a folder; FileNotFoundError if it is neither, with what was looked for."""
    from huggingface_hub.errors import HFValidationError
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.disable_progress_bar()  # of reading and writing weight files
    if Path(name).exists() and not (Path(name) / "config.json").exists():
        raise FileNotFoundError(f"model {name}: no config.json in {Path(name).resolve()}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype).to(device)
    except (OSError, HFValidationError) as error:
        raise FileNotFoundError(
            f"model {name}: no folder {Path(name).resolve()}, and the hub did not give it either ({error})"
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # never asked for: masks say what was sampled
    return model, tokenizer


def check_memory(name, world, reference=False):
    """ValueError if training this model cannot fit, before it is loaded: what it needs and what there is, in GiB.

    Per parameter: 16 bytes over all processes (float32 weight, gradient and two AdamW moments; 4 more for a KL
    reference), and on each process the copy to sample with (2 bytes on a GPU, 4 on a CPU). Activations, cache and
    logits come on top. On CPU, and while loading, each process of the machine holds 4 bytes per parameter as well.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(name)
    except OSError:
        return  # load_model says what is missing
    with torch.device("meta"):
        parameters = AutoModelForCausalLM.from_config(config).num_parameters()
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    split = (20 if reference else 16) / world.size
    needs, there = {}, {}
    if world.device.type == "cuda":
        needs["GPU"], there["GPU"] = split + 2, torch.cuda.mem_get_info()[0]
        needs["host"] = 4 * local
    else:
        needs["host"] = (split + (4 if world.size > 1 else 0)) * local
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        there["host"] = 1024 * int(re.search(r"MemAvailable:\s+(\d+)", meminfo.read_text())[1])
    for kind, available in there.items():
        if needs[kind] * parameters > available:
            raise ValueError(
                f"model {name}: {parameters / 1e9:.2f} billion parameters on {world.size} processes need "
                f"{needs[kind] * parameters / 2**30:.1f} GiB of {kind} memory, before activations, and "
                f"{available / 2**30:.1f} GiB are free: take more processes (--nproc_per_node, --nnodes) or less model"
            )


def shard(policy, world):
    """Split a module's weights over the processes, block by block (FSDP2). One CPU process keeps them as they are.

    On a GPU blocks compute in bfloat16; weights and the sum of gradients stay float32.
    """
    if not distributed.is_initialized():
        return policy
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    cuda = world.device.type == "cuda"
    precision = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if cuda else MixedPrecisionPolicy()
    for block in blocks(policy):
        fully_shard(block, mp_policy=precision)
    return fully_shard(policy, mp_policy=precision, reshard_after_forward=False)


def blocks(policy):
    """The transformer blocks of a model: modules of the classes that it says must not be split."""
    names = set(policy.lm._no_split_modules or ())
    return [module for module in policy.modules() if type(module).__name__ in names]


def recompute(policy):
    """Keep no activations inside blocks for the backward pass, but compute them again: memory for a third more time."""
    from torch.distributed._composable import checkpoint

    for block in blocks(policy):
        checkpoint(block)


@contextlib.contextmanager
def unsharded(*policies):
    """All weights on each process meanwhile, so that they may call the model at different times, and differently often.

    Without gradients only.
    """
    parts = [m for p in policies if p for m in p.modules() if hasattr(m, "set_reshard_after_forward")]  # FSDP's
    roots = {id(p) for p in policies}
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    yield
    for part in parts:
        part.reshard()
        part.set_reshard_after_forward(id(part) not in roots, recurse=False)


def stop_ids(model, tokenizer):
    """The token ids that end a response: those of the generation config and the tokenizer's eos."""
    own = model.generation_config.eos_token_id
    ids = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id} - {None}
    if not ids:
        raise ValueError(f"{model.name_or_path}: neither its generation config nor its tokenizer names an end token")
    return ids


def checkpoint_template(path):
    """The prompt template that the model in this folder was trained with; None if it does not say."""
    run = Path(path) / "run.json"
    return json.loads(run.read_text())["template"] if run.exists() else None


def checkpoints(folder):
    """Complete checkpoints of a run, oldest first: [(step, path)]."""
    named = [(re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in Path(folder).glob("checkpoint-*")]
    return sorted((int(match[1]), path) for match, path in named if match)


def last_checkpoint(folder):
    """Path of the newest complete checkpoint of a run, or None."""
    return next((path for _, path in reversed(checkpoints(folder))), None)


def append_line(path, line):
    """Add one JSON line to a log."""
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")


def read_lines(path, last_step=math.inf):
    """The lines of a log up to a step; a torn last line, and lines past the checkpoint, are no part of the run."""
    whole = [line for line in path.read_text().split("\n")[:-1] if line] if path.exists() else []
    return [line for line in map(json.loads, whole) if line["step"] <= last_step]


def write_whole(path, text):
    """Replace a file's text: whoever is killed meanwhile leaves the old text or the new, never a part."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    flush(part)
    part.replace(path)


def cut_log(path, last_step):
    """Rewrite a log so that it ends at `last_step`."""
    write_whole(path, "".join(json.dumps(line) + "\n" for line in read_lines(path, last_step)))


def flush(path):
    """Force a file or a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_checkpoint(folder, policy, optimizer, tokenizer, run, state, keep, world):
    """Write DIR/checkpoint-<step>, then remove all but the newest `keep`; returns its path. All processes call it.

    run: JSON-able, with its "step"; state: tensors and plain containers. OSError (disk full, no permission): nothing
    but the temporary folder is touched, older checkpoints stay.
    """
    from torch.distributed import checkpoint as dcp
    from torch.distributed.checkpoint import state_dict

    folder = Path(folder)
    final = folder / f"checkpoint-{run['step']}"
    whole = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = state_dict.get_model_state_dict(policy, options=whole)  # on rank 0 only
    once, again = ({name for name, _ in policy.named_parameters(remove_duplicate=r)} for r in (True, False))
    weights = {k.removeprefix("lm."): v for k, v in weights.items() if k not in again - once}  # tied weights once
    with written(final, world):
        temporary = tempfile.mkdtemp(prefix=".checkpoint-", dir=folder) if world.rank == 0 else None
    temporary = Path(world.gather([temporary])[0])
    try:
        with written(final, world), distributed_storage():
            held = state_dict.get_optimizer_state_dict(policy, optimizer)
            dcp.save(held, checkpoint_id=temporary / "optimizer", no_dist=world.size == 1)
        with written(final, world):
            if world.rank == 0:
                policy.lm.save_pretrained(temporary, state_dict=weights)
                tokenizer.save_pretrained(temporary)
                (temporary / "run.json").write_text(json.dumps(run, indent=1))
                torch.save(state | {"torch_rng": torch.get_rng_state()}, temporary / "state.pt")
                for path in [*temporary.rglob("*"), temporary]:
                    flush(path)
                temporary.chmod(0o755)
                temporary.rename(final)
                flush(folder)
                for _, old in checkpoints(folder)[:-keep]:  # half a folder must not be called a checkpoint
                    shutil.rmtree(old.rename(folder / f".{old.name}"))
    finally:
        if world.rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)
    return final


@contextlib.contextmanager
def written(path, world):
    """Whatever goes wrong inside with writing, on any process, is an OSError on all of them; they meet at the end."""
    from safetensors import SafetensorError

    error = None
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as problem:
        error = str(problem)
    errors = [e for e in world.gather([error]) if e]
    if errors:
        free = shutil.disk_usage(next(p for p in path.absolute().parents if p.exists())).free / 2**20
        raise OSError(f"{path} cannot be written, {free:.0f} MiB are free there: {errors[0]}")


@contextlib.contextmanager
def distributed_storage():
    """torch.distributed.checkpoint with failures that are an OSError, and without its warning on a single process."""
    from torch.distributed.checkpoint import CheckpointException

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            yield
        except CheckpointException as error:
            raise OSError("; ".join(f"rank {rank}: {cause}" for rank, (cause, _) in error.failures.items())) from error


def clean(folder):
    """Remove what a killed `save_checkpoint` left behind."""
    for path in Path(folder).glob(".checkpoint-*"):
        shutil.rmtree(path)


def load_state(checkpoint, policy, optimizer, world):
    """The `state` of a checkpoint; the optimizer's moments and the random state of torch are put back."""
    from torch.distributed import checkpoint as dcp
    from torch.distributed.checkpoint import state_dict

    held = state_dict.get_optimizer_state_dict(policy, optimizer)
    with distributed_storage():
        dcp.load(held, checkpoint_id=Path(checkpoint) / "optimizer", no_dist=world.size == 1)
    state_dict.set_optimizer_state_dict(policy, optimizer, held)
    state = torch.load(Path(checkpoint) / "state.pt", map_location=world.device, weights_only=True)
    torch.set_rng_state(state.pop("torch_rng").cpu())
    return state


class StopAtStepEnd:
    """Ctrl-C and SIGTERM wait for the end of the `with` block: `asked` is then True.

    A second Ctrl-C ends the program at once, in the middle of a step, whose state is therefore not saved.
    """

    def __init__(self):
        self.asked = False

    def _note(self, number, frame):
        if self.asked and number == signal.SIGINT:
            raise SystemExit("\nstopped inside a step: go on from the last checkpoint with --resume")
        if not self.asked and not int(os.environ.get("RANK", 0)):
            print("\nstopping after this step; Ctrl-C to stop at once, back to the last checkpoint", file=sys.stderr)
        self.asked = True

    def __enter__(self):
        self.previous = [signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)]
        return self

    def __exit__(self, *error):
        for s, handler in zip((signal.SIGINT, signal.SIGTERM), self.previous):
            signal.signal(s, handler)
