"""From a name to a model and its tokenizer, whether the machine can hold them, and whether the family can be trusted.

Nothing here is our own: weights, tokenizers and downloads are Hugging Face's. What is added is one line that says what
is wrong and what to do. It comes before minutes of loading where the library would say it after (no such folder, not
enough memory), and it comes at all where the library would go on (weights that are missing and so made up, a cache that
does not work).
"""

import hashlib
import os
import re
import textwrap
from pathlib import Path

import torch
import transformers
from huggingface_hub.errors import HFValidationError, StrictDataclassError
from safetensors import SafetensorError
from torch.distributed._composable import checkpoint as recompute_activations
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, logging

from engine.batch import left_padded
from engine.cache import keep_rows, new_cache, repeat_rows


def read_config(name):
    """The configuration of a hub id or a folder. FileNotFoundError: it is neither, with what was looked for.

    ValueError: a kind of model that transformers does not know, or quantised weights.
    """
    # Is there such a model?
    folder = Path(name)
    if folder.exists() and not (folder / "config.json").exists():
        raise FileNotFoundError(f"model {name}: no config.json in {folder.resolve()}")
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)  # else it would ask, and wait
    except (OSError, HFValidationError) as error:
        if folder.exists():
            raise OSError(f"model {name}: {one_line(error)}") from error
        raise FileNotFoundError(
            f"model {name}: no folder {folder.resolve()}, and the hub did not give it either ({one_line(error)})"
        ) from error
    except (ValueError, StrictDataclassError) as error:
        raise ValueError(f"model {name}: {one_line(error)} (transformers {transformers.__version__})") from error

    # Gradients need weights that may take any value; quantised ones take a few.
    quantisation = getattr(config, "quantization_config", None)
    if quantisation:
        method = quantisation.get("quant_method", "by an unnamed method")
        raise ValueError(
            f"model {name}: its weights are quantised ({method}), which are neither trained nor evaluated here: take "
            "the model that it was made from, or de-quantise it and save it without quantization_config"
        )

    # The library does not build a model whose pad id has no embedding. No pad id at all does not matter to anyone.
    text = config.get_text_config()
    pad_id = getattr(text, "pad_token_id", None)
    if pad_id is not None and pad_id not in range(getattr(text, "vocab_size", 0)):
        text.pad_token_id = None
    return config


def load_model(name, device, dtype=torch.float32):
    """(model, tokenizer) from a hub id or a folder. OSError, ValueError: what is wrong, in one line (read_config, too).

    The tokenizer may have no pad token, or one that the model does not know: what stands on padding is never read.
    """
    logging.disable_progress_bar()  # of reading and writing weight files
    config = read_config(name)

    # Read it. Every library below has errors of its own for a file that is cut.
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, ImportError) as error:
        remedy = "copy or download its tokenizer files again"
        raise OSError(f"model {name}: its tokenizer cannot be read ({one_line(error)}): {remedy}") from error
    try:
        model, found = AutoModelForCausalLM.from_pretrained(name, config=config, dtype=dtype, output_loading_info=True)
    except (OSError, RuntimeError, SafetensorError) as error:
        remedy = "if a file is missing, cut or of another model, copy or download the model again"
        raise OSError(f"model {name}: its weights cannot be read ({one_line(error)}): {remedy}") from error
    except (ValueError, ImportError) as error:
        raise ValueError(
            f"model {name}: transformers {transformers.__version__} makes no causal language model of it "
            f"({one_line(error)}): take another model, or install what it asks for"
        ) from error

    # With weights that are not there, the library would go on with random numbers.
    missing = sorted(found["missing_keys"])
    if missing:
        raise ValueError(
            f"model {name}: {len(missing)} of its weights are not in its files, such as {missing[0]}: copy or download "
            "the model again"
        )
    keep_valid_generation_config(model)
    return model.to(device), tokenizer


def one_line(error):
    """What an error says, on one line and without what comes after its first 300 characters."""
    said = str(error).strip().rstrip(".") or type(error).__name__
    return textwrap.shorten(said, 300, placeholder=" ..")


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
    """What tells a model's weights from others, on any machine: a hash of every tensor's name, dtype, shape and bytes."""
    digest = hashlib.blake2b(digest_size=8)
    for name, weight in model.state_dict().items():
        digest.update(repr((name, str(weight.dtype), list(weight.shape))).encode())
        digest.update(weight.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def check_memory(name, world, reference=False):
    """ValueError if training this model cannot fit, before it is loaded: what it needs and what there is, in GiB.

    Per parameter: 16 bytes over all processes (float32 weight, gradient and two AdamW moments; 4 more for a KL
    reference), and on each process the copy to sample with (2 bytes on a GPU, 4 on a CPU). Activations, cache and
    logits come on top. On CPU, and while loading, each process of the machine holds 4 bytes per parameter as well.
    """
    config = read_config(name)
    with torch.device("meta"):  # shapes without memory
        try:
            parameters = AutoModelForCausalLM.from_config(config).num_parameters()
        except (ValueError, ImportError):
            return  # load_model says why there is no such model

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


def check_bfloat16(config, device):
    """ValueError for --bfloat16 where it would do nothing."""
    if config.bfloat16 and device.type == "cuda":
        raise ValueError("--bfloat16 is for a CPU; a GPU computes in bfloat16 anyway: leave it out")


def blocks(policy):
    """The transformer blocks of a model: modules of the classes that it says must not be split."""
    names = set(policy.lm._no_split_modules or ())
    return [module for module in policy.modules() if type(module).__name__ in names]


def recompute(policy):
    """Keep no activations inside blocks for the backward pass, but compute them again: memory for a third more time."""
    for block in blocks(policy):
        recompute_activations(block)


def check_layer(lm, layer):
    """ValueError if a model has no such layer: 0, the embeddings, to its last but one, or -1, the final norm."""
    last = lm.config.get_text_config().num_hidden_layers - 1
    if not -1 <= layer <= last:
        raise ValueError(f"layer {layer}: {type(lm).__name__} has 0 (embeddings) to {last}, and -1, the final norm")


def family_scaling(lm, logits):
    """What some families do to the logits [..., V] of their LM head: a factor, or a cap."""
    config = lm.config.get_text_config()
    logits = logits * (getattr(config, "logit_scale", None) or 1.0)  # Cohere; MPT has None
    logits = logits / getattr(config, "logits_scaling", 1.0)  # Granite
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
    if cap is None:
        return logits
    return cap * torch.tanh(logits / cap)


def check_family(policy):
    """ValueError, naming the family, if the log-probs of rollout.py would not be the model's own.

    Some families do to their logits what family_scaling does not know. Others keep no cache where transformers hands
    them one, or let padding leak into it, and say nothing (RWKV, RecurrentGemma). So a few tokens are read both ways.
    """
    # Read them. What a family does not take is an error of any kind.
    family = type(policy.lm).__name__
    try:
        with torch.no_grad():
            own_logits, our_logits = head_both_ways(policy)
            own, ours = cache_both_ways(policy)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{family}: rollout.Policy cannot run this family ({type(error).__name__}: {one_line(error)}); take a "
            "model of another one"
        ) from error

    # One forward, two ways to the logits: they are equal up to a rounding of the last step.
    if not torch.allclose(own_logits, our_logits, atol=1e-2, rtol=1e-2):
        raise ValueError(
            f"{family}: its logits are not those of its LM head on the final states (they differ by "
            f"{(own_logits - our_logits).abs().max():.2g}); teach engine.models.family_scaling what it does to them"
        )

    # Two ways through the whole model: rounding moves log-probs by 1e-6 in float32 and some 1e-2 in bfloat16.
    precision = torch.finfo(next(policy.parameters()).dtype).eps
    tolerance = max(1e-2, 32 * precision)
    difference = (own.exp() * (own - ours).abs()).sum(-1).max()  # expected over tokens: unlikely ones may be rough
    if not difference <= tolerance:  # nor NaN
        raise ValueError(
            f"{family}: behind left padding and with a cache, tokens get other log-probs than alone (they differ by "
            f"{difference:.2g}), so it cannot be sampled in batches; take a model of another family, or another "
            f"version of transformers than {transformers.__version__}"
        )


def head_both_ways(policy):
    """Logits [1, V] of the token after four, float32: (the model's, those of rollout.Policy)."""
    device = next(policy.parameters()).device
    ids = torch.arange(4, device=device)[None]
    own = policy.lm(input_ids=ids).logits[:, -1]
    ours, _ = policy(ids, torch.ones_like(ids))
    return own.float(), ours.float()


def cache_both_ways(policy):
    """Log-probs [2, V] of the token after two sequences, float32: (each read alone, both as `generate` reads them)."""
    # Alone: without cache and padding.
    device = next(policy.parameters()).device
    sequences = [[0, 1, 2, 3, 2, 1, 3, 0], [3, 1, 0, 2]]
    alone = [policy.lm(input_ids=torch.tensor([ids], device=device), use_cache=False) for ids in sequences]
    own = torch.cat([out.logits[:, -1] for out in alone])  # [2, V]

    # Read all but two tokens of each, repeat, read one more, drop and reorder rows, read the last.
    ids, attention = left_padded(sequences, device)  # [2, 8]
    cache = new_cache(policy.lm)
    policy(ids[:, :6], attention[:, :6], cache=cache)
    repeat_rows(cache, 2, 2)
    rows = torch.tensor([0, 0, 1, 1], device=device)
    policy(ids[rows, 6:7], attention[rows, :7], cache=cache)
    kept = torch.tensor([3, 0], device=device)
    keep_rows(cache, kept)
    rows = rows[kept]
    ours, _ = policy(ids[rows, 7:], attention[rows], cache=cache)
    return own[rows].float().log_softmax(-1), ours.float().log_softmax(-1)


def model_room(policy):
    """Tokens of prompt and response together that the model has positions for."""
    config = policy.lm.config.get_text_config()
    return getattr(config, "max_position_embeddings", None) or float("inf")
