"""Key-value caches with room for the tokens to come; the library's are copied at every token."""

from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


class _Room(DynamicLayer):
    """`update` without a copy, while there is room.

    Attributes:
        most: tokens that there is room for, from the first one on.
        room: (rows, heads, most, width) of the keys and of the values; `keys` and `values` are
            parts of them unless rows were moved since.
    """

    keys: torch.Tensor
    values: torch.Tensor
    most: int
    room: tuple[torch.Tensor, torch.Tensor] | None = None
    last: torch.Tensor | None = None  # the keys that the last call gave

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add keys and values (rows, heads, new tokens, width); gives those of all tokens."""
        past = self.keys.shape[2]
        end = past + key_states.shape[2]
        if end > self.most:
            return super().update(key_states, value_states, *args, **kwargs)
        if self.room is None or self.last is not self.keys:
            self.room = self._with_room(self.keys), self._with_room(self.values)
        keys, values = self.room
        keys[:, :, past:end], values[:, :, past:end] = key_states, value_states
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        self.last = self.keys
        if isinstance(self, DynamicSlidingWindowLayer):
            self.cumulative_length = end  # the window has them all
        return self.keys, self.values

    def _with_room(self, values: torch.Tensor) -> torch.Tensor:
        larger = values.new_empty((*values.shape[:2], self.most, values.shape[3]))
        larger[:, :, : values.shape[2]] = values
        return larger


class RoomyLayer(_Room):
    """A `DynamicLayer` with room."""


class RoomySlidingWindowLayer(_Room, DynamicSlidingWindowLayer):
    """A `DynamicSlidingWindowLayer` with room for fewer tokens than its window."""


ROOMY: dict[Any, Any] = {
    DynamicLayer: RoomyLayer,
    DynamicSlidingWindowLayer: RoomySlidingWindowLayer,
}


def give_room(cache: Cache, tokens: int) -> None:
    """Give a cache that has been filled once room for so many further tokens.

    Layers of other kinds stay as they are, and so do windows that the tokens would fill.
    """
    layers: list[Any] = cache.layers
    for layer in layers:
        roomy = ROOMY.get(type(layer))
        if roomy is None or not layer.is_initialized or layer.keys.numel() == 0:
            continue
        most = layer.get_seq_length() + tokens
        if most < getattr(layer, "sliding_window", most + 1):
            # its state is the same, only `update` differs
            layer.__class__, layer.most = roomy, most
