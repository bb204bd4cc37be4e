"""Attention of rows without masks in training: the queries by parts, each with the keys that it sees.

On a CPU torch's kernel goes through the keys in pieces of 512, so of shorter rows it computes the whole
square of scores, half of which causal attention does not see, and does so again in the backward pass. Here a
part of the queries is multiplied with the keys up to its own last token, all heads that share keys in one
product, and the probabilities are kept. Attention takes three quarters of the time on an AMD EPYC, and an
update of a Llama of 256 x 4 with rows of 255 tokens 0.96.

What is kept grows with the square of the length, up to a fifth of a micro-batch's activations. So longer rows
go torch's way; and so do passes without gradients, which are no faster here.
"""

import inspect
import math
from collections.abc import Iterator, Sequence
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

_PART = 32  # queries: of more, more is computed that is not seen; products of fewer are too small
_LONGEST = 384
_ROWS = range(129, _LONGEST + 1)  # tokens: in shorter rows there is little to be left out
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


def is_by_parts(module: Any, length: int) -> bool:
    """Whether in a network's attention rows up to this length may go by parts."""
    plain = getattr(module, "is_causal", True) and module.head_dim >= _SIZE and length <= _LONGEST
    return plain and ALL_ATTENTION_FUNCTIONS.get(module.config._attn_implementation) is attention


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
        rows, groups = key.shape[:2]
        q = by_groups(query.transpose(1, 2), groups) * scale
        keys, values = key.flatten(0, 1), value.flatten(0, 1)  # (B, L, d) and (B, L, e)
        y, kept = attend(q, keys, values)
        y = by_tokens(y, rows, key.shape[2])
        ctx.save_for_backward(q, keys, values, y, *kept)
        ctx.scale = scale
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, keys, values, y, *kept = ctx.saved_tensors
        rows, length = y.shape[:2]
        means = torch.linalg.vecdot(gradient, y)[..., None]
        g, means = (by_groups(each, len(keys) // rows) for each in (gradient, means))
        for_q, *others = slopes_of(g, means, q, keys, values, kept)
        for_query = by_tokens(for_q.mul_(ctx.scale), rows, length)
        for_keys, for_values = (x.unflatten(0, (rows, -1)) for x in others)
        return for_query.transpose(1, 2), for_keys, for_values, None


def attend(q: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What queries see, (B, L·n, e), and the probabilities of each part of them.

    Args:
        q: (B, L·n, d), scaled: of each token, one behind the other, the n heads that share keys.
        keys: (B, L, d). `values`: (B, L, e).
    """
    heads = q.shape[1] // keys.shape[1]
    y, kept = q.new_empty(*q.shape[:2], values.shape[-1]), []
    for start, end in _parts(keys.shape[1]):
        part = slice(start * heads, end * heads)
        scores = torch.bmm(q[:, part], keys[:, :end].mT)  # (B, of the part, end)
        _hide_later(scores.unflatten(1, (end - start, heads)))
        kept.append(torch.softmax(scores, dim=-1))
        torch.bmm(kept[-1], values[:, :end], out=y[:, part])
    return y, kept


def slopes_of(
    g: Tensor, means: Tensor, q: Tensor, keys: Tensor, values: Tensor, kept: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `attend`'s arguments, given that of what it gave, (B, L·n, e).

    `means`: of each query's slopes by its probabilities, (B, L·n, 1): the sum of g · y.
    """
    heads = q.shape[1] // keys.shape[1]
    for_q, for_keys, for_values = torch.empty_like(q), torch.zeros_like(keys), torch.zeros_like(values)
    for (start, end), p in zip(_parts(keys.shape[1]), kept, strict=True):
        part = slice(start * heads, end * heads)
        for_values[:, :end].baddbmm_(p.mT, g[:, part])
        slopes = torch.bmm(g[:, part], values[:, :end].mT).sub_(means[:, part]).mul_(p)
        for_keys[:, :end].baddbmm_(slopes.mT, q[:, part])
        torch.bmm(slopes, keys[:, :end], out=for_q[:, part])
    return for_q, for_keys, for_values


def by_groups(x: Tensor, groups: int) -> Tensor:
    """Heads (rows, L, heads, d) as `attend` takes them: (rows·groups, L·n, d), not to be written into."""
    return x.unflatten(2, (groups, -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def by_tokens(x: Tensor, rows: int, length: int) -> Tensor:
    """The way back: (rows, L, heads, d)."""
    return x.view(rows, -1, length, x.shape[1] // length, x.shape[2]).transpose(1, 2).flatten(2, 3)


def _parts(length: int) -> Iterator[tuple[int, int]]:
    """Where parts of the queries start and end."""
    for start in range(0, length, _PART):
        yield start, min(start + _PART, length)


def _hide_later(scores: Tensor) -> None:
    """Of m queries, of n heads each, (B, m, n, L) the scores with the keys behind their own; theirs are the
    last m."""
    m = scores.shape[1]
    later = torch.ones(m, m, dtype=torch.bool, device=scores.device).triu_(1)
    scores[..., -m:].masked_fill_(later[:, None], -math.inf)
