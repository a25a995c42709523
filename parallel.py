"""Processes and checkpoints: what a run needs to know of the machine, and what it leaves on disk.

How it differs from the textbook. A checkpoint is everything (weights, optimizer, baseline, random state, configuration,
prompt template), written to a temporary folder, flushed, and renamed: a folder called checkpoint-N is complete or it
does not exist, whatever was killed when. Its model part is a Hugging Face folder that plain `from_pretrained` loads.

    DIR/checkpoint-N/config.json, model.safetensors, tokenizer files     the model
                     run.json                                            step, template and configuration
                     state.pt                                            optimizer, baseline, random state
"""

import json
import math
import os
import re
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch


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
            torch.distributed.barrier()

    def gather(self, items):
        """The lists of all processes joined in the order of ranks, on every process."""
        if self.size == 1:
            return items
        lists = [None] * self.size
        torch.distributed.all_gather_object(lists, items)
        return [item for part in lists for item in part]

    def close(self):
        if self.size > 1:
            torch.distributed.destroy_process_group()


def setup():
    """The World of this process: one, or what torchrun says (RANK, LOCAL_RANK, WORLD_SIZE)."""
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if size > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
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


def cut_log(path, last_step):
    """Rewrite a log so that it ends at `last_step`."""
    path.write_text("".join(json.dumps(line) + "\n" for line in read_lines(path, last_step)))


def flush(path):
    """Force a file or a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_checkpoint(folder, step, model, tokenizer, run, state, keep):
    """Write DIR/checkpoint-<step>, then remove all but the newest `keep`; returns its path.

    run: JSON-able; state: tensors and plain containers. OSError (disk full, no permission): nothing but the temporary
    folder is touched, older checkpoints stay.
    """
    folder = Path(folder)
    final = folder / f"checkpoint-{step}"
    temporary = Path(tempfile.mkdtemp(prefix=".checkpoint-", dir=folder))
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / "run.json").write_text(json.dumps(run, indent=1))
        torch.save(state | {"torch_rng": torch.get_rng_state()}, temporary / "state.pt")
        for path in temporary.iterdir():
            flush(path)
        flush(temporary)
        temporary.chmod(0o755)
        temporary.rename(final)
        flush(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for _, old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def clean(folder):
    """Remove what a killed `save_checkpoint` left behind."""
    for path in Path(folder).glob(".checkpoint-*"):
        shutil.rmtree(path)


def load_state(checkpoint, device):
    """The `state` of a checkpoint; the random state of torch is put back."""
    state = torch.load(Path(checkpoint) / "state.pt", map_location=device, weights_only=True)
    torch.set_rng_state(state.pop("torch_rng").cpu())
    return state


class StopAtStepEnd:
    """Ctrl-C and SIGTERM wait for the end of the `with` block: `asked` is then True.

    A second one ends the program at once, in the middle of a step, whose state is therefore not saved.
    """

    def __init__(self):
        self.asked = False

    def _note(self, number, frame):
        if self.asked:
            raise SystemExit("\nstopped inside a step: go on from the last checkpoint with --resume")
        self.asked = True
        print("\nstopping after this step; once more to stop at once, back to the last checkpoint", file=sys.stderr)

    def __enter__(self):
        self.previous = [signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)]
        return self

    def __exit__(self, *error):
        for s, handler in zip((signal.SIGINT, signal.SIGTERM), self.previous):
            signal.signal(s, handler)
