"""Batches: seeds of their rows, padding, and cutting them so that they fit the memory.

Nothing here changes a result. A row's seed depends on what the row is and not on where it stands; a batch that is cut
into micro-batches, or whose LM head is applied in pieces, gives the same numbers with less memory at a time.
"""

import hashlib
from dataclasses import fields, replace

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint


def sample_seed(*key):
    """A 63-bit seed from any key such as (seed, step, prompt, sample): the same on every machine."""
    text = "/".join(map(str, key))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def uniforms(seeds, length):
    """One row of `length` uniform numbers for each seed, float64 [B, length]."""
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        rows.append(torch.rand(length, dtype=torch.float64, generator=generator))
    return torch.stack(rows)


def left_padded(prompts, pad_id, device):
    """(ids, attention), both [N, P] int64, of N lists of token ids: all end in the last column."""
    P = max(map(len, prompts))
    ids = [[pad_id] * (P - len(prompt)) + prompt for prompt in prompts]
    attention = [[0] * (P - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(attention, device=device)


def runs_of_similar_length(prompts, responses, max_tokens):
    """Rows, shortest first, cut into runs of at most `max_tokens` padded tokens: lists of positions.

    prompts, responses: lengths in tokens, a list each. A run is as wide as its longest prompt and its longest response.
    A row that is longer than max_tokens goes alone.

    >>> runs_of_similar_length([2, 2, 2], [1, 9, 2], max_tokens=10)
    [[0, 2], [1]]
    """
    order = sorted(range(len(prompts)), key=lambda i: prompts[i] + responses[i])
    runs = [[]]
    prompt_width = response_width = 0
    for i in order:
        prompt_width = max(prompt_width, prompts[i])
        response_width = max(response_width, responses[i])
        padded_tokens = (prompt_width + response_width) * (len(runs[-1]) + 1)
        if runs[-1] and padded_tokens > max_tokens:
            runs.append([])
            prompt_width, response_width = prompts[i], responses[i]
        runs[-1].append(i)
    return runs


def in_pieces(function, rows, *tensors):
    """function(*tensors), a tuple of tensors with one row for each row given, computed `rows` rows at a time.

    The backward pass computes each piece again instead of keeping what it made (activation checkpointing).
    """
    if len(tensors[0]) <= rows:
        return function(*tensors)
    parts = zip(*(tensor.split(rows) for tensor in tensors))
    pieces = [checkpoint(function, *part, use_reentrant=False) for part in parts]
    return tuple(torch.cat(values) for values in zip(*pieces))


def in_batches(prompts, seeds, responses=None):
    """(prompts, seeds) of those that are sampled together: at most so many responses, or all, but whole prompts."""
    samples = len(seeds) // len(prompts)
    size = len(prompts) if responses is None else max(1, responses // samples)
    for first in range(0, len(prompts), size):
        last = first + size
        yield prompts[first:last], seeds[samples * first : samples * last]


def joined_rollouts(parts):
    """One Rollout of several, one below the other, padded to the widest prompt and the longest response."""
    if len(parts) == 1:
        return parts[0]
    P = max(part.prompt_width for part in parts)
    T = max(part.mask.shape[1] for part in parts)
    joined = {}
    for field in fields(parts[0]):
        rows = []
        for part in parts:
            values = getattr(part, field.name)
            left, right = P - part.prompt_width, T - part.mask.shape[1]
            if values is None or field.name == "finished":
                pass
            elif field.name in ("ids", "attention"):
                values = F.pad(values, (left, right))
            else:  # [b, T] or [b, T, D]
                values = F.pad(values, (0, 0) * (values.dim() - 2) + (0, right))
            rows.append(values)
        joined[field.name] = None if rows[0] is None else torch.cat(rows)
    return replace(parts[0], **joined)
