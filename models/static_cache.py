"""Keys and values of decoding in memory that stays where it is, so that a CUDA graph can find it.

A captured graph repeats its kernels on the same addresses. So what grows by a token a step in
models/cache.py has all its places from the start here, and a step writes at a place that it reads from the
device. It looks at more places than are filled; a mask hides the others.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class StaticLayer(DynamicLayer):
    """Keys and values (B, heads, L, d) of one layer, of which the first rows and places are in use."""

    def __init__(self, rows: int, places: int, at: Tensor) -> None:
        """`at`: (1,) long, where a step writes; of all layers alike."""
        super().__init__()
        self._shape = (rows, places)
        self._at = at
        self._read = 0
        self.visible = 0
        """Places that a step looks at; 0 while prompts are read."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take the memory, zeros: where a mask hides a value it is multiplied by 0 all the same."""
        super().lazy_initialization(key_states, value_states)
        rows, places = self._shape
        self.keys, self.values = (
            new.new_zeros(rows, new.shape[1], places, new.shape[3]) for new in (key_states, value_states)
        )

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write keys and values (b, heads, l, d) of prompts behind those read before, or of a step (l = 1) at
        its place. All that is visible of b rows."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, length = key_states.shape[0], key_states.shape[2]
        shown = []
        for held, new in ((self.keys, key_states), (self.values, value_states)):
            if self.visible:
                held[:rows].index_copy_(2, self._at, new)
            else:
                held[:rows, :, self._read : self._read + length] = new
            shown.append(held[:rows, :, : self.visible or self._read + length])
        if not self.visible:
            self._read += length
        return shown[0], shown[1]

    def batch_select_indices(self, indices: Tensor) -> None:
        """Make row `indices[i]` row i, in place; what is its own successor is not copied."""
        moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero(as_tuple=True)[0]
        for held in (self.keys, self.values):
            held[moved] = held[indices[moved]]

    def reset(self) -> None:
        """Ready for other prompts."""
        self._read = self.visible = 0
        if self.is_initialized:
            self.keys.zero_()
            self.values.zero_()

    def get_seq_length(self) -> int:
        """Tokens of the prompts: what a step is told about its place goes by mask and positions."""
        return self._read

    @property
    def nbytes(self) -> int:
        """What the layer takes."""
        return self.keys.nbytes + self.values.nbytes if self.is_initialized else 0


def static_cache(rows: int, places: int, at: Tensor) -> Cache:
    """A cache for so many texts of so many tokens, whatever the number of layers."""
    return Cache(layer_class_to_replicate=partial(StaticLayer, rows, places, at))
