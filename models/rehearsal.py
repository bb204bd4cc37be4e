"""Runs of real code on tensors that have shapes and no memory, with the memory counted that they would take.

torch's fake tensors know shape, type and device of every result and hold no numbers. A model of any size is
made, run forward and backward on them in seconds, on any machine; a ledger adds up what is alive.
"""

import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import masking_utils

aten = torch.ops.aten

_LOG = logging.getLogger("torch._subclasses.fake_tensor")


class Ledger(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, and answers for those that have no numbers.

    Every number that the code asks of a tensor is 1 or True, and every mask full: the longest responses.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        """Bytes alive now"""
        self.peak = 0
        """The most that were, since `restart`"""
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def restart(self) -> int:
        """Begin a new peak; returns the bytes alive now."""
        self.peak = self.live
        return self.live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation."""
        result = _ANSWERS.get(func, func)(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._enter(leaf)
        return result

    def _enter(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:  # a view, or changed in place
            return
        size = storage.nbytes()
        self._known.add(storage)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._leave, size)

    def _leave(self, size: int) -> None:
        self.live -= size


def _number(tensor: Tensor) -> bool | int | float:
    if tensor.dtype == torch.bool:
        return True
    return 1.0 if tensor.is_floating_point() else 1


def _index(x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """x[mask] with a full mask is all of x; how many places a mask has, only its numbers would tell."""
    mask = indices[0]
    if mask is None or mask.dtype != torch.bool:
        return aten.index.Tensor(x, indices)
    return x.flatten(0, mask.dim() - 1).clone()


def _put(x: Tensor, indices: Sequence[Tensor | None], *rest: Any) -> Tensor:
    """The gradient of x[mask]."""
    mask = indices[0]
    plain = mask is None or mask.dtype != torch.bool
    return aten.index_put_.default(x, indices, *rest) if plain else x


def _places(mask: Tensor) -> Tensor:
    """Of a full mask."""
    return mask.new_empty((mask.numel(), mask.dim()), dtype=torch.long)


def _once(x: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of which no two are alike."""
    return torch.empty_like(x), x.new_empty(0, dtype=torch.long), x.new_empty(0, dtype=torch.long)


def _grouped_mm(x: Tensor, weights: Tensor, ends: Tensor, *rest: Any) -> Tensor:
    """Rows of x by the weights of their group; torch knows the shapes of this in bfloat16 alone."""
    if weights.dim() == 3:
        return x.new_empty(x.shape[0], weights.shape[-1])
    return x.new_empty(ends.shape[0], x.shape[0], weights.shape[-1])  # the gradient of the weights


_ANSWERS: dict[Any, Callable[..., Any]] = {
    aten._grouped_mm.default: _grouped_mm,
    aten._local_scalar_dense.default: _number,
    aten.allclose.default: lambda *_, **__: True,
    aten.equal.default: lambda *_: True,
    aten.index.Tensor: _index,
    aten.index_put_.default: _put,
    aten.nonzero.default: _places,
    aten._unique2.default: _once,
}


@contextmanager
def rehearsal() -> Iterator[Ledger]:
    """A block in which new tensors take no memory, and what they would take is counted."""
    _LOG.disabled, before = True, _LOG.disabled  # of what cannot be rehearsed it writes a traceback besides
    try:
        with FakeTensorMode(), Ledger() as ledger:
            yield ledger
    finally:
        _LOG.disabled = before


@contextmanager
def without_masks() -> Iterator[None]:
    """Passes over rows that begin with their texts, in a rehearsal: as in a real one, attention has no mask.

    transformers looks at the positions for texts that lie one behind the other, and makes a mask where it
    cannot look: of fake tensors it does not ask numbers, though here they are answered.
    """
    was = masking_utils.is_tracing
    masking_utils.is_tracing = lambda *_: False
    try:
        yield
    finally:
        masking_utils.is_tracing = was


def imagine(module: nn.Module) -> None:
    """Give a module made on the meta device weights that count as such on the CPU, in a rehearsal.

    (The meta device knows no autocast. And torch cannot move fake weights, so a model is made first.)
    """
    seen: dict[int, Tensor] = {}
    for each in module.modules():
        for name, p in each._parameters.items():
            if p is not None:
                seen.setdefault(id(p), nn.Parameter(_like(p), requires_grad=p.requires_grad))
                each._parameters[name] = seen[id(p)]  # type: ignore[assignment]
        for name, b in each._buffers.items():
            if b is not None:
                each._buffers[name] = seen.setdefault(id(b), _like(b))


def fill_gradients(module: nn.Module) -> None:
    """Gradients of all that is trained, as they stand after the first backward pass."""
    for p in module.parameters():
        if p.requires_grad:
            p.grad = torch.zeros_like(p)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype)
