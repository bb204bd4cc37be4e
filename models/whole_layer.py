"""A layer of Llama's form as one function, in training in full precision on a CPU.

    x ← x + Wo · attention(turn(Wq·n(x)), turn(Wk·n(x)), Wv·n(x))      n: a norm, turn: rotary positions
    x ← x + Wd · (silu(Wg·n(x)) · Wu·n(x))                             each W with its adapter, if it has one

The parts of a layer have short ways of their own; between them lie modules, nodes of autograd, and what each
part keeps for itself. Here the gradient of the whole is written out, of the same functions: what the norms
give and the product of the gate are not kept but made again, by a multiplication or two, and heads are turned
to where attention reads them. Of SmolLM2-135M an update takes 0.97 of the time, and a micro-batch keeps 0.7.

A layer stays the module it was: its class gets another way through it. Which layers it suits is seen from
their parts, and tried, once for each kind, when the first of them trains: on numbers, values and gradients.
"""

import copy
import logging
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu
from torch.utils._python_dispatch import _disable_current_modes

from models import rms_norm, swiglu
from models.causal_attention import CAUSAL_PARTS, attend, by_groups, by_tokens, is_by_parts, slopes_of
from models.errors import MISFIT, out_of_memory
from models.low_rank import LOW_RANK, LowRankLinear, Weights, gradients, through
from models.rms_norm import RMS_NORM, normed, slope
from models.rotary import ROTARY, turn
from models.short_steps import has_form
from models.shortcuts import Shortcut
from models.swiglu import SWIGLU

WHOLE_LAYER = Shortcut("layers as one function in training")

_OTHERS = RMS_NORM, ROTARY, SWIGLU, CAUSAL_PARTS, LOW_RANK  # whoever turns one off wants that part's own way

_CLOSE = 1e-4  # of a result's size: what rounding in another order does, with room

_TRIAL = (2, 40)  # texts and tokens: more than one part of the queries


def quicken_layers(network: Any) -> None:
    """Let the layers of a network go the short way, where they are of its form; others stay as they are."""
    if has_form(network):
        for layer in network.get_decoder().layers:
            if not isinstance(layer, _Quick) and _has_parts(layer):
                kind: Any = type(layer)
                layer.__class__ = _quick_class(kind)


def unknown_layers(network: Any) -> list[str]:
    """Class names of layers of Llama's form that have more in them than is known here."""
    layers = network.get_decoder().layers if has_form(network) else []
    return sorted({type(layer).__name__ for layer in layers if not isinstance(layer, _Quick)})


def _has_parts(layer: Any) -> bool:
    norms = layer.input_layernorm, layer.post_attention_layernorm
    return (
        all(rms_norm.is_quick(norm) for norm in norms)
        and swiglu.is_quick(layer.mlp)
        and not hasattr(layer.self_attn, "q_norm")
        and all(hasattr(layer.self_attn, name) for name in ("head_dim", "scaling"))
    )


class _Layer(NamedTuple):
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


class _Quick:
    """Before a layer's own class: the short way."""

    input_layernorm: Any
    self_attn: Any
    post_attention_layernorm: Any
    mlp: Any

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """(b, L, H) to the same; what does not fit, or is called in another way, goes the class's own."""
        layer = None if args else self._fitted(hidden_states, **kwargs)
        if layer is None or not _is_known(self):
            return super().forward(hidden_states, *args, **kwargs)  # type: ignore[misc]
        return _Whole.apply(hidden_states, layer, *layer.adapters())

    def _fitted(
        self,
        x: Tensor,
        *,
        position_embeddings: Any = None,
        position_ids: Any = None,  # cosines and sines have them
        **more: Any,
    ) -> _Layer | None:
        """None where these are no whole rows in full precision on a CPU, or a part is not as it was."""
        wanted = WHOLE_LAYER.on and all(shortcut.on for shortcut in _OTHERS) and torch.is_grad_enabled()
        if not wanted or any(value is not None and value is not False for value in more.values()):
            return None  # a mask, a cache
        exact = x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled(x.device.type)
        if not exact or x.device.type != "cpu" or x.dim() != 3 or position_embeddings is None:
            return None
        attention, mlp = self.self_attn, self.mlp
        named = {
            "before": self.input_layernorm,
            "q": attention.q_proj,
            "k": attention.k_proj,
            "v": attention.v_proj,
            "o": attention.o_proj,
            "between": self.post_attention_layernorm,
            "gate": mlp.gate_proj,
            "up": mlp.up_proj,
            "down": mlp.down_proj,
        }
        if any(map(_is_changed, (attention, mlp, *named.values()))) or not is_by_parts(attention, x.shape[1]):
            return None
        parts = {name: _weights(part, x.flatten(0, 1)) for name, part in named.items()}
        cos, sin = (angles[:, :, None, None] for angles in position_embeddings)
        alike = cos.dtype == sin.dtype == x.dtype and cos.shape[-1] == attention.head_dim
        if not alike or any(part is None for part in parts.values()):
            return None
        layer = _Layer(**parts, cos=cos, sin=sin, scale=attention.scaling, shape=x.shape)
        trained = any(matrix is not None and matrix.requires_grad for matrix in (x, *layer.adapters()))
        return layer if trained else None


def _is_changed(part: nn.Module) -> bool:
    """Whether somebody gave a part another way (as models/last_layer.py does), or listens to it."""
    hooks = part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks
    return "forward" in vars(part) or any(hooks)


def _weights(part: Any, rows: Tensor) -> Any:
    """Of a linear layer its weights for rows (N, in), a norm itself; None where a gradient of what is frozen
    here is taken, or an adapter has ways of its own."""
    if isinstance(part, LowRankLinear):
        fits = not part.merged and not part.disable_adapters and part.fits(rows.dtype, mixed=False)
        return part.weights(rows) if fits else None
    if any(p.requires_grad or p.dtype != rows.dtype for p in part.parameters()):
        return None
    if rms_norm.is_quick(part):
        return part
    return Weights(part.weight, part.bias) if type(part) is nn.Linear else None


class _Whole(torch.autograd.Function):
    """The layer's two lines, for gradients of what goes in and of every adapter's A and B."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: _Layer, *adapters: Tensor | None) -> Tensor:
        middle, attended = _attention(layer, x.flatten(0, 1))
        y, fed = _feed_forward(layer, middle)
        ctx.save_for_backward(*adapters, *fed, *attended)  # adapters so that a change of them is seen
        ctx.layer, ctx.adapters = layer, len(adapters)
        return y.view(layer.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        kept = ctx.saved_tensors[ctx.adapters :]
        g, for_fed = _feed_forward_back(ctx.layer, g.flatten(0, 1), *kept[:4])
        for_x, for_attended = _attention_back(ctx.layer, g, *kept[4:], of_x=ctx.needs_input_grad[0])
        return None if for_x is None else for_x.view(ctx.layer.shape), None, *for_attended, *for_fed


def _attention(layer: _Layer, x: Tensor) -> tuple[Tensor, list[Tensor]]:
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
    layer: _Layer,
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


def _feed_forward(layer: _Layer, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The second line, and what its gradient needs."""
    n, scale = normed(x, layer.between)
    gate, up = through(n, layer.gate)[0], through(n, layer.up)[0]
    return through(silu(gate).mul_(up), layer.down)[0].add_(x), [x, scale, gate, up]


def _feed_forward_back(
    layer: _Layer, g: Tensor, x: Tensor, scale: Tensor, gate: Tensor, up: Tensor
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


@cache
def _quick_class(kind: type) -> type:
    return type(kind.__name__, (_Quick, kind), {})


_FOUND: dict[tuple[Any, ...], bool] = {}


def _is_known(layer: Any) -> bool:
    """Whether a layer calculates the two lines and nothing besides: tried on a copy with other numbers.

    What is found holds for all layers of its class with its settings; their number is none.
    """
    held = [*vars(layer).items(), *vars(layer.self_attn).items()]
    settings = [(n, v) for n, v in held if isinstance(v, (int, float, str, type(None))) and n != "layer_idx"]
    key = (type(layer), *settings)
    if key not in _FOUND:
        _FOUND[key] = True  # for the copy
        with _disable_current_modes():  # in a rehearsal numbers would be none
            _FOUND[key] = _try(layer)
        if not _FOUND[key]:
            name = type(layer).__name__
            logging.getLogger(__name__).info("%s trains part by part: it does more than is known", name)
    return _FOUND[key]


@torch.enable_grad()
def _try(example: Any) -> bool:
    attention = example.self_attn
    numbers = torch.Generator().manual_seed(0)

    def drawn(like: Tensor) -> Tensor:
        """As large as a weight's numbers have to be for states of size 1."""
        return torch.randn(like.shape, generator=numbers, dtype=like.dtype) / max(1, like.shape[-1]) ** 0.5

    tensors: dict[int, Any] = {
        id(p): nn.Parameter(drawn(p), requires_grad=p.requires_grad) for p in example.parameters()
    }
    layer = copy.deepcopy(example, tensors | {id(attention.config): attention.config})
    weight = layer.input_layernorm.weight
    x = torch.randn(*_TRIAL, len(weight), generator=numbers, dtype=weight.dtype).requires_grad_()
    angles = torch.randn(2, 1, _TRIAL[1], attention.head_dim, generator=numbers, dtype=weight.dtype)
    trained = [x, *(p for p in layer.parameters() if p.requires_grad)]

    def outcome() -> list[Tensor]:
        y = layer(x, attention_mask=None, position_embeddings=(angles[0], angles[1]))
        return [y.detach(), *torch.autograd.grad(y.square().sum(), trained)]

    try:
        # Under hooks of its own: whoever recomputes activations around the layer must not count the trial's.
        with torch.autograd.graph.saved_tensors_hooks(lambda kept: kept, lambda kept: kept):
            found = outcome()
            with WHOLE_LAYER.off():
                expected = outcome()
    except MISFIT as error:
        if out_of_memory(error):
            raise
        return False  # it wants to be called in another way
    return all((a - b).norm() <= _CLOSE * b.norm() for a, b in zip(found, expected, strict=True))
