"""The books of the sampler: which responses go on, and where what they say is written down.

How it differs from the textbook: a response that has ended leaves the batch, so that ragged lengths cost what their
tokens cost. Leaving takes a copy of the cache. So those that have ended leave together, once they are SLACK of the
batch.
"""

from dataclasses import replace

import torch

from engine.batch import part
from engine.cache import keep_rows, repeat_rows

SLACK = 1 / 8  # share of ended responses in a batch from which on they leave it


def samples_each(prompts, seeds, max_new_tokens):
    """How many samples a prompt gets; ValueError for what rollout.generate cannot work with."""
    N = len(prompts)
    B = len(seeds)
    if N == 0 or B % N or not all(prompts):
        raise ValueError(f"{N} prompts and {B} seeds: want non-empty prompts, and as many seeds for each")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens {max_new_tokens}: must be at least 1")
    return B // N


def empty_rows(ids, attention, samples, new_tokens, state=None):
    """The fields of a Rollout of prompts ids [N, P], each `samples` times, with room for `new_tokens` tokens each.

    state [N, D]: what the states to keep look like; None: none are kept.
    """
    ids = ids.repeat_interleave(samples, 0)  # [B, P]
    attention = attention.repeat_interleave(samples, 0)
    B = len(ids)

    # The response's half of each row is empty yet: token 0, not attended to, not sampled.
    padding = torch.zeros(B, new_tokens, dtype=torch.int64, device=ids.device)
    zeros = torch.zeros(B, new_tokens, device=ids.device)
    return {
        "ids": torch.cat([ids, padding], 1),
        "attention": torch.cat([attention, torch.zeros_like(padding)], 1),
        "mask": zeros.bool(),
        "logprobs": zeros,
        "entropy": zeros.clone(),
        "finished": zeros[:, 0].bool(),
        "states": None if state is None else state.new_zeros(B, new_tokens, state.shape[1]),
    }


def shortened(rollout, T):
    """The first T tokens of each response, as views."""
    short = part(rollout, slice(None), rollout.prompt_width, T)  # leaves states out
    if rollout.states is None:
        return short
    return replace(short, states=rollout.states[:, :T])


class LiveRows:
    """The responses that go on: `rows` [b], and for each the `logits` [b, V] and `state` [b, D] of its next token.

    For the model those that have ended are still there, for a while. They are computed as well, and what comes of it is
    dropped. With three responses of which number 1 ends:

        in the cache    0 1 2         `in_cache`: which rows it holds
        going on        0 2           `places`: where in `in_cache` they stand; rows = in_cache[places]
    """

    def __init__(self, policy, cache, logits, state, samples):
        """cache, logits [N, V] and state [N, D] are those of N prompts; each is to have `samples` responses."""
        repeat_rows(cache, len(logits), samples)
        self.policy, self.cache = policy, cache
        self.logits = logits.repeat_interleave(samples, 0)
        self.state = state.repeat_interleave(samples, 0)
        self.in_cache = torch.arange(len(self.logits), device=logits.device)
        self.places = self.in_cache

    @property
    def rows(self):
        """Which responses go on, [b]."""
        return self.in_cache[self.places]

    def write(self, rollout, t, token, logp, H):
        """Token t of each, and what it was drawn from, into a Rollout: [b] each."""
        rows = self.rows
        place = rollout.prompt_width + t
        rollout.ids[rows, place] = token
        rollout.attention[rows, place] = 1
        rollout.mask[rows, t] = True
        rollout.logprobs[rows, t] = logp
        rollout.entropy[rows, t] = H
        if rollout.states is not None:
            rollout.states[rows, t] = self.state

    def drop(self, ended):
        """Those where ended [b] bool is True go on no more."""
        self.places = self.places[~ended]

    def read(self, rollout, t):
        """The model reads token t of each, which leaves new logits and states."""
        # Copy the cache without the rows that have ended, if they are many.
        if len(self.places) <= len(self.in_cache) * (1 - SLACK):
            keep_rows(self.cache, self.places)
            self.in_cache = self.rows
            self.places = torch.arange(len(self.in_cache), device=self.in_cache.device)

        # Read the token of each row that the cache holds.
        place = rollout.prompt_width + t
        ids = rollout.ids[self.in_cache, place]  # padding where a response has ended
        attention = rollout.attention[self.in_cache, : place + 1]
        logits, state = self.policy(ids[:, None], attention, cache=self.cache)

        # Keep what belongs to the rows that go on.
        if len(self.places) < len(self.in_cache):
            logits, state = logits[self.places], state[self.places]
        self.logits, self.state = logits, state
