"""A layer of Llama's form as one function, with its gradient written out.

    x ← x + Wo · attention(turn(Wq·n(x)), turn(Wk·n(x)), Wv·n(x))      n: a norm, turn: rotary positions
    x ← x + Wd · (silu(Wg·n(x)) · Wu·n(x))                             each W with its adapter, if it has one

The parts of a layer have short ways of their own; between them lie modules, nodes of autograd, and what each
part keeps for itself. Here the whole is made of the same functions: what the norms give and the product of
the gate are not kept but made again, by a multiplication or two, and heads are turned to where attention
reads them. Of SmolLM2-135M an update takes 0.97 of the time, and a micro-batch keeps 0.7 of the memory.

Which layers go this way is decided in models/layer_form.py.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from models.causal_attention import attend, by_groups, by_tokens, slopes_of
from models.low_rank import Weights, gradients, through
from models.rms_norm import normed, slope
from models.rotary import turn


class Layer(NamedTuple):
    """What a layer calculates with."""

    before: Any
    q: Weights
    k: Weights
    v: Weights
    o: Weights
    between: Any
    gate: Weights
    up: Weights
    down: Weights
    cos: Tensor
    """(b or 1, L, 1, 1, d)"""
    sin: Tensor
    scale: float
    """Of the scores"""
    shape: torch.Size
    """Of what goes in: (b, L, H)"""

    def adapters(self) -> list[Tensor | None]:
        """A and B of each linear layer, in order; None where there is no adapter."""
        return [matrix for part in self if isinstance(part, Weights) for matrix in (part.a, part.b)]


class WholeLayer(torch.autograd.Function):
    """The layer's two lines, (b, L, H) to (N, H), for gradients of what goes in and of the adapters."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Layer, *adapters: Tensor | None) -> Tensor:
        middle, attended = _attention(layer, x.flatten(0, 1))
        y, fed = _feed_forward(layer, middle)
        ctx.save_for_backward(*adapters, *fed, *attended)  # adapters so that a change of them is seen
        ctx.layer, ctx.adapters = layer, len(adapters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        kept = ctx.saved_tensors[ctx.adapters :]
        g, for_fed = _feed_forward_back(ctx.layer, g, *kept[:4])
        for_x, for_attended = _attention_back(ctx.layer, g, *kept[4:], of_x=ctx.needs_input_grad[0])
        return None if for_x is None else for_x.view(ctx.layer.shape), None, *for_attended, *for_fed


def _attention(layer: Layer, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The first line of (N, H), N = b·L tokens, and what its gradient needs."""
    n, scale = normed(x, layer.before)
    heads = (*layer.shape[:2], -1, layer.cos.shape[-1])
    q, k, v = (through(n, weights)[0].view(heads) for weights in (layer.q, layer.k, layer.v))
    groups = k.shape[2]
    q = _turned(q, groups, layer.cos * layer.scale, layer.sin * layer.scale)
    keys, values = _turned(k, groups, layer.cos, layer.sin), by_groups(v, groups)
    y, probabilities = attend(q, keys, values)
    seen = by_tokens(y, *layer.shape[:2]).flatten(0, 1).flatten(1)
    return through(seen, layer.o)[0].add_(x), [x, scale, q, keys, values, seen, *probabilities]


def _attention_back(
    layer: Layer,
    g: Tensor,
    x: Tensor,
    scale: Tensor,
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    seen: Tensor,
    *probabilities: Tensor,
    of_x: bool,
) -> tuple[Tensor | None, list[Tensor | None]]:
    """The gradient of what went in, unless it is not asked for, and those of A and B in order."""
    rows, length = layer.shape[:2]
    for_seen, *for_o = gradients(g, seen, None, layer.o)
    heads = (rows, length, -1, values.shape[-1])
    means = torch.linalg.vecdot(for_seen.view(heads), seen.view(heads))[..., None]
    for_seen, means = (by_groups(each, len(keys) // rows) for each in (for_seen.view(heads), means))
    for_q, for_k, for_v = slopes_of(for_seen, means, q, keys, values, probabilities)
    outer = (
        (layer.q, _turned_back(for_q, layer.shape, layer.cos * layer.scale, layer.sin * layer.scale)),
        (layer.k, _turned_back(for_k, layer.shape, layer.cos, layer.sin)),
        (layer.v, by_tokens(for_v, rows, length).flatten(0, 1).flatten(1)),
    )
    n = normed(x, layer.before, scale)[0]
    each = [gradients(slopes, n, None, weights, of_x=of_x) for weights, slopes in outer]
    for_adapters = [matrix for _, *of_adapter in each for matrix in of_adapter]
    if not of_x:
        return None, [*for_adapters, *for_o]
    for_n = each[0][0].add_(each[1][0]).add_(each[2][0])
    return slope(for_n, x, scale, layer.before).add_(g), [*for_adapters, *for_o]


def _feed_forward(layer: Layer, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The second line, and what its gradient needs."""
    n, scale = normed(x, layer.between)
    gate, up = through(n, layer.gate)[0], through(n, layer.up)[0]
    return through(silu(gate).mul_(up), layer.down)[0].add_(x), [x, scale, gate, up]


def _feed_forward_back(
    layer: Layer, g: Tensor, x: Tensor, scale: Tensor, gate: Tensor, up: Tensor
) -> tuple[Tensor, list[Tensor | None]]:
    """The gradient of what went in, and those of A and B in order."""
    opened = silu(gate)
    for_product, *for_down = gradients(g, opened * up, None, layer.down)
    n = normed(x, layer.between, scale)[0]
    for_n, *for_up = gradients(opened.mul_(for_product), n, None, layer.up)
    slopes = torch.ops.aten.silu_backward(for_product.mul_(up), gate)
    more, *for_gate = gradients(slopes, n, None, layer.gate)
    return slope(for_n.add_(more), x, scale, layer.between).add_(g), [*for_gate, *for_up, *for_down]


def _turned(x: Tensor, groups: int, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads (b, L, heads, d), turned, as `attend` takes them."""
    x = x.unflatten(2, (groups, -1))  # (b, L, groups, n, d)
    y = x.new_empty(len(x), groups, x.shape[1], *x.shape[3:])
    turn(x, cos, sin, out=y.transpose(1, 2))
    return y.flatten(2, 3).flatten(0, 1)


def _turned_back(g: Tensor, shape: torch.Size, cos: Tensor, sin: Tensor) -> Tensor:
    """The way back of a gradient: (N, heads·d)."""
    rows, length, _ = shape
    g = g.view(rows, -1, length, g.shape[1] // length, g.shape[2]).transpose(1, 2)
    y = g.new_empty(g.shape)
    return turn(g, cos, sin, back=True, out=y).flatten(0, 1).flatten(1)
