"""Attention of rows without masks in training: the queries by parts, each with the keys that it sees.

On a CPU torch's kernel goes through the keys in pieces of 512, so of shorter rows it computes the whole
square of scores, half of which causal attention does not see, and does so again in the backward pass. Here a
part of the queries is multiplied with the keys up to its own last token, all heads that share keys in one
product, and the probabilities are kept. Attention takes three quarters of the time on an AMD EPYC, and an
update of a Llama of 256 x 4 with rows of 255 tokens 0.96, for 4 to 7 % more memory.

What is kept grows with the square of the length, up to a fifth of a micro-batch's activations. So longer rows
go torch's way; and so do passes without gradients, which are no faster here.
"""

import inspect
import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import _disable_current_modes
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from models.shortcuts import Shortcut

CAUSAL_PARTS = Shortcut("attention of rows by parts of the queries")

_CLOSE = 1e-5  # of numbers of size 1: what rounding in another order does, with room

_NAME = "sdpa"  # of attention by torch's kernels, in transformers' table

_PART = 64  # queries: products of fewer are too small, and more of what is computed is not seen
_LONGEST = 6 * _PART
_ROWS = range(2 * _PART + 1, _LONGEST + 1)  # tokens: in shorter ones the parts see nearly the whole square
_SIZE = 64  # of a head, at least: of narrower ones there are more for as wide a model, each with its square

# Arguments that are known here. Of any other that transformers' function has, only None says nothing.
_KNOWN = {"module", "query", "key", "value", "attention_mask", "dropout", "scaling", "is_causal", "kwargs"}
_UNKNOWN = {"softcap", *inspect.signature(sdpa_attention_forward).parameters} - _KNOWN


def quicken_attention() -> None:
    """From now on, in this process, let networks that attend by torch's kernels attend by parts where they
    can. A function that somebody else put there stays, or one that gives other numbers."""
    if ALL_ATTENTION_FUNCTIONS[_NAME] is sdpa_attention_forward and _is_known():
        AttentionInterface.register(_NAME, attention)


@cache
@torch.enable_grad()
def _is_known() -> bool:
    """Whether of short rows transformers' function gives what the one below gives: values and gradients."""
    with _disable_current_modes():  # in a rehearsal numbers would be none
        module: Any = nn.Module()
        module.num_key_value_groups, module.is_causal = 2, True
        q, k, v = (
            torch.arange(2 * heads * _ROWS[0] * _SIZE)
            .mul(s)
            .sin()
            .reshape(2, heads, -1, _SIZE)
            .requires_grad_()
            for heads, s in ((4, 0.7), (2, 0.9), (2, 0.3))
        )
        found = []
        for y in (_Causal.apply(q, k, v, 0.1), sdpa_attention_forward(module, q, k, v, None, scaling=0.1)[0]):
            found.append([y, *torch.autograd.grad(y.square().sum(), (q, k, v))])
        return all(torch.allclose(a, b, atol=_CLOSE) for a, b in zip(*found, strict=True))


def heaviest(length: int) -> tuple[int, ...]:
    """Which rows up to this length may keep most in training: the longest of all, and of those by parts."""
    return (length, _LONGEST) if CAUSAL_PARTS.on and length > _LONGEST else (length,)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """In the place of transformers' function of torch's kernels, which see: (b, L, heads, e).

    Args:
        query: (b, heads, L, d). `key`, `value`: (b, groups, L, d) and (b, groups, L, e).
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    plain = attention_mask is None and not dropout and causal
    if plain and _fits(query, key, value) and all(settings.get(name) is None for name in _UNKNOWN):
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return _Causal.apply(query, key, value, scale), None
    settings |= {"dropout": dropout, "scaling": scaling, "is_causal": is_causal}
    return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)


def _fits(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether these are whole rows in full precision on a CPU, short enough, and a gradient is taken."""
    if not (CAUSAL_PARTS.on and torch.is_grad_enabled() and query.device.type == "cpu"):
        return False
    if torch.is_autocast_enabled("cpu"):
        return False  # it would round what goes into the products
    trained = any(x.requires_grad for x in (query, key, value))
    exact = {query.dtype, key.dtype, value.dtype} <= {torch.float32, torch.float64}
    _, heads, length, size = query.shape
    whole = length == key.shape[2] and heads % key.shape[1] == 0
    return trained and exact and whole and length in _ROWS and size >= _SIZE


class _Causal(torch.autograd.Function):
    """softmax(s·Q·Kᵀ)·V, where a query sees the keys up to its own, for gradients of all three."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        rows, heads, length, _ = query.shape
        groups = key.shape[1]
        shape = (rows, groups, heads // groups)  # of the heads: groups of them share keys
        keys, values = key.flatten(0, 1), value.flatten(0, 1)  # (B, L, d) and (B, L, e)
        y = query.new_empty(rows, length, heads, value.shape[-1])
        kept = []
        for start, end in _parts(length):
            q = _part(query.transpose(1, 2), start, end, shape).mul_(scale)  # (B, n, d)
            p = torch.bmm(q, keys[:, :end].mT)  # (B, n, end)
            _hide_later(p.view(len(p), shape[2], end - start, end))
            p = torch.softmax(p, dim=-1)
            _put(y, torch.bmm(p, values[:, :end]), start, end, shape)
            kept += [q, p]
        ctx.save_for_backward(keys, values, y, *kept)
        ctx.scale, ctx.shape = scale, shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        keys, values, y, *kept = ctx.saved_tensors
        shape, length = ctx.shape, y.shape[1]
        for_query = y.new_empty(*y.shape[:3], keys.shape[-1])
        for_keys, for_values = torch.zeros_like(keys), torch.zeros_like(values)
        means = (gradient * y).sum(dim=-1, keepdim=True)  # of a query's slopes, by its probabilities
        for (start, end), q, p in zip(_parts(length), kept[::2], kept[1::2], strict=True):
            g = _part(gradient, start, end, shape)  # (B, n, e)
            for_values[:, :end] += torch.bmm(p.mT, g)
            slopes = torch.bmm(g, values[:, :end].mT).sub_(_part(means, start, end, shape)).mul_(p)
            for_keys[:, :end] += torch.bmm(slopes.mT, q)
            _put(for_query, torch.bmm(slopes, keys[:, :end]).mul_(ctx.scale), start, end, shape)
        pairs = (x.unflatten(0, shape[:2]) for x in (for_keys, for_values))
        return for_query.transpose(1, 2), *pairs, None


def _parts(length: int) -> Iterator[tuple[int, int]]:
    """Where parts of the queries start and end."""
    for start in range(0, length, _PART):
        yield start, min(start + _PART, length)


def _part(x: Tensor, start: int, end: int, shape: tuple[int, int, int]) -> Tensor:
    """A copy of some tokens of (rows, L, heads, d): (B, n, d), with B = rows·groups and, one behind the
    other, the n tokens of all heads of a group."""
    grouped = x[:, start:end].unflatten(2, shape[1:]).permute(0, 2, 3, 1, 4)
    return grouped.clone(memory_format=torch.contiguous_format).flatten(0, 1).flatten(1, 2)


def _put(x: Tensor, part: Tensor, start: int, end: int, shape: tuple[int, int, int]) -> None:
    """The way back of `_part`."""
    part = part.view(*shape, end - start, -1)
    x[:, start:end].unflatten(2, shape[1:]).copy_(part.permute(0, 3, 1, 2, 4))


def _hide_later(scores: Tensor) -> None:
    """Of n queries (..., n, L) the scores with the keys behind their own; theirs are the last n."""
    n = scores.shape[-2]
    later = torch.ones(n, n, dtype=torch.bool, device=scores.device).triu_(1)
    scores[..., -n:].masked_fill_(later, -math.inf)
