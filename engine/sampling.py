"""Machinery of the sampler: room for its responses, and a cache that lets go of those that have ended.

How it differs from the textbook: a response that has ended leaves the cache, so that ragged lengths cost what their
tokens cost. Leaving takes a copy of the cache. So those that have ended leave together, once they are SLACK of it.
"""

from dataclasses import replace

import torch

from engine.batch import part
from engine.cache import keep_rows

SLACK = 1 / 8  # share of ended responses in a cache from which on they leave it


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


class Reader:
    """Has the model read a token of each response that goes on, and hides that others may still be in its cache.

    With three responses of which number 1 has ended: the cache holds rows 0 1 2, and `read` is asked for 0 2. Row 1 is
    computed as well, and dropped.
    """

    def __init__(self, policy, cache, rows):
        self.policy, self.cache = policy, cache
        self.held = rows  # which responses the cache holds, in rising order

    def read(self, rollout, rows, t):
        """(logits [b, V], states [b, D]) for token t + 1 of some rows [b], in rising order, once token t is written."""
        places = torch.searchsorted(self.held, rows)  # [b]: where in the cache they are

        # Copy the cache without the rows that have ended, if they are many.
        if len(rows) <= len(self.held) * (1 - SLACK):
            keep_rows(self.cache, places)
            self.held = rows
            places = torch.arange(len(rows), device=rows.device)

        # Read the token of each row that the cache holds.
        end = rollout.prompt_width + t + 1
        ids = rollout.ids[self.held, end - 1]  # padding where a response has ended
        attention = rollout.attention[self.held, :end]
        logits, states = self.policy(ids[:, None], attention, cache=self.cache)

        # Return what belongs to the rows that were asked for.
        if len(places) == len(self.held):
            return logits, states
        return logits[places], states[places]
