"""A step of decoding as one function, for networks of Llama's form.

    x ← x + Wo · attention(turn(Wq·n(x)), keys, values)      n: a norm, turn: rotary positions
    x ← x + Wd · (act(Wg·n(x)) · Wu·n(x))                    in each layer

At one token of each text the arithmetic of a step takes less time than the way to it: the mask that
transformers makes anew at every step, its modules around modules, and tensors of four dimensions that are
turned and sliced. Here a step is the arithmetic alone, on the network's own layers, norms and cache, and the
heads that share keys and values are the rows of one product (models/step_attention.py). The rollout of a
Llama of 256 x 4 takes 0.84 of the time, that of SmolLM2-135M 0.85.

Which networks are of this form is seen from the names of their parts, and then tried, once, at load
(models/decoding.py): what a network does besides shows in its states, or is named here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from models.last_layer import reading
from models.reader import Reader
from models.rms_norm import few_tokens
from models.shortcuts import Shortcut

SHORT_STEPS = Shortcut("steps of decoding as one function")

Call = Callable[[Tensor], Tensor]

# The parts of a decoder, of a layer and of what is in a layer; an attention may have both of two norms.
_DECODER = {"embed_tokens", "layers", "norm", "rotary_emb"}
_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
_NORMS = {"q_norm", "k_norm"}
_MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}

# Settings that bound what is large: of small numbers, as a trial may have, they change nothing that shows.
_BOUNDS = ("clip_qkv", "attn_logit_softcapping")


def has_form(network: Any) -> bool:
    """Whether a causal language model has the parts that a step goes through, and no others."""
    decoder, config = network.get_decoder(), network.config.get_text_config()
    bounded = any(getattr(config, key, None) is not None for key in _BOUNDS)
    return not bounded and _parts(decoder) == _DECODER and all(map(_is_known, decoder.layers))


def _is_known(layer: Any) -> bool:
    return (
        _parts(layer) == _LAYER
        and _parts(layer.self_attn) in (_ATTENTION, _ATTENTION | _NORMS)
        and _parts(layer.mlp) == _MLP
    )


def _parts(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}


class _Layer(NamedTuple):
    """What a step calls in one layer: looked up once, and without the ways of modules around it."""

    before: Call
    q: Call
    k: Call
    v: Call
    q_norm: Call
    k_norm: Call
    o: Call
    between: Call
    gate: Call
    act: Call
    up: Call
    down: Call
    size: int
    """Of a head"""
    scale: float
    """Of the scores"""


def _looked_up(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return _Layer(
        before=few_tokens(layer.input_layernorm),
        q=attention.q_proj.forward,
        k=attention.k_proj.forward,
        v=attention.v_proj.forward,
        q_norm=few_tokens(getattr(attention, "q_norm", nn.Identity())),
        k_norm=few_tokens(getattr(attention, "k_norm", nn.Identity())),
        o=attention.o_proj.forward,
        between=few_tokens(layer.post_attention_layernorm),
        gate=mlp.gate_proj.forward,
        act=mlp.act_fn.forward,
        up=mlp.up_proj.forward,
        down=mlp.down_proj.forward,
        size=attention.head_dim,
        scale=attention.scaling,
    )


class ShortReader(Reader):
    """A reader whose steps are short. Prompts go through the model's own layers, as by `Reader`; in the last
    their last tokens alone go further than its keys and values.

    It is of use while the network's layers are what they were when it started: in one rollout.
    """

    def start(self, prompt_ids: Tensor, prompt_mask: Tensor) -> Tensor:
        """As `Reader.start`."""
        states = super().start(prompt_ids, prompt_mask)
        self._layers = [_looked_up(layer) for layer in self._decoder.layers]
        self._norm = few_tokens(self._decoder.norm)
        self._blocked: Tensor | None = None  # (b, 1, 1, P + T), added to the scores
        if not self._mask.all():
            blocked = torch.zeros_like(self._mask, dtype=states.dtype)
            blocked.masked_fill_(self._mask == 0, torch.finfo(states.dtype).min)
            self._blocked = blocked[:, None, None]
        return states

    def step(self, tokens: Tensor) -> Tensor:
        """As `Reader.step`."""
        self._length += 1
        for place in self._last.values():
            place += 1
        x = self._decoder.embed_tokens(tokens)  # (b, H)
        cos, sin = self._decoder.rotary_emb(x, **self._last)  # (b, 1, d)
        first = sin.shape[-1] // 2
        turn = cos, torch.cat([-sin[..., :first], sin[..., first:]], dim=-1)
        blocked = None if self._blocked is None else self._blocked[..., : self._length]
        for layer, cache in zip(self._layers, self._cache.layers, strict=True):
            x += _attention(layer, layer.before(x), turn, cache, blocked)
            y = layer.between(x)
            x += layer.down(layer.act(layer.gate(y)).mul_(layer.up(y)))
        return self._norm(x)

    def _read(self, ids: Tensor, mask: Tensor, placed: dict[str, Tensor]) -> Tensor:
        rows, length = ids.shape
        with reading(self._network, length * torch.arange(1, rows + 1) - 1, ids.numel()):
            return super()._read(ids, mask, placed)

    def keep(self, rows: Tensor) -> None:
        """As `Reader.keep`."""
        super().keep(rows)
        if self._blocked is not None:
            self._blocked = self._blocked[rows]


def _attention(
    layer: _Layer, x: Tensor, turn: tuple[Tensor, Tensor], cache: Any, blocked: Tensor | None
) -> Tensor:
    """What an attention makes of one token of each text, (b, H), and of L tokens in its cache, this included.

    `turn`: (b, 1, d) cosines and sines, these negative in the first half. `blocked`: (b, 1, 1, L).
    """
    rows, size = x.shape[0], layer.size
    q, k, v = (project(x).view(rows, -1, size) for project in (layer.q, layer.k, layer.v))  # (b, heads, d)
    q, k = _turned(layer.q_norm(q), *turn), _turned(layer.k_norm(k), *turn)
    keys, values = cache.update(k[:, :, None], v[:, :, None])  # (b, groups, L, d)
    grouped = q.view(rows, keys.shape[1], -1, size)
    seen = scaled_dot_product_attention(grouped, keys, values, blocked, scale=layer.scale)
    return layer.o(seen.reshape(rows, -1))


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads (b, heads, d) turned by their angles: models/rotary.py, for one token of each text."""
    return (x * cos).addcmul_(x.roll(x.shape[-1] // 2, -1), sin)
