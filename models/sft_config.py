"""Settings of supervised fine-tuning, and the steps and learning rates that follow from them."""

import math
from dataclasses import dataclass
from typing import Literal

from models.ranges import Count, NotNegative, NotNegativeInt, Positive, Seed, Share, check_ranges


@dataclass(frozen=True)
class SFTConfig:
    """Settings of the supervised warm start."""

    epochs: Positive = 3.0
    """Passes over the demonstrations; fractions are allowed."""
    learning_rate: NotNegative = 2e-5
    """Peak learning rate of AdamW."""
    warmup: Share = 0.1
    """Share of the steps over which the learning rate rises from 0."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """How the learning rate falls after warm-up: not at all, or to 0 along a cosine."""
    batch_size: Count = 16
    """Demonstrations per optimizer step."""
    micro_batch_size: Count = 16
    """Demonstrations per backward pass; lower it when memory runs out. Gradients do not change."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: much less memory, about a quarter more time."""
    max_tokens: Count = 2048
    """Demonstrations that are longer, prompt included, are left out and counted."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm."""
    weight_decay: NotNegative = 0.0
    """Decoupled weight decay of AdamW."""
    validate_every: Count = 100
    """Optimizer steps between validation losses; the last step always has one."""
    keep: Literal["best", "last"] = "best"
    """Which weights the model is written from: those with the lowest validation loss, or the last. Without
    validation: the last."""
    patience: NotNegativeInt = 0
    """Stop after so many validations in a row without a lower loss; 0: never."""
    save_every: Count = 200
    """Optimizer steps between checkpoints; an interrupted run goes on from the newest."""
    keep_checkpoints: Count = 2
    """Newest checkpoints to keep, each with weights and optimizer in float32; the best is kept besides."""
    seed: Seed = 1
    """Of the order of the demonstrations, and of fresh weights."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.warmup == 1:
            raise ValueError("warmup must be below 1: the learning rate has to arrive before the end")


def optimizer_steps(config: SFTConfig, demonstrations: int) -> int:
    """Steps of a whole training: every pass ends with a smaller batch if it must."""
    return math.ceil(config.epochs * math.ceil(demonstrations / config.batch_size))


def learning_rate_factor(config: SFTConfig, step: int, steps: int) -> float:
    """What the learning rate is multiplied with at a step (counted from 0)."""
    warmup = round(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
