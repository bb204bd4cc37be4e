"""Divergence between the policy and the frozen reference, and the coefficient that weighs it.

`ref_kl` is measured against the SFT reference. The other divergence of PPO, new policy against the one
that sampled (`approx_kl`), is computed by `losses.policy_loss`.
"""

from typing import Literal, Protocol, assert_never

import torch
from torch import Tensor

KLKind = Literal["k1", "k2", "k3"]


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, kind: KLKind) -> Tensor:
    """Per-token estimate of KL(π ‖ π_ref) from tokens that π sampled. (B, T)

        d = log π − log π_ref        k1 = d        k2 = d²/2        k3 = e⁻ᵈ − 1 + d

    k1 and k3 are unbiased, k2 and k3 never negative. k1 belongs into the reward: as a loss term its
    expected gradient is zero. k3 is for the loss. Source: Schulman, "Approximating KL Divergence",
    http://joschu.net/blog/kl-approx.html
    """
    if logprobs.shape != ref_logprobs.shape:
        raise ValueError(f"logprobs {tuple(logprobs.shape)} and ref {tuple(ref_logprobs.shape)} differ")
    d = logprobs - ref_logprobs
    if kind == "k1":
        return d
    if kind == "k2":
        return 0.5 * d.square()
    if kind == "k3":
        return torch.expm1(-d) + d
    assert_never(kind)


class KLController(Protocol):
    """What weighs the KL penalty of an iteration, and may change after it."""

    coefficient: float

    def update(self, kl: float, n_samples: int) -> None:
        """Take note of an iteration's mean KL (nats per response) over n_samples responses."""


class FixedKL:
    """A coefficient that stays."""

    def __init__(self, coefficient: float) -> None:
        self.coefficient = coefficient

    def update(self, kl: float, n_samples: int) -> None:
        """Nothing changes."""


class AdaptiveKL:
    """A proportional controller that steers the KL towards a target.

        coefficient ← coefficient · (1 + clip(kl / target − 1, ±0.2) · n / horizon)

    Source: Ziegler et al., "Fine-Tuning Language Models from Human Preferences" (arXiv 1909.08593), 2.2.
    """

    def __init__(self, coefficient: float, target: float, horizon: int) -> None:
        if target <= 0 or horizon <= 0:
            raise ValueError("the KL target and the horizon must be greater than 0")
        self.coefficient = coefficient
        self.target = target
        self.horizon = horizon

    def update(self, kl: float, n_samples: int) -> None:
        """`kl`: mean over responses of the token-summed k1; `n_samples`: responses it was measured on."""
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        self.coefficient *= 1.0 + error * n_samples / self.horizon
