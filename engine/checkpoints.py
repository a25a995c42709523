"""Checkpoints: everything that a run needs to go on, in a folder that is complete or does not exist.

    DIR/checkpoint-N/config.json, model.safetensors, tokenizer files     the model; plain `from_pretrained` loads it
                     run.json                                            step, prompt template, options, versions
                     state.pt                                            step, running means, random state
                     optimizer/                                          AdamW state, a file for each process

How it differs from the textbook. (1) All is written to a temporary folder, forced to the disk, and renamed: whatever
was killed when, a folder called checkpoint-N is whole. (2) The optimizer's part can be read by another number of
processes. (3) What goes wrong with writing, on any process, is one OSError on all of them, with the free space; older
checkpoints stay.
"""

import contextlib
import json
import os
import platform
import re
import shutil
import tempfile
import warnings
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import CheckpointException, state_dict

LAYOUT = 2  # of run.json and state.pt; 1 kept the running means as a tensor without names


def checkpoints(folder):
    """Complete checkpoints of a run, oldest first: [(step, path)]."""
    named = [(re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in Path(folder).glob("checkpoint-*")]
    return sorted((int(match[1]), path) for match, path in named if match)


def last_checkpoint(folder):
    """Path of the newest complete checkpoint of a run, or None."""
    found = checkpoints(folder)
    return found[-1][1] if found else None


PROMPTING = ("template", "system", "chat_options", "stop")  # options that decide what a model is asked, and how it ends


def checkpoint_prompting(path):
    """{option of PROMPTING: what the model in this folder was trained with}, None for what its folder does not say."""
    run = Path(path) / "run.json"
    about = json.loads(run.read_text()) if run.exists() else {}
    return {name: about.get(name) for name in PROMPTING}


def read_weights(checkpoint):
    """{name: tensor} of a checkpoint's model, tied weights once."""
    return load_file(Path(checkpoint) / "model.safetensors")


def versions():
    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}


def save_checkpoint(folder, policy, optimizer, tokenizer, run, state, keep, world, spare=None):
    """Write DIR/checkpoint-<step>, then remove all but the newest `keep`; returns its path. All processes call it.

    spare: the step of an older checkpoint that stays.

    run: JSON-able, with its "step"; state: tensors and plain containers. OSError (disk full, no permission): nothing
    but the temporary folder is touched, older checkpoints stay.
    """
    folder = Path(folder)
    final = folder / f"checkpoint-{run['step']}"
    weights = whole_weights(policy)
    with written(final, world):
        temporary = tempfile.mkdtemp(prefix=".checkpoint-", dir=folder) if world.first else None
    temporary = Path(world.gather([temporary])[0])
    try:
        with written(final, world), distributed_storage():
            held = state_dict.get_optimizer_state_dict(policy, optimizer)
            dcp.save(held, checkpoint_id=temporary / "optimizer", no_dist=world.size == 1)
        with written(final, world):
            if world.first:
                policy.lm.save_pretrained(temporary, state_dict=weights)
                tokenizer.save_pretrained(temporary)
                (temporary / "run.json").write_text(json.dumps({"layout": LAYOUT} | run, indent=1))
                torch.save(state | {"torch_rng": torch.get_rng_state()}, temporary / "state.pt")
                publish(temporary, final)
                for step, old in checkpoints(folder)[:-keep]:
                    if step != spare:
                        remove(old)
    finally:
        if world.first:
            shutil.rmtree(temporary, ignore_errors=True)
    return final


def whole_weights(policy):
    """{name: tensor} of the model, gathered on rank 0 only; weights that are tied are there once."""
    options = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = state_dict.get_model_state_dict(policy, options=options)
    once = {name for name, _ in policy.named_parameters()}
    again = {name for name, _ in policy.named_parameters(remove_duplicate=False)} - once
    return {name.removeprefix("lm."): weight for name, weight in weights.items() if name not in again}


def publish(temporary, final):
    """Force a folder and all in it to the disk, and only then give it its name."""
    for path in [*temporary.rglob("*"), temporary]:
        flush(path)
    temporary.chmod(0o755)
    temporary.rename(final)
    flush(final.parent)


def remove(checkpoint):
    """Remove a checkpoint. It loses its name first: half a folder must not be called a checkpoint."""
    shutil.rmtree(checkpoint.rename(checkpoint.parent / f".{checkpoint.name}"))


def clean(folder):
    """Remove what a killed `save_checkpoint` left behind."""
    for path in Path(folder).glob(".checkpoint-*"):
        shutil.rmtree(path)


def load_state(checkpoint, policy, optimizer, world):
    """The `state` of a checkpoint; the optimizer's moments and the random state of torch are put back.

    ValueError where it was written in another layout.
    """
    checkpoint = Path(checkpoint)
    layout = json.loads((checkpoint / "run.json").read_text()).get("layout", 1)
    if layout != LAYOUT:
        raise ValueError(
            f"{checkpoint} is laid out as another version of this program does it (layout {layout}, here {LAYOUT}): "
            f"resume with that version, or begin a new run with --model {checkpoint}"
        )
    held = state_dict.get_optimizer_state_dict(policy, optimizer)
    with distributed_storage():
        # AdamW keeps moments only of what has had a gradient; an image encoder that no text goes through never has.
        kept = dcp.FileSystemReader(checkpoint / "optimizer").read_metadata().state_dict_metadata
        held["state"] = {name: moments for name, moments in held["state"].items() if f"state.{name}.step" in kept}
        dcp.load(held, checkpoint_id=checkpoint / "optimizer", no_dist=world.size == 1)
    incomplete = state_dict.StateDictOptions(strict=False)
    state_dict.set_optimizer_state_dict(policy, optimizer, held, options=incomplete)
    state = torch.load(checkpoint / "state.pt", map_location=world.device, weights_only=True)
    torch.set_rng_state(state.pop("torch_rng").cpu())
    return state


def flush(path):
    """Force a file or a folder's entries to the disk."""
    if os.name == "nt" and Path(path).is_dir():  # Windows has no handle of a folder to flush
        return
    handle = os.open(path, os.O_RDWR if Path(path).is_file() else os.O_RDONLY)  # Windows flushes what it may write
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def written(path, world):
    """Whatever goes wrong inside with writing, on any process, is an OSError on all of them; they meet at the end."""
    error = None
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as problem:
        error = str(problem)
    errors = [problem for problem in world.gather([error]) if problem]
    if errors:
        there = next(parent for parent in path.absolute().parents if parent.exists())
        free = shutil.disk_usage(there).free / 2**20
        raise OSError(f"{path} cannot be written, {free:.0f} MiB are free there: {errors[0]}")


@contextlib.contextmanager
def distributed_storage():
    """torch.distributed.checkpoint with failures that are an OSError, and without its warning on a single process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            yield
        except CheckpointException as error:
            causes = [f"rank {rank}: {cause}" for rank, (cause, _) in error.failures.items()]
            raise OSError("; ".join(causes)) from error
