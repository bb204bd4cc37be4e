"""A linear layer with an adapter beside it, as one function: peft's module with another way through it.

peft adds the adapter's product, scaled, to the layer's own: two tensors of the output's size that are made,
read once and dropped, and two more in the backward pass. Here the product is added into the output by the
multiplication itself, and the scale is applied to what has the width of the rank. On a Llama of 256 x 4 with
adapters on all seven layers an update takes 0.92 of the time and less memory. Where a layer's weights are few
beside the numbers that go in and out, the adapter is added to a copy of them for one product: 0.98 of that.

Parameters, their names and files, folding and switching off are peft's.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.products import product
from models.shortcuts import Shortcut

LOW_RANK = Shortcut("layer and adapter as one function")


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
        if not self._fits(dtype, mixed):
            return super().forward(x)
        [name] = self.active_adapters
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        base = self.base_layer
        # Rows in, rows out: into a view that a function returns a caller may not write, as OLMo does.
        rows = x.to(dtype).reshape(-1, x.shape[-1])
        y = _LowRank.apply(rows, base.weight, base.bias, a, b, self.scaling[name])
        return y.view(*x.shape[:-1], y.shape[-1])

    def _base(self, x: Tensor) -> Tensor:
        """The layer alone: the reference."""
        base = self.base_layer
        if type(base) is not nn.Linear or torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type):
            return base(x)
        y = product(x.reshape(-1, x.shape[-1]), base.weight, base.bias)
        return y.view(*x.shape[:-1], y.shape[-1])

    def _fits(self, dtype: torch.dtype, mixed: bool) -> bool:
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
    """y = x·Wᵀ + c + s·(x·Aᵀ)·Bᵀ of rows (N, in), for gradients of x, A and B.

    W (out, in), c (out) or None and x are of one format, A (r, in) and B (out, r) of that or, under autocast,
    float32; they are rounded to it as autocast would round them, and their gradients come back in their own.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        low = None
        ctx.adds = _adds_to_weight(rows, weight, a, b)
        if ctx.adds:
            y = product(rows, _added(weight, a, b, scaling), bias)
        else:
            low = product(rows, a.to(rows.dtype))  # (N, r)
            y = product(rows, weight, bias).addmm_(low, b.to(rows.dtype).t(), alpha=scaling)
        ctx.save_for_backward(rows, low, weight, a, b)
        ctx.scaling = scaling
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, None, None, Tensor | None, Tensor | None, None]:
        rows, low, weight, a, b = ctx.saved_tensors
        g_low = product(g, b.to(g.dtype).t()).mul_(ctx.scaling)  # (N, r)
        for_x = for_a = for_b = None
        if ctx.needs_input_grad[0] and ctx.adds:
            for_x = product(g, _added(weight, a, b, ctx.scaling).t())
        elif ctx.needs_input_grad[0]:
            for_x = product(g, weight.t()).addmm_(g_low, a.to(g.dtype))
        if ctx.needs_input_grad[3]:
            for_a = product(g_low.t(), rows.t()).to(a.dtype)
        if ctx.needs_input_grad[4]:
            low = product(rows, a) if low is None else low
            # Turned, the product takes half the time: few long rows in place of many short ones.
            for_b = product(low.t(), g.t()).t().to(b.dtype).mul_(ctx.scaling)
        return for_x, None, None, for_a, for_b, None


def _adds_to_weight(rows: Tensor, weight: Tensor, a: Tensor, b: Tensor) -> bool:
    """Whether the sum with the weight (out, in), made for the forward and for the backward pass, is less work
    than a product with what goes in and comes out, (N, in + out); on a CPU, where it was measured.

    Not in 16 bits: there the sum would be rounded to the weight's own steps.
    """
    exact = {rows.dtype, weight.dtype, a.dtype, b.dtype} in ({torch.float32}, {torch.float64})
    return exact and rows.device.type == "cpu" and 2 * weight.numel() < len(rows) * sum(weight.shape)


def _added(weight: Tensor, a: Tensor, b: Tensor, scaling: float) -> Tensor:
    """W + s·B·A."""
    return torch.addmm(weight, b, a, alpha=scaling)
