"""RMSNorm as one function: what transformers writes in seven operations.

    y = w · x / √(mean(x²) + ε)

Its plain form makes a tensor of the input's size at every operation, keeps some of them (in 16 bits: float32
copies), and goes back through each. Here the backward pass is written out, and what is kept is the input and
one number for each token. A norm's two passes take 0.4 of the time. With models/rotary.py, an update of a
Llama of 256 x 4 takes 0.89 of the time, and the peak above imports of SmolLM2-135M falls to 0.85.

A norm stays the module it was, with the same weight: its class gets another way through it. Which of the
known ways a norm goes, if any, is tried on numbers, not read from its name.
"""

import copy
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import _disable_current_modes

from models.errors import MISFIT
from models.shortcuts import Shortcut

RMS_NORM = Shortcut("RMSNorm as one function")

# Names under which transformers' norms hold ε.
_EPSILONS = ("variance_epsilon", "eps")

# Of numbers of size 1: what rounding in another order does, with room.
_CLOSE = 1e-5

# And of 16 bits: so large a part may fall on the other side of a rounding, and no more.
_FEW = 0.01


class _Way(NamedTuple):
    """How a norm goes."""

    epsilon: str
    """Name of the attribute that holds ε"""
    gain: float
    """What is added to the weight: 1 in Gemma's, 0 in Llama's"""
    late: bool
    """Whether 16 bits are rounded behind the weight: as in Gemma's and OLMo 2's, not in Llama's"""


def quicken_norms(network: nn.Module) -> None:
    """Let the norms of a network go the short way; those that are no RMSNorm stay as they are."""
    for module in network.modules():
        if type(module).__name__.endswith("RMSNorm") and not isinstance(module, _Quick):
            kind: Any = type(module)
            if way := _tried(module):
                module.__class__ = _quick_class(kind, way)


def unknown_norms(network: nn.Module) -> list[str]:
    """Class names of the norms that were not recognised."""
    norms = [m for m in network.modules() if type(m).__name__.endswith("RMSNorm")]
    return sorted({type(m).__name__ for m in norms if not isinstance(m, _Quick)})


def few_tokens(norm: Any) -> Callable[[Tensor], Tensor]:
    """A norm for a few tokens at a time, without gradients: by torch's own function, since there every call
    costs more than its numbers. (Of many tokens it makes copies that `_norm` does without.)"""
    if not isinstance(norm, _Quick) or not RMS_NORM.on:
        return norm
    way = norm.way
    weight = norm.weight.detach() + way.gain if way.gain else norm.weight.detach()
    return partial(
        torch.rms_norm, normalized_shape=weight.shape, weight=weight, eps=getattr(norm, way.epsilon)
    )


class _Quick:
    """Before a norm's own class: the short way, wherever it is known to be that norm's."""

    way: _Way
    weight: Tensor

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """(..., H) to the same; what is called in another way goes the class's own."""
        if args or kwargs or not RMS_NORM.on:
            return super().forward(x, *args, **kwargs)  # type: ignore[misc]
        epsilon: float = getattr(self, self.way.epsilon)
        if torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad):
            return _RMSNorm.apply(x, self.weight, epsilon, self.way)
        return _norm(x, self.weight, epsilon, self.way)[0]


class _RMSNorm(torch.autograd.Function):
    """`_norm` with its gradients, which are computed in float32 (of float64 in float64)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float, way: _Way) -> Tensor:
        y, scale = _norm(x, weight, epsilon, way)
        ctx.save_for_backward(x, weight, scale)
        ctx.gain = way.gain
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight, scale = ctx.saved_tensors
        g, wide = _wide(gradient), _wide(x)
        for_x = for_weight = None
        if ctx.needs_input_grad[1]:
            parts = (g * wide).mul_(scale)
            for_weight = parts.sum_to_size(weight.shape).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            for_x = _slope(g, wide, scale, _wide(weight) + ctx.gain if ctx.gain else weight).to(x.dtype)
        return for_x, for_weight, None, None


def _slope(g: Tensor, x: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    """The gradient of x (..., H) behind w·x·s, given that of the norm. `scale`: s (..., 1).

    With s = (mean(x²) + ε)^-½:  s·(w·g − x·s²·mean(w·g·x))
    """
    weighted = g * weight
    along = torch.linalg.vecdot(weighted, x)[..., None].mul_(scale.square()).div_(-x.shape[-1])
    return weighted.addcmul_(x, along).mul_(scale)


def _norm(
    x: Tensor, weight: Tensor, epsilon: float, way: _Way, scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The norm of (..., H), and the scale (..., 1) that x was multiplied with, unless it is known."""
    wide = _wide(x)
    if scale is None:
        scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
        scale = scale.div_(x.shape[-1]).add_(epsilon).rsqrt_()
    y = wide * scale
    if way.late:
        return y.mul_(_wide(weight) + way.gain if way.gain else _wide(weight)).to(x.dtype), scale
    y = y.to(x.dtype)
    return (y.mul_(weight) if y.dtype == weight.dtype else weight * y), scale


def normed(x: Tensor, norm: Any, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`_norm` by a norm that goes the short way."""
    return _norm(x, norm.weight, getattr(norm, norm.way.epsilon), norm.way, scale)


def slope(g: Tensor, x: Tensor, scale: Tensor, norm: Any) -> Tensor:
    """The gradient of x (..., H) in full precision behind such a norm."""
    return _slope(g, x, scale, norm.weight + norm.way.gain if norm.way.gain else norm.weight)


def is_quick(norm: nn.Module) -> bool:
    """Whether a norm goes the short way."""
    return isinstance(norm, _Quick)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype.itemsize < 4 else x


@cache
def _quick_class(kind: type, way: _Way) -> type:
    return type(kind.__name__, (_Quick, kind), {"way": way})


_FOUND: dict[tuple[Any, ...], _Way | None] = {}


@torch.no_grad()
def _tried(norm: nn.Module) -> _Way | None:
    """Which way a norm goes; None where it is no RMSNorm.

    What is found holds for all norms of its class with its settings: one class can have norms with a weight
    and without, or of parts.
    """
    shapes = tuple((name, p.shape) for name, p in norm.named_parameters())
    settings = ((name, value) for name, value in vars(norm).items() if isinstance(value, (int, float, str)))
    key = (type(norm), shapes, *settings)
    if key not in _FOUND:
        with _disable_current_modes():  # in a rehearsal numbers would be none
            _FOUND[key] = _try(norm)
    return _FOUND[key]


def _try(example: nn.Module) -> _Way | None:
    """Tried with a weight and an input of which every part matters: some tokens are as small as ε."""
    held = [name for name in _EPSILONS if isinstance(getattr(example, name, None), float)]
    shapes = {name: p.shape for name, p in example.named_parameters()}
    if len(held) != 1 or list(shapes) != ["weight"] or len(shapes["weight"]) != 1:
        return None
    size = shapes["weight"].numel()
    norm, weight = copy.copy(example), nn.Parameter(torch.linspace(-1.0, 2.0, size))
    setattr(norm, held[0], 1e-3)
    x = torch.arange(4 * size, dtype=torch.float32).mul(0.7).sin().reshape(4, size)
    x = x * torch.tensor([1.0, 100.0, 0.03, 1e-4])[:, None]
    half = x.bfloat16(), nn.Parameter(weight.bfloat16())
    try:
        expected, rounded = (_with_weight(norm, w)(numbers) for numbers, w in ((x, weight), half))
    except MISFIT:
        return None  # it wants to be called in another way
    if not (isinstance(expected, Tensor) and isinstance(rounded, Tensor)):
        return None
    for gain, late in ((0.0, False), (0.0, True), (1.0, True)):
        way = _Way(held[0], gain, late)
        found, _ = _norm(x, weight, 1e-3, way)
        in_half, _ = _norm(*half, 1e-3, way)
        apart = in_half.shape != rounded.shape or (in_half != rounded).float().mean() > _FEW
        if torch.allclose(found, expected, rtol=_CLOSE, atol=_CLOSE) and not apart:
            return way
    return None


def _with_weight(norm: nn.Module, weight: nn.Parameter) -> nn.Module:
    norm._parameters = {"weight": weight}
    return norm
