"""In 16 bits: how far what decoding says of its tokens is from what the update's pass says of them."""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.card import now
from models.policy import Policy
from ppo.rollout import Responses, forward_responses

WEIGHT_LIMIT = 2.0  # of truncated importance weights


def gaps(policy: Policy, sample: Callable[[], Responses], temperature: float) -> dict[str, Any]:
    """By the way in which decoding has the adapters: seconds of a rollout of `sample`, and its gap.

    The adapters are made to do something.
    """
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, p in policy.trainable().items():
            if "lora_B" in name:
                p.copy_(3e-3 * torch.randn(p.shape, generator=generator))
    found = {}
    for name, folds in (("folded in", True), ("beside", False)):
        policy.folds = folds
        policy.decoding.release()
        sample()
        start = now(policy.device)
        responses = sample()
        seconds = now(policy.device) - start
        found[name] = {"s": round(seconds, 2)} | gap(policy, responses, temperature)
    policy.folds = True
    policy.decoding.release()
    return found


def gap(policy: Policy, responses: Responses, temperature: float) -> dict[str, float]:
    """|log-ratio| of the first step, were the rollout's log-probabilities the old ones; and the weights that
    would correct for it, cut off at `WEIGHT_LIMIT`. Which text it was sampled in shows in the mean of its
    log-probabilities and in how many tokens it has: one token for ever has no gap."""
    logprobs, *_ = forward_responses(policy, responses, temperature, 4)
    mask = responses.tokens.response_mask
    logratio = (logprobs - responses.logprobs)[mask].double()
    weights = logratio.exp().clamp(max=WEIGHT_LIMIT)
    return {
        "log-probability": responses.logprobs[mask].mean().item(),
        "different tokens": len(responses.tokens.response_ids[mask].unique()),
        "mean": logratio.abs().mean().item(),
        "root mean square": logratio.square().mean().sqrt().item(),
        "max": logratio.abs().max().item(),
        "share of samples that weighted ones are worth": (
            weights.sum().square() / (len(weights) * weights.square().sum())
        ).item(),
        "weights cut off": (logratio.exp() > WEIGHT_LIMIT).double().mean().item(),
    }
