"""Rotary positions as one function: two operations on each half of a head, and the same again backwards.

    y = x · cos + (−x₂, x₁) · sin,      x = (x₁, x₂) the halves of a head

transformers makes the turned copy of queries and keys with a concatenation, two products and a sum: five
tensors of their size, and autograd twice as many. Turned by the opposite angle is the gradient. The two
passes take 0.57 of the time, and with models/rms_norm.py an update of a Llama of 256 x 4 takes 0.89.

The function is one of transformers' modules, not of a network: there it is replaced by one that leads to
either way. Whether it is this function under its name, is tried on numbers.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import _disable_current_modes

from models.shortcuts import Shortcut

ROTARY = Shortcut("rotary positions as one function")

_NAME = "apply_rotary_pos_emb"

# Of numbers of size 1: what rounding in another order does, with room.
_CLOSE = 1e-6


def quicken_rotary(network: nn.Module) -> None:
    """Let a network's layers turn queries and keys the short way, where theirs is the function above."""
    for module in _modules(network):
        plain = getattr(module, _NAME)
        if not isinstance(plain, _Rotary) and _is_known(plain):
            setattr(module, _NAME, _Rotary(plain))


def unknown_rotary(network: nn.Module) -> list[str]:
    """Names of the modules whose function was not recognised."""
    return [
        m.__name__.rpartition(".")[2] for m in _modules(network) if not isinstance(getattr(m, _NAME), _Rotary)
    ]


def _modules(network: nn.Module) -> list[ModuleType]:
    """Those that define the network's layers and turn by a function of that name."""
    names = sorted({type(module).__module__ for module in network.modules()})
    return [sys.modules[name] for name in names if callable(getattr(sys.modules.get(name), _NAME, None))]


class _Rotary:
    """In the place of transformers' function; it says of both whether they are taken."""

    def __init__(self, plain: Callable[..., tuple[Tensor, Tensor]]) -> None:
        self.plain = plain

    def __call__(self, q: Tensor, k: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """See transformers' function."""
        turned = self._turned(q, k, *args, **kwargs) if ROTARY.on else None
        return self.plain(q, k, *args, **kwargs) if turned is None else turned

    def _turned(
        self, q: Tensor, k: Tensor, cos: Any = None, sin: Any = None, *rest: Any, unsqueeze_dim: int = 1
    ) -> tuple[Tensor, Tensor] | None:
        """None where the arguments are not those that are known: one format, and angles for whole heads.

        And not in 16 bits, where it rounds elsewhere: whoever runs a model of this module beside ours must
        find its own numbers.
        """
        if rest or not (isinstance(cos, Tensor) and isinstance(sin, Tensor)) or q.dtype.itemsize < 4:
            return None
        alike = {x.dtype for x in (q, k, cos, sin)} == {q.dtype} and cos.shape[-1] == q.shape[-1]
        if not alike or cos.requires_grad or sin.requires_grad:
            return None
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        if torch.is_grad_enabled():
            return _Turn.apply(q, cos, sin), _Turn.apply(k, cos, sin)
        return turn(q, cos, sin), turn(k, cos, sin)


class _Turn(torch.autograd.Function):
    """`turn` with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return turn(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return turn(gradient, cos, sin, back=True), None, None


def turn(x: Tensor, cos: Tensor, sin: Tensor, *, back: bool = False, out: Tensor | None = None) -> Tensor:
    """Heads (B, heads, L, d) turned by angles (B, 1, L, d); `back`: the gradient of that; `out`: where to.

    The angles of both halves may be two: in the gradient the sine of a half goes with what it was
    multiplied with, which lies in the other.
    """
    half = x.shape[-1] // 2
    first, second = slice(None, half), slice(half, None)
    y = torch.mul(x, cos, out=out)
    if back:
        y[..., first].addcmul_(x[..., second], sin[..., second])
        y[..., second].addcmul_(x[..., first], sin[..., first], value=-1)
    else:
        y[..., first].addcmul_(x[..., second], sin[..., first], value=-1)
        y[..., second].addcmul_(x[..., first], sin[..., second])
    return y


@torch.no_grad()
def _is_known(plain: Callable[..., Any]) -> bool:
    """Whether a function does with numbers of its own in every argument what `turn` does."""
    with _disable_current_modes():  # in a rehearsal numbers would be none
        q, k, angles = (
            torch.arange(2 * h * 3 * 8).mul(s).sin().reshape(2, h, 3, 8)
            for h, s in ((4, 0.7), (2, 0.9), (2, 0.3))
        )
        cos, sin = angles[:, 0], angles[:, 1]
        try:
            found = plain(q, k, cos, sin)
        except (TypeError, ValueError, RuntimeError, LookupError, AttributeError):
            return False  # of other arguments
        expected = [turn(x, cos[:, None], sin[:, None]) for x in (q, k)]
        return len(found) == 2 and all(
            isinstance(a, Tensor) and a.shape == b.shape and torch.allclose(a, b, atol=_CLOSE)
            for a, b in zip(found, expected, strict=True)
        )
