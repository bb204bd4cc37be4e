"""What steps the weights: AdamW in two groups, their learning rates over the run, and what is left alone."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from models.policy import Policy
from ppo.config import PPOConfig
from ppo.errors import TrainingError


def build_optimizer(policy: Policy, config: PPOConfig) -> torch.optim.AdamW:
    """AdamW over the trained weights and the value head, in two groups with a learning rate each.

    Raises:
        TrainingError: a trained parameter is not float32 (small updates would be rounded away).
    """
    network = list(policy.trainable().values())
    head = list(policy.value_head.parameters())
    if any(p.dtype != torch.float32 for p in (*network, *head)):
        raise TrainingError("trained parameters must be float32; load the policy with build_policy")
    groups = [
        {"params": network, "lr": config.learning_rate, "name": "policy"},
        {"params": head, "lr": config.value_learning_rate, "name": "value"},
    ]
    return torch.optim.AdamW(groups, eps=config.adam_eps, weight_decay=config.weight_decay)


def set_learning_rates(optimizer: torch.optim.Optimizer, config: PPOConfig, iteration: int) -> float:
    """Put the schedule's learning rates into both groups; returns the policy's."""
    starts = {"policy": config.critic_warmup, "value": 0}
    rates = {"policy": config.learning_rate, "value": config.value_learning_rate}
    for group in optimizer.param_groups:
        name = group["name"]
        rates[name] *= learning_rate_factor(config, iteration, starts[name])
        group["lr"] = rates[name]
    return rates["policy"]


def learning_rate_factor(config: PPOConfig, iteration: int, start: int = 0) -> float:
    """What a learning rate is multiplied with in an iteration: warm-up from `start` on, then the schedule."""
    since = max(0, iteration - start)
    if since < config.lr_warmup:
        return (since + 1) / config.lr_warmup
    if config.lr_schedule == "constant":
        return 1.0
    # One more than the steps from first to last: an iteration at rate 0 would sample and score for nothing.
    span = max(1, config.iterations - start - config.lr_warmup)
    done = min(1.0, (since - config.lr_warmup) / span)
    remaining = 1.0 - done if config.lr_schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return config.lr_final + (1.0 - config.lr_final) * remaining


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """No gradient reaches these within the block; without one, AdamW leaves a parameter alone."""
    parameters = list(parameters)
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
