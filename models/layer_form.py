"""Which layers train as one function (models/whole_layer.py): of Llama's form, on a CPU, in full precision.

A layer stays the module it was: its class gets another way through it. Whether that is its own is seen from
its parts, and tried, once for each kind, when the first of them trains: on numbers, values and gradients. And
at every call it is seen whether all is as the function has it: rows without masks or a cache, frozen weights,
parts that nobody has given another way or listens to.
"""

import copy
import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake

from models import rms_norm, swiglu
from models.causal_attention import CAUSAL_PARTS, is_by_parts
from models.errors import MISFIT, out_of_memory
from models.low_rank import LOW_RANK, LowRankLinear, Weights
from models.rms_norm import RMS_NORM
from models.rotary import ROTARY
from models.short_steps import has_form
from models.shortcuts import Shortcut
from models.swiglu import SWIGLU
from models.whole_layer import Layer, WholeLayer

WHOLE_LAYER = Shortcut("layers as one function in training")

_OTHERS = RMS_NORM, ROTARY, SWIGLU, CAUSAL_PARTS, LOW_RANK  # whoever turns one off wants that part's own way

_CLOSE = 1e-4  # of a result's size: what rounding in another order does, with room

# What a decoder hands on besides, and says nothing if it is False.
_SILENT = {"use_cache", "output_attentions", "output_hidden_states"}

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
        # Rows out: into a view that a function returns a caller may not write.
        y = WholeLayer.apply(hidden_states, layer, *layer.adapters())
        return y.view(hidden_states.shape)

    def _fitted(
        self,
        x: Tensor,
        *,
        position_embeddings: Any = None,
        position_ids: Any = None,  # cosines and sines have them
        **more: Any,
    ) -> Layer | None:
        """None where these are no whole rows, nothing is trained, or a part is not as it was."""
        silent = all(value is None or (value is False and name in _SILENT) for name, value in more.items())
        attention, parts = self.self_attn, _parts(self)
        if not (silent and _is_wanted(x) and _are_angles(position_embeddings, x)):
            return None
        cos, sin = (angles[:, :, None, None] for angles in position_embeddings)
        whole = cos.shape[-1] == attention.head_dim
        as_it_was = not any(map(_is_changed, (attention, self.mlp, *parts.values())))
        if not (whole and as_it_was and is_by_parts(attention, x.shape[1])):
            return None
        known = {name: _weights(part, x.flatten(0, 1)) for name, part in parts.items()}
        if any(part is None for part in known.values()):
            return None
        layer = Layer(**known, cos=cos, sin=sin, scale=attention.scaling, shape=x.shape)
        trained = any(matrix is not None and matrix.requires_grad for matrix in (x, *layer.adapters()))
        return layer if trained else None


def _are_angles(given: Any, x: Tensor) -> bool:
    """Whether these are cosines and sines, (b or 1, L, d), in the format of x and not trained."""
    pair = type(given) is tuple and len(given) == 2 and all(isinstance(angles, Tensor) for angles in given)
    return pair and all(a.dim() == 3 and a.dtype == x.dtype and not a.requires_grad for a in given)


def _is_wanted(x: Tensor) -> bool:
    """Whether a gradient is taken, in full precision, on a CPU, and no short way is off."""
    if not (torch.is_grad_enabled() and WHOLE_LAYER.on and all(shortcut.on for shortcut in _OTHERS)):
        return False
    exact = x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled(x.device.type)
    return exact and x.device.type == "cpu" and x.dim() == 3


def _parts(layer: Any) -> dict[str, nn.Module]:
    """A layer's norms and linear layers, by their names in `Layer`."""
    attention, mlp = layer.self_attn, layer.mlp
    return {
        "before": layer.input_layernorm,
        "q": attention.q_proj,
        "k": attention.k_proj,
        "v": attention.v_proj,
        "o": attention.o_proj,
        "between": layer.post_attention_layernorm,
        "gate": mlp.gate_proj,
        "up": mlp.up_proj,
        "down": mlp.down_proj,
    }


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
    if is_fake(layer.input_layernorm.weight):
        return True  # in a rehearsal there are no numbers to try
    if key not in _FOUND:
        _FOUND[key] = True  # for the copy
        try:
            _FOUND[key] = _try(layer)
        except BaseException:
            del _FOUND[key]
            raise
        if not _FOUND[key]:
            name = type(layer).__name__
            logging.getLogger(__name__).warning("%s trains part by part: it does more than is known", name)
    return _FOUND[key]


@torch.enable_grad()
def _try(example: Any) -> bool:
    attention = example.self_attn
    numbers = torch.Generator().manual_seed(0)

    def drawn(like: Tensor) -> Tensor:
        """Such that all that is calculated is of size 1: a softmax far from even shows where tokens are."""
        made = torch.randn(like.shape, generator=numbers, dtype=like.dtype)
        return made / like.shape[-1] ** 0.5 if like.dim() > 1 else made

    tensors: dict[int, Any] = {
        id(p): nn.Parameter(drawn(p), requires_grad=p.requires_grad) for p in example.parameters()
    }
    layer = copy.deepcopy(example, tensors | {id(attention.config): attention.config})
    weight = layer.input_layernorm.weight
    x = torch.randn(*_TRIAL, len(weight), generator=numbers, dtype=weight.dtype).requires_grad_()
    angles = torch.randn(2, 1, _TRIAL[1], attention.head_dim, generator=numbers, dtype=weight.dtype)
    trained = [x, *(p for p in layer.parameters() if p.requires_grad)]

    def outcome() -> list[Tensor]:
        y = layer.forward(x, attention_mask=None, position_embeddings=(angles[0], angles[1]))
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
