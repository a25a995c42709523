"""Batches: seeds of their rows, padding, and cutting them so that they fit the memory.

Nothing here changes a result but for rounding. A row's seed depends on what the row is and not on where it stands; a
batch that is cut into micro-batches, or whose LM head is applied in pieces, gives the same numbers with less memory.
"""

import hashlib
from dataclasses import fields, replace

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

LOGITS = 2**25  # logits in float32 at a time where log-probs are asked for: 128 MiB, and some copies


def fingerprint(*things):
    """A 63-bit number that tells things from others by how they are written: the same on every machine."""
    text = "/".join(map(str, things))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def sample_seed(*key):
    """The seed of a response, from a key such as (seed, step, prompt, sample)."""
    return fingerprint(*key)


def uniforms(seeds, length):
    """One row of `length` uniform numbers for each seed, float64 [B, length]."""
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        rows.append(torch.rand(length, dtype=torch.float64, generator=generator))
    return torch.stack(rows)


def left_padded(prompts, device):
    """(ids, attention), both [N, P] int64, of N lists of token ids: all end in the last column.

    Padding is token 0, which every model can read: attention says what counts.
    """
    P = max(map(len, prompts))
    ids = [[0] * (P - len(prompt)) + prompt for prompt in prompts]
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


def part(rollout, rows, prompt_width, response_width):
    """The Rollout of some rows, with so many columns of prompt and of response; without states."""
    P = rollout.prompt_width
    columns = slice(P - prompt_width, P + response_width)
    cut = {}
    for field in fields(rollout):
        values = getattr(rollout, field.name)
        if field.name == "states":
            values = None
        elif field.name in ("ids", "attention"):
            values = values[rows, columns]
        elif field.name == "finished":
            values = values[rows]
        elif values is not None:  # [B, T]
            values = values[rows, :response_width]
        cut[field.name] = values
    return replace(rollout, **cut)


def micro_batches(rollout, max_tokens, rows=None):
    """rollout.Rollout.micro_batches."""
    if rows is None:
        rows = torch.arange(len(rollout.mask), device=rollout.mask.device)
    prompt_mask = rollout.attention[rows, : rollout.prompt_width]
    prompts = prompt_mask.sum(1).tolist()  # lengths in tokens
    responses = rollout.mask[rows].sum(1).tolist()
    for run in runs_of_similar_length(prompts, responses, max_tokens):
        longest_prompt = max(prompts[i] for i in run)
        longest_response = max(responses[i] for i in run)
        chosen = rows[run]
        yield chosen, part(rollout, chosen, longest_prompt, longest_response)


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


def by_token(function, states, targets, real, vocabulary):
    """function(states [n, D], targets [n]) of the n positions that are real [b, T] bool, a few of them at a time.

    states [b, T, D], targets [b, T]; each result comes back as [b, T], with 0 where nothing is real. The function makes
    `vocabulary` logits of each position.
    """
    count = max(1, LOGITS // vocabulary)
    found = in_pieces(function, count, states[real], targets[real])  # [n] each, in reading order
    return [values.new_zeros(real.shape).masked_scatter(real, values) for values in found]


def first_above(cdf, u):
    """The first place [b] in each rising row of cdf [b, V] whose value is above u times the last one; u [b] in [0, 1).

    For cdf = 0.2, 0.2, 1.0: place 0 for u below 0.2, else place 2, and never 1, which adds nothing. The product may
    round up to the last value, which nothing is above; so it is held just below.
    """
    total = cdf[:, -1]
    below_total = torch.nextafter(total, torch.zeros_like(total))
    threshold = torch.minimum(u * total, below_total)
    return torch.searchsorted(cdf, threshold[:, None], right=True)[:, 0]


def per_token(x, mask):
    """x [B], or [B, T] where tokens of a response differ, as [B, T] for the mask [B, T]."""
    if x.dim() == 1:
        x = x[:, None]
    return x.expand(mask.shape)


def put_back(parts, shape):
    """Tensors [B, T, ...], with 0 where no part has anything, of parts (rows [b], values [b, t, ...], ...).

    shape: (B, T). A part may be shorter than T tokens.
    """
    whole = [values.new_zeros(*shape, *values.shape[2:]) for values in parts[0][1:]]
    for rows, *pieces in parts:
        for tensor, values in zip(whole, pieces):
            tensor[rows, : values.shape[1]] = values
    return whole


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
