"""Caches that are read once per prompt, repeated for its samples, grow cheaply, and let finished rows go.

What a model remembers of a sequence is, by kind of layer, the keys and values of all its tokens (full attention; of
different widths in MLA, where they are compressed), those of the last few (sliding windows), or a state of fixed size
(convolutions and linear attention). All have rows, and both repeating and letting go are a choice of rows:
`reorder_cache`, which transformers keeps for beam search, is the one method that every kind of layer has.

How it differs from transformers' DynamicCache: a full-attention layer of that copies all it holds for each new token,
which takes longer than the attention itself. Here such layers reserve ROOM tokens ahead. Layers of other kinds stay as
they are. Whether a family's cache works at all is found out by engine/models.py, `check_cache`.
"""

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 16  # tokens that a layer grows by


class RoomyLayer(DynamicLayer):
    """A layer whose keys and values [b, heads, tokens, width] are views of the beginning of larger tensors."""

    key_room = value_room = None  # [b, heads, tokens + some, width]

    def update(self, key_states, value_states, *args, **kwargs):
        # Move to a larger room where the new tokens find no place.
        held, new = self.keys.shape[-2], key_states.shape[-2]
        if self.key_room is None or held + new > self.key_room.shape[-2]:
            self.key_room = with_room(self.keys, new + ROOM)
            self.value_room = with_room(self.values, new + ROOM)

        # Copy only what is new.
        self.key_room[..., held : held + new, :] = key_states
        self.value_room[..., held : held + new, :] = value_states
        self.show(held + new)
        return self.keys, self.values

    def reorder_cache(self, beam_idx):
        if self.key_room is None:  # nothing has been added since the prompt was read
            return super().reorder_cache(beam_idx)

        # The room to grow goes along.
        held = self.keys.shape[-2]
        self.key_room = self.key_room[beam_idx]
        self.value_room = self.value_room[beam_idx]
        self.show(held)

    def show(self, tokens):
        """Keys and values are the first so many tokens of their rooms."""
        self.keys = self.key_room[..., :tokens, :]
        self.values = self.value_room[..., :tokens, :]


def with_room(held, more):
    """A tensor [b, heads, tokens + more, width] that begins with held [b, heads, tokens, width]."""
    b, heads, tokens, width = held.shape
    room = held.new_empty(b, heads, tokens + more, width)
    room[..., :tokens, :] = held
    return room


def new_cache(model):
    """An empty cache for a model, to be handed to its forward."""
    return DynamicCache(config=model.config)


def repeat_rows(cache, rows, samples):
    """Each of so many rows `samples` times, one after the other; from here on the cache grows cheaply."""
    keep_rows(cache, torch.arange(rows).repeat_interleave(samples))
    for layer in cache.layers:
        if type(layer) is DynamicLayer:
            layer.__class__ = RoomyLayer


def keep_rows(cache, rows):
    """Only these rows [b] int64, in this order; a row may be there several times."""
    cache.reorder_cache(rows)
