"""Generalised advantage estimation over tokens, and whitening."""

import torch
from torch import Tensor

from ppo.masked import check_shapes, keep, masked_mean

# Differences of numbers that should be equal are a few units in their last place.
ROUNDING = 8


def gae(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    gamma: float,
    lam: float | Tensor,
    *,
    rounding: Tensor | float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Advantages and value targets of every response token; zero outside the mask.

        δₜ = rₜ + γ·Vₜ₊₁ − Vₜ        Âₜ = Σₖ (γλ)ᵏ·δₜ₊ₖ        Rₜ = Âₜ + Vₜ

    The state after the last token is terminal whether the response ended by itself or was cut: its
    value is 0. Source: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage
    Estimation" (arXiv 1506.02438), equation 16.

    Args:
        rewards, values, mask: (B, T). The mask of a row is a run of True, then False: credit flows
            backwards through it, so a hole would cut a response in two.
        gamma: discount per token, in [0, 1].
        lam: λ in [0, 1], one number or one per response (B, 1).
        rounding: a δ no larger than this is 0. Where every response scores the same, what is left is the
            rounding of a difference; whitening, and Adam, would make full steps of it.

    Raises:
        ValueError: shapes differ, or a mask has a hole.
    """
    check_shapes(mask, rewards=rewards, values=values)
    if (mask[:, 1:] & ~mask[:, :-1]).any():
        raise ValueError("a response mask must be a run of True followed by False, without holes")
    decay = torch.as_tensor(lam, dtype=values.dtype, device=values.device).reshape(-1) * gamma  # (1,) or (B,)
    values, rewards = keep(values, mask), keep(rewards, mask)
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)  # (B, T)
    deltas = rewards + gamma * next_values - values  # (B, T)
    deltas = torch.where(deltas.abs() > rounding, deltas, 0.0)

    advantages = torch.zeros_like(values)
    running = torch.zeros_like(values[:, 0])  # (B,)
    for t in reversed(range(mask.shape[1])):
        running = torch.where(mask[:, t], deltas[:, t] + decay * running, 0.0)
        advantages[:, t] = running
    return advantages, keep(advantages + values, mask)


def adaptive_lam(mask: Tensor, alpha: float) -> Tensor:
    """A lambda for each response by its length: (B, 1).

        λ = 1 − 1 / (α·length), at least 0

    A fixed lambda lets the score fade over a long response, and 1 is noisy over a short one. Under this one
    the same share of it, about e^(−1/α), reaches the first token whatever the length. Source: Yue et al.,
    "VAPO" (arXiv 2504.05118).
    """
    length = mask.sum(dim=1, keepdim=True)
    return (1.0 - 1.0 / (alpha * length.clamp(min=1))).clamp(min=0.0)


def whiten(x: Tensor, mask: Tensor) -> Tensor:
    """x shifted and scaled to masked mean 0 and variance 1; 0 outside the mask. (B, T)

    The statistics are those of the whole tensor: handed one rollout, it keeps the size of a reward gap
    comparable between prompts. A constant x gives zeros, also where rounding makes it vary: blown up, that
    would be a signal. There is no other floor, so the unit of x does not matter.
    """
    check_shapes(mask, x=x)
    # In float64, where the mean of equal numbers is that number.
    centred = keep(x.double() - masked_mean(x.double(), mask), mask)
    deviation = masked_mean(centred.square(), mask).sqrt()
    constant = deviation <= ROUNDING * torch.finfo(x.dtype).eps * keep(x, mask).abs().max()
    return torch.where(constant, 0.0, centred / deviation).to(x.dtype)
