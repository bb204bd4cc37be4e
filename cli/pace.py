"""How long an iteration of PPO takes: from rates that were measured, here or by benchmarks/gpu.py."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from cli.errors import UsageError
from models.footprint import Shape
from ppo.config import PPOConfig

PHASES = ("rollout", "scoring", "update")

_GPU_PHASES = {
    "rollout": "rollout",
    "scoring": "forward",
    "update": "update",
}  # as benchmarks/gpu.py has them


class Pace(NamedTuple):
    """Seconds of an iteration by phase, all prompts and responses of full length."""

    seconds: Mapping[str, float]
    source: str
    """Where the rates are from"""
    least: bool
    """Whether it takes at least this: the matrix products alone were counted"""


def by_products(shape: Shape, config: PPOConfig) -> Pace:
    """From how fast this processor multiplies matrices right now: what an iteration takes at least."""
    rate = _products_per_second(shape.precision.dtype)
    work = products(shape.network(shape.precision.dtype), config, full=shape.tune.tune == "full")
    source = (
        f"matrix products at {rate / 1e9:.0f} GFLOP/s, measured here with {torch.get_num_threads()} threads"
    )
    return Pace({name: amount / rate for name, amount in work.items()}, source, least=True)


def products(network: nn.Module, config: PPOConfig, *, full: bool) -> dict[str, float]:
    """Floating point operations of the matrix products with weights, by phase.

    A weight takes part in one multiplication and one addition per token in a forward pass. Backward, the
    gradient of what goes in takes as much, that of the weights again as much where all are trained;
    recomputing activations is another forward pass. Scoring has two passes, of policy and reference.
    """
    tokens = config.batch_size * (config.max_prompt_tokens + config.max_new_tokens)
    forward = 2.0 * multiplied(network) * tokens
    passes = 2 + full + config.gradient_checkpointing
    return {"rollout": forward, "scoring": 2 * forward, "update": config.epochs * passes * forward}


def multiplied(network: Any) -> int:
    """Weights that a token is multiplied with: all but the embeddings, which are looked up."""
    looked_up = network.get_input_embeddings().weight
    head = network.get_output_embeddings().weight
    total = sum(p.numel() for p in network.parameters())
    return total if looked_up is head else total - looked_up.numel()


def by_rates(path: Path, shape: Shape, config: PPOConfig) -> Pace:
    """From what `benchmarks/gpu.py --json` measured of a model, in proportion to weights and tokens.

    Raises:
        UsageError: the file is not there, or none of that benchmark.
    """
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
        row = next(
            r for r in measured["rows"] if r["gradient checkpointing"] == config.gradient_checkpointing
        )
        # Its rates are of response tokens; prompts take time in proportion.
        share = (measured["prompt"] + measured["response"]) / measured["response"]
        rates = {phase: share * row[f"{name} tokens/s"] for phase, name in _GPU_PHASES.items()}
        weights, device = measured["weights"], measured["device"]
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise UsageError(f"--rates {path}: not what benchmarks/gpu.py --json writes") from error
    tokens = config.batch_size * (config.max_prompt_tokens + config.max_new_tokens)
    larger = multiplied(shape.network(shape.precision.dtype)) / weights
    seconds = {phase: tokens * larger / rate for phase, rate in rates.items()}
    seconds["update"] *= config.epochs  # it measures one
    return Pace(seconds, f"{path}, on {device}", least=False)


def _products_per_second(dtype: torch.dtype, seconds: float = 0.5) -> float:
    """Floating point operations of matrix products per second, in `dtype`, on the CPU."""
    size = 1024
    a, b = (torch.ones(size, size, dtype=dtype) for _ in range(2))
    a @ b  # the first is slower
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        a @ b
        done += 1
    return done * 2.0 * size**3 / (time.perf_counter() - start)
