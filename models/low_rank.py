"""A linear layer with an adapter beside it, as one function: peft's module with another way through it.

peft adds the adapter's product, scaled, to the layer's own: two tensors of the output's size that are made,
read once and dropped, and two more in the backward pass. Here the product is added into the output by the
multiplication itself, and the scale is applied to what has the width of the rank. On a Llama of 256 x 4 with
adapters on all seven layers an update takes 0.92 of the time and less memory.

In the backward passes of one step no weight changes. Where a layer's weights are few beside the numbers that
go in and out, the adapter is added to a copy of them, which serves all micro-batches, forward and back
(`kept_sums`): of a Llama of 256 x 4 an update takes 0.94 of the time. As much memory is taken in a rollout by
the weights that are kept while adapters are folded in.

Parameters, their names and files, folding and switching off are peft's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.products import product
from models.shortcuts import Shortcut

LOW_RANK = Shortcut("layer and adapter as one function")
KEPT_SUMS = Shortcut("sums of weights and adapters, made once for a step")


# Of the layers that have one by now; None outside of a step's backward passes.
_sums: dict[nn.Module, Tensor] | None = None


@contextmanager
def kept_sums() -> Iterator[dict[nn.Module, Tensor]]:
    """A block, or as a decorator a function, in which no weight changes: the sum of a weight and its adapter
    is made once in it."""
    global _sums
    _sums, was = {}, _sums
    try:
        yield _sums
    finally:
        _sums = was


class Weights(NamedTuple):
    """A frozen linear layer, and the adapter beside it if there is one."""

    weight: Tensor
    """W (out, in)"""
    bias: Tensor | None
    """c (out)"""
    a: Tensor | None = None
    """A (r, in), of W's format or, under autocast, float32"""
    b: Tensor | None = None
    """B (out, r), as A"""
    scaling: float = 1.0
    total: Tensor | None = None
    """W + s·B·A, where that is kept"""


class LowRankLinear(Linear):
    """peft's LoRA layer on an nn.Linear. What its short way does not know goes peft's."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(..., in) to (..., out)."""
        if args or kwargs or self.merged or not LOW_RANK.on:
            return super().forward(x, *args, **kwargs)
        if self.disable_adapters:
            return self._base(x)
        device = x.device.type
        mixed = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if mixed else x.dtype
        if not self.fits(dtype, mixed):
            return super().forward(x)
        # Rows in, rows out: into a view that a function returns a caller may not write, as OLMo does.
        rows = x.to(dtype).reshape(-1, x.shape[-1])
        weights = self.weights(rows)
        y = _LowRank.apply(rows, weights, weights.a, weights.b)
        return y.view(*x.shape[:-1], y.shape[-1])

    def weights(self, rows: Tensor) -> Weights:
        """What a layer that `fits` does to rows (N, in)."""
        [name] = self.active_adapters
        base, a, b = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
        return Weights(base.weight, base.bias, a, b, self.scaling[name], self._sum(rows, a, b))

    def _sum(self, rows: Tensor, a: Tensor, b: Tensor) -> Tensor | None:
        weight = self.base_layer.weight
        if _sums is None or not KEPT_SUMS.on or not _adds_to_weight(rows, weight, a, b):
            return None
        if self not in _sums:
            with torch.no_grad():
                _sums[self] = torch.addmm(weight, b, a, alpha=self.scaling[self.active_adapters[0]])
        return _sums[self]

    def _base(self, x: Tensor) -> Tensor:
        """The layer alone: the reference."""
        base = self.base_layer
        if type(base) is not nn.Linear or torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type):
            return base(x)
        y = product(x.reshape(-1, x.shape[-1]), base.weight, base.bias)
        return y.view(*x.shape[:-1], y.shape[-1])

    def fits(self, dtype: torch.dtype, mixed: bool) -> bool:
        """Whether this is one plain adapter on a frozen layer of the format that is computed in."""
        base, names = self.base_layer, self.active_adapters
        if type(base) is not nn.Linear or len(names) != 1 or names[0] not in self.lora_A:
            return False
        plain = isinstance(self.lora_dropout[names[0]], nn.Identity) and names[0] not in self.lora_variant
        a, b = self.lora_A[names[0]], self.lora_B[names[0]]
        formats = base.weight.dtype == dtype and (mixed or a.weight.dtype == b.weight.dtype == dtype)
        frozen = not any(p.requires_grad for p in base.parameters())
        return plain and formats and frozen and a.bias is None and b.bias is None


def others(model: nn.Module) -> list[str]:
    """Class names of the layers whose adapters have peft's own way only."""
    layers = [m for m in model.modules() if isinstance(m, LoraLayer) and not isinstance(m, LowRankLinear)]
    return sorted({type(layer.base_layer).__name__ for layer in layers})


class _LowRank(torch.autograd.Function):
    """y = x·Wᵀ + c + s·(x·Aᵀ)·Bᵀ of rows (N, in), for gradients of x, A and B."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: Weights, a: Tensor, b: Tensor) -> Tensor:
        y, low = through(rows, weights)
        ctx.save_for_backward(rows, low, weights.weight, a, b)  # the last so that a change of them is seen
        ctx.weights = weights
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, None, Tensor | None, Tensor | None]:
        rows, low, *_ = ctx.saved_tensors
        for_x, for_a, for_b = gradients(g, rows, low, ctx.weights, of_x=ctx.needs_input_grad[0])
        return for_x, None, for_a, for_b


def through(rows: Tensor, weights: Weights) -> tuple[Tensor, Tensor | None]:
    """(N, in) to (N, out), and what A made of the rows on the way, (N, r), where the adapter has a product of
    its own.

    Adapters in another format are rounded to that of the rows, as autocast would round them.
    """
    weight, bias, a, b, scaling, total = weights
    if a is None or b is None or total is not None:
        return product(rows, weight if total is None else total, bias), None
    low = product(rows, a.to(rows.dtype))
    return product(rows, weight, bias).addmm_(low, b.to(rows.dtype).t(), alpha=scaling), low


def gradients(
    g: Tensor, rows: Tensor, low: Tensor | None, weights: Weights, *, of_x: bool = True
) -> tuple[Any, Tensor | None, Tensor | None]:
    """Of the rows (N, in), of A and of B, in their own formats, given that of the output (N, out).

    `low`: as `through` gave it; made again where it is None. `of_x` False: the rows' is None, not asked for.
    """
    weight, _, a, b, scaling, total = weights
    for_x = None
    if of_x:
        for_x = product(g, (weight if total is None else total).t())
    if a is None or b is None:
        return for_x, None, None
    g_low = product(g, b.to(g.dtype).t()).mul_(scaling)  # (N, r)
    if for_x is not None and total is None:
        for_x.addmm_(g_low, a.to(g.dtype))
    for_a = product(g_low.t(), rows.t()).to(a.dtype)
    low = product(rows, a.to(rows.dtype)) if low is None else low
    # Turned, the product takes half the time: few long rows in place of many short ones.
    for_b = product(low.t(), g.t()).t().to(b.dtype).mul_(scaling)
    return for_x, for_a, for_b


def _adds_to_weight(rows: Tensor, weight: Tensor, a: Tensor, b: Tensor) -> bool:
    """Whether the sum with the weight (out, in), made once, is less work than a product with what goes in and
    comes out of one micro-batch, (N, in + out); on a CPU, where it was measured.

    Not in 16 bits: there the sum would be rounded to the weight's own steps.
    """
    exact = {rows.dtype, weight.dtype, a.dtype, b.dtype} in ({torch.float32}, {torch.float64})
    return exact and rows.device.type == "cpu" and weight.numel() < len(rows) * sum(weight.shape)
