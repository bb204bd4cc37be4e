"""Linear layers for decoding: a few rows at a time, and no adapter code around them.

A product of few rows with a weight is mostly the reading of that weight, and MKL reads it twice as fast in an
order of its own as where it lies in rows (what an inference engine does when it loads a model). So at the
first token of a rollout every weight is laid out anew, for as many rows as there are; by oneDNN, where that
multiplies (models/products.py), for any number. And while its adapter is folded in (models/adapter.py), an
adapted layer is its base layer: peft's way to it is left out.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from models.products import by_onednn, laid_out, multiplied

# A layout takes the memory of its weight, though MKL asks for a multiple of that and leaves it unwritten. It
# serves a number of rows: fewer are filled up, and for half as many it is made anew. With more than
# a few hundred a product is as fast from where the weights lie.
_LEAST, _MOST = 8, 256


class FewRows:
    """What a linear layer does, from a layout of its weight for few rows. Weight and bias must stay as they
    are meanwhile."""

    def __init__(self, layer: nn.Linear) -> None:
        self._weight, self._bias = layer.weight.detach(), layer.bias
        self._rows = 0
        self._layout = self._weight

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out); of one token per sequence by the layout."""
        rows = x.numel() // self._weight.shape[1]
        if rows != self._rows:
            if rows > _MOST or (x.dim() > 2 and x.shape[-2] > 1):
                return linear(x, self._weight, self._bias)
            if not rows <= self._rows < max(2 * rows, _LEAST + 1):
                self._rows = max(_LEAST, rows)
                self._layout = torch.ops.mkl._mkl_reorder_linear_weight.default(self._weight, self._rows)
            if rows < self._rows:
                filled = pad(x.reshape(rows, -1), (0, 0, 0, self._rows - rows))
                return self(filled)[:rows].view(*x.shape[:-1], -1)
        return torch.ops.mkl._mkl_linear.default(x, self._layout, self._weight, self._bias, rows)


class AnyRows:
    """What a linear layer does, from oneDNN's layout of its weight. Weight and bias must stay as they are
    meanwhile."""

    def __init__(self, layer: nn.Linear) -> None:
        self._weight, self._bias = layer.weight, layer.bias
        self._layout: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        if self._layout is None:
            self._layout = laid_out(self._weight)
        return multiplied(x, self._layout, self._bias)


@contextmanager
def quick_layers(model: nn.Module, *, layouts: bool = True) -> Iterator[None]:
    """Run linear layers by the shortest way for the time of a block, without gradients; adapters on them must
    be folded in. Results differ by rounding alone.

    `layouts` False: without copies of the weights; so under autocast, where rows are not in float32.
    """
    layers = linear_layers(model)
    try:
        for outer, base in layers.items():
            quick = layouts and base.weight.dtype == torch.float32 and base.weight.device.type == "cpu"
            outer.forward = by_layout(base) if quick and has_layouts() else base.forward
        yield
    finally:
        for outer in layers:
            outer.__dict__.pop("forward", None)


def by_layout(layer: nn.Linear) -> FewRows | AnyRows:
    """A layer from a layout of its weight, of the library that multiplies here."""
    return AnyRows(layer) if by_onednn() else FewRows(layer)


def linear_layers(model: nn.Module) -> dict[Any, nn.Linear]:
    """Linear layers of a model by the module that is called for them: the layer, or peft's around it."""
    found: dict[Any, nn.Linear] = {}
    inner: set[nn.Module] = set()  # of adapted layers: the base, and the adapter's own matrices
    for module in model.modules():  # what stands around a layer comes before it
        base = module.base_layer if isinstance(module, LoraLayer) else module
        if module not in inner and type(base) is nn.Linear:
            found[module] = base
            inner.update(module.modules())
    return found


@cache
def has_layouts() -> bool:
    """Whether weights can be laid out here, and what is computed from a layout is right."""
    if not torch.backends.mkl.is_available():
        logging.getLogger(__name__).info("torch without MKL: linear layers of decoding as they are")
        return False
    numbers = torch.arange(48 * 24, dtype=torch.float32).sin().reshape(48, 24)
    layer = nn.Linear(24, 48, bias=False)
    layer.weight = nn.Parameter(numbers, requires_grad=False)
    return bool(torch.allclose(by_layout(layer)(numbers[:5]), numbers[:5] @ numbers.T, atol=1e-5))
