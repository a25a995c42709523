"""KV caches that are read once per prompt, repeated for its samples, grow cheaply, and let finished rows go.

How it differs from transformers' DynamicCache: a layer of that copies all it holds for each new token, which takes
longer than the attention itself. Here full-attention layers reserve ROOM tokens ahead. Layers of other kinds (sliding
windows) stay as they are.
"""

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 16  # tokens that a layer grows by


class RoomyLayer(DynamicLayer):
    """A layer whose keys and values [b, heads, tokens, width] are views of the beginning of a larger tensor."""

    room = None  # [2, b, heads, tokens + some, width]: keys, then values

    def update(self, key_states, value_states, *args, **kwargs):
        held, new = self.keys.shape[-2], key_states.shape[-2]
        if self.room is None or held + new > self.room.shape[-2]:
            b, heads, _, width = self.keys.shape
            self.room = self.keys.new_empty(2, b, heads, held + new + ROOM, width)
            self.room[0, ..., :held, :] = self.keys
            self.room[1, ..., :held, :] = self.values
        self.room[0, ..., held : held + new, :] = key_states
        self.room[1, ..., held : held + new, :] = value_states
        self.keys, self.values = self.room[..., : held + new, :]
        return self.keys, self.values

    def batch_select_indices(self, indices):
        if self.room is None:  # nothing has been added since the prompt was read
            return super().batch_select_indices(indices)
        held = self.keys.shape[-2]
        self.room = self.room[:, indices]
        self.keys, self.values = self.room[..., :held, :]


def new_cache(model):
    """An empty cache for a model, to be handed to its forward."""
    return DynamicCache(config=model.config)


def repeat_rows(cache, samples):
    """Each row `samples` times, one after the other; from here on the cache grows cheaply."""
    cache.batch_repeat_interleave(samples)
    for layer in cache.layers:
        if type(layer) is DynamicLayer:
            layer.__class__ = RoomyLayer


def keep_rows(cache, rows):
    """Only these rows [b] int64, in this order."""
    cache.batch_select_indices(rows)
