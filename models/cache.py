"""Keys and values of decoding, in memory that is taken once.

transformers' own cache appends a token by copying all that it holds to a new place, in every layer at every
step: on a CPU a quarter of a rollout. Here every layer has room for the whole response from the start, a
token is written behind the last one, and when rows end the places they leave are filled with rows from the
end: what stays in its place is not copied.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """Keys and values (b, heads, L, d) of one layer: views of tensors with `room` for so many tokens."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room
        self._stores: tuple[Tensor, ...] = ()  # none before the second call of the layer

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values of new tokens (b, heads, l, d); all that is held."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
            return key_states, value_states
        rows, length = self.keys.shape[0], self.keys.shape[2]
        if not self._stores:
            self._move_in(torch.arange(rows, device=self.keys.device))
        for store, new in zip(self._stores, (key_states, value_states), strict=True):
            store[:rows, :, length : length + new.shape[2]] = new
        self._show(rows, length + key_states.shape[2])
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Make row `indices[i]` row i. Where they become fewer, a row that is its own successor stays."""
        rows = self.keys.shape[0]
        if not self._stores or len(indices) > rows:
            self._move_in(indices)
            return
        moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero(as_tuple=True)[0]
        for held in (self.keys, self.values):
            held[moved] = held[indices[moved]]
        self._show(len(indices), self.keys.shape[2])

    @property
    def nbytes(self) -> int:
        """What the layer takes, its room included."""
        return sum(held.nbytes for held in self._stores or (self.keys, self.values))

    def _move_in(self, indices: Tensor) -> None:
        """Copy rows into stores of their number."""
        length = self.keys.shape[2]
        stores = [
            held.new_empty(len(indices), held.shape[1], self._room, held.shape[3])
            for held in (self.keys, self.values)
        ]
        for store, held in zip(stores, (self.keys, self.values), strict=True):
            store[:, :, :length] = held[indices]
        self._stores = tuple(stores)
        self._show(len(indices), length)

    def _show(self, rows: int, length: int) -> None:
        keys, values = self._stores
        self.keys, self.values = keys[:rows, :, :length], values[:rows, :, :length]


def roomy_cache(room: int) -> Cache:
    """A cache for sequences of at most `room` tokens, whatever the number of layers."""
    return Cache(layer_class_to_replicate=partial(RoomyLayer, room))
