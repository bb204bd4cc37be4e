"""The least that one PPO step of a Llama with adapters takes here: its matrix products, timed one by one.

Counted is what no exact way of calculating the step can leave out:

- rollout: prompts once, then one token of each row at a time, with the adapters folded in;
- forward: the reference alone (what the policy thinks of its tokens, decoding has said);
- update: forward and backward in each epoch, of a frozen base with adapters and a frozen output layer;
  nothing twice, no gradient of a frozen weight, and none into the embeddings.

In the last layer prompts need keys and values only. Attention is half a square: no token sees later ones.
Left out is all that is no product: norms, softmax, activations, drawing, the optimizer. So the floor cannot
be reached; it says how much of a step is the machine's, and how much is ours.

Each product is timed in the shape in which the step has it (16 rows are no faster than the weights can be
read, 500 run at the full rate), right here, in CPU seconds, by the quickest of the ways known here: torch's
own, the library of models/products.py, and a weight laid out beforehand.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import nn

from benchmarks.peers.task import EPOCHS
from models.products import product
from models.quick_layers import by_layout

Products = Counter[tuple[int, int, int, int]]
"""How often there is a product of (b, m, k) by (b, k, n), under (b, m, k, n); attention counts by halves"""

CHUNKS = 5
CHUNK_SECONDS = 0.02


@dataclass(frozen=True)
class Linear:
    """One linear layer with an adapter, and the rows of a micro-batch that go through it."""

    rows: int
    inputs: int
    outputs: int
    first: bool = False
    """Whether it reads embeddings, whose gradient nobody asks for."""


def floor(network: Any, rank: int, prompt: int, response: int, *, micro: int, batch: int) -> dict[str, Any]:
    """`floor.PHASE` and `floor.total` in CPU seconds, and the rate of all products together in GFLOP/s.

    Args:
        network: of Llama's form. `prompt`, `response`: tokens of each of `batch` rows.
    """
    config, parts = network.config, batch // micro
    phases = {
        "rollout": _rollout(config, prompt, response, batch),
        "forward": _times(_forward(config, prompt, response, micro), parts),
        "update": _times(_training(config, rank, prompt, response, micro), EPOCHS * parts),
    }
    took = {shape: _seconds(*shape) for shape in sorted(set().union(*phases.values()))}
    spent = {
        phase: sum(count * took[shape] for shape, count in work.items()) for phase, work in phases.items()
    }
    operations = sum(
        2.0 * b * m * k * n * count for work in phases.values() for (b, m, k, n), count in work.items()
    )
    total = sum(spent.values())
    return {
        "floor.total": round(total, 3),
        **{f"floor.{phase}": round(seconds, 3) for phase, seconds in spent.items()},
        "floor.gflop": round(operations / 1e9, 1),
        "floor.gflops_per_second": round(operations / 1e9 / total, 1),
    }


def _linears(config: Any, rows: int, last_rows: int) -> list[Linear]:
    """All layers' linear layers: `rows` go through, and `last_rows` through what the last does to queries."""
    width, inner = config.hidden_size, config.intermediate_size
    head = getattr(config, "head_dim", None) or width // config.num_attention_heads
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    found = []
    for layer in range(config.num_hidden_layers):
        some = last_rows if layer == config.num_hidden_layers - 1 else rows
        first = layer == 0
        found += [
            Linear(some, width, queries, first),
            *(Linear(rows, width, keys, first) for _ in "kv"),
            Linear(some, queries, width),
            *(Linear(some, width, inner) for _ in ("gate", "up")),
            Linear(some, inner, width),
        ]
    return [linear for linear in found if linear.rows]


def _attention(config: Any, rows: int, queries: int, keys: int) -> Products:
    """Scores and their weighted sum in one layer: each query by half of the keys."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    many = rows * config.num_attention_heads
    return Products({(many, queries, head, keys): 1, (many, queries, keys, head): 1})


def _rollout(config: Any, prompt: int, response: int, batch: int) -> Products:
    work = Products()
    for linear in _linears(config, batch * prompt, 0):
        work[1, linear.rows, linear.inputs, linear.outputs] += 1
    for linear in _linears(config, batch, batch):
        work[1, linear.rows, linear.inputs, linear.outputs] += response - 1
    work[1, batch, config.hidden_size, config.vocab_size] += response
    layers = config.num_hidden_layers
    work += _times(_attention(config, batch, prompt, prompt), 0.5 * (layers - 1))
    return work + _times(_attention(config, batch, 1, prompt + response // 2), layers * response)


def _forward(config: Any, prompt: int, response: int, rows: int) -> Products:
    """One pass over a micro-batch of so many rows: final states, and logits of the responses."""
    length, work = prompt + response - 1, Products()
    for linear in _linears(config, rows * length, rows * response):
        work[1, linear.rows, linear.inputs, linear.outputs] += 1
    work[1, rows * response, config.hidden_size, config.vocab_size] += 1
    return work + _all_attention(config, rows, response, length)


def _training(config: Any, rank: int, prompt: int, response: int, rows: int) -> Products:
    """One pass forward and back."""
    length, work = prompt + response - 1, _forward(config, prompt, response, rows)
    for linear in _linears(config, rows * length, rows * response):
        m, k, n = linear.rows, linear.inputs, linear.outputs
        work.update([(1, m, k, rank), (1, m, rank, n)])  # x Aᵀ, and that by Bᵀ
        work.update([(1, n, m, rank), (1, m, n, rank), (1, rank, m, k)])  # to B, to x Aᵀ, to A
        if not linear.first:
            work.update([(1, m, n, k), (1, m, rank, k)])  # to x, by the weight and by the adapter
    work[1, rows * response, config.vocab_size, config.hidden_size] += 1
    # To queries, keys, values and weights: twice what the forward pass has.
    return work + _times(_all_attention(config, rows, response, length), 2)


def _all_attention(config: Any, rows: int, response: int, length: int) -> Products:
    """Of all layers; the last asks for the responses alone, which see nearly all before them."""
    layers = _times(_attention(config, rows, length, length), 0.5 * (config.num_hidden_layers - 1))
    seen = (length - response / 2) / length
    return layers + _times(_attention(config, rows, response, length), seen)


def _times(work: Products, count: float) -> Products:
    return Products({shape: count * often for shape, often in work.items()})


@torch.no_grad()
def _seconds(b: int, m: int, k: int, n: int) -> float:
    """CPU seconds of one product, by the quickest way that there is to it here."""
    left = torch.randn(b, m, k).squeeze(0)
    right = torch.randn(b, n, k).squeeze(0)  # as weights and keys lie
    ways: list[Callable[[], Any]] = [lambda: torch.matmul(left, right.transpose(-1, -2))]
    if b == 1:
        layer = nn.Linear(k, n, bias=False)
        layer.weight = nn.Parameter(right, requires_grad=False)
        ways += [partial(product, left, right), partial(by_layout(layer), left)]
    return min(map(_timed, ways))


def _timed(way: Callable[[], Any]) -> float:
    """The median of some chunks of repetitions."""
    way()  # what is prepared once
    chunk, repeat = 0.0, 1
    while (chunk := _clock(way, repeat)) < CHUNK_SECONDS:
        repeat *= 2
    return median([chunk, *(_clock(way, repeat) for _ in range(CHUNKS - 1))]) / repeat


def _clock(way: Callable[[], Any], repeat: int) -> float:
    start = time.process_time()
    for _ in range(repeat):
        way()
    return time.process_time() - start
