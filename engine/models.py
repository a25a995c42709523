"""From a name to a model and its tokenizer, and whether the machine can hold them.

Nothing here is our own: weights, tokenizers and downloads are Hugging Face's. What is added is a first line that says
what is wrong (no such folder, not enough memory) before minutes of loading, where the library would say it after.
"""

import hashlib
import os
import re
from pathlib import Path

import torch
from huggingface_hub.errors import HFValidationError
from torch.distributed._composable import checkpoint as recompute_activations
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, logging


def load_model(name, device, dtype=torch.float32):
    """(model, tokenizer) from a hub id or a folder; FileNotFoundError if it is neither, with what was looked for."""
    logging.disable_progress_bar()  # of reading and writing weight files
    folder = Path(name)
    if folder.exists() and not (folder / "config.json").exists():
        raise FileNotFoundError(f"model {name}: no config.json in {folder.resolve()}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype).to(device)
    except (OSError, HFValidationError) as error:
        raise FileNotFoundError(
            f"model {name}: no folder {folder.resolve()}, and the hub did not give it either ({error})"
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # never asked for: masks say what was sampled
    keep_valid_generation_config(model)
    return model, tokenizer


def keep_valid_generation_config(model):
    """Drop what contradicts itself in a model's generation config (temperature without sampling, say).

    transformers refuses to save such a model, which would be after hours of training. We sample by ourselves: all that
    we ask of this config is which tokens have a meaning.
    """
    own = model.generation_config
    try:
        own.validate(strict=True)
    except ValueError:
        ids = {name: getattr(own, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        model.generation_config = GenerationConfig(**ids)


def weights_hash(model):
    """What tells a model's weights from others: a hash of every tensor's name, shape and sums.

    Sums are in float64 over the tensor and over its squares: a change of one bit shows, at the cost of reading it once.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, weight in model.state_dict().items():
        values = weight.double()
        sums = values.sum().item(), values.square().sum().item()
        digest.update(repr((name, list(weight.shape), sums)).encode())
    return digest.hexdigest()


def check_memory(name, world, reference=False):
    """ValueError if training this model cannot fit, before it is loaded: what it needs and what there is, in GiB.

    Per parameter: 16 bytes over all processes (float32 weight, gradient and two AdamW moments; 4 more for a KL
    reference), and on each process the copy to sample with (2 bytes on a GPU, 4 on a CPU). Activations, cache and
    logits come on top. On CPU, and while loading, each process of the machine holds 4 bytes per parameter as well.
    """
    try:
        config = AutoConfig.from_pretrained(name)
    except OSError:
        return  # load_model says what is missing
    with torch.device("meta"):  # shapes without memory
        parameters = AutoModelForCausalLM.from_config(config).num_parameters()

    # Bytes per parameter that this machine's processes need, by kind of memory, and bytes that are free.
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    split = (20 if reference else 16) / world.size
    needs, free = {}, {}
    if world.device.type == "cuda":
        needs["GPU"] = split + 2
        free["GPU"] = torch.cuda.mem_get_info()[0]
        needs["host"] = 4 * local
    else:
        copy_to_sample = 4 if world.size > 1 else 0
        needs["host"] = (split + copy_to_sample) * local
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        kibibytes = re.search(r"MemAvailable:\s+(\d+)", meminfo.read_text())[1]
        free["host"] = 1024 * int(kibibytes)

    for kind, available in free.items():
        needed = needs[kind] * parameters
        if needed > available:
            raise ValueError(
                f"model {name}: {parameters / 1e9:.2f} billion parameters on {world.size} processes need "
                f"{needed / 2**30:.1f} GiB of {kind} memory, before activations, and "
                f"{available / 2**30:.1f} GiB are free: take more processes (--nproc_per_node, --nnodes) or less model"
            )


def blocks(policy):
    """The transformer blocks of a model: modules of the classes that it says must not be split."""
    names = set(policy.lm._no_split_modules or ())
    return [module for module in policy.modules() if type(module).__name__ in names]


def recompute(policy):
    """Keep no activations inside blocks for the backward pass, but compute them again: memory for a third more time."""
    for block in blocks(policy):
        recompute_activations(block)


def check_head(policy):
    """ValueError if `Policy.logits` is not what the model itself computes: an unknown way of scaling its logits."""
    device = next(policy.parameters()).device
    ids = torch.arange(4, device=device)[None]
    with torch.no_grad():
        own = policy.lm(input_ids=ids).logits[:, -1]
        ours, _ = policy(ids, torch.ones_like(ids))
    if not torch.allclose(own.float(), ours.float(), atol=1e-2, rtol=1e-2):
        raise ValueError(
            f"{type(policy.lm).__name__}: its logits are not those of its LM head on the final states (they differ by "
            f"{(own - ours).abs().max():.2g}); teach rollout.Policy.logits what this family does to them"
        )


def model_room(policy):
    """Tokens of prompt and response together that the model has positions for."""
    return getattr(policy.lm.config, "max_position_embeddings", None) or float("inf")
