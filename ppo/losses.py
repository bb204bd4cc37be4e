"""The losses of PPO, one token at a time.

Every loss is a masked sum divided by `denominator`. Left out, that is the number of tokens in the call.
The update hands in the number of tokens of the whole optimizer step instead: then the gradients of
micro-batches add up to the gradient of the minibatch, whatever their lengths.

The second result holds sums and counts, never means, so that it adds up over micro-batches too.
"""

import torch
from torch import Tensor

from ppo.masked import check_shapes, keep, masked_sum

# e²⁰ is far outside any clip range and far inside fp32: a ratio this wrong must be seen, not become inf.
MAX_LOGRATIO = 20.0

Sums = dict[str, Tensor]


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip_range: float,
    *,
    clip_high: float | None = None,
    dual_clip: float | None = None,
    weights: Tensor | None = None,
    denominator: Tensor | None = None,
) -> tuple[Tensor, Sums]:
    """L = −Σₜ wₜ·min(rₜÂₜ, clip(rₜ, 1−ε, 1+ε_high)·Âₜ) / denominator,  rₜ = π(aₜ)/π_old(aₜ)

    Source: Schulman et al., "Proximal Policy Optimization Algorithms" (arXiv 1707.06347), equation 7. With
    `dual_clip` c, where Âₜ < 0 the minimum is at least c·Âₜ: Ye et al., "Mastering Complex Control in MOBA
    Games with Deep Reinforcement Learning" (arXiv 1912.09729).

    Args:
        logprobs, old_logprobs, advantages, mask: (B, T).
        clip_range: ε. `clip_high`: ε of the upper side, where it differs ("clip higher").
        dual_clip: c > 1. A bad token that became c times as likely stops learning: its ratio, and with it the
            gradient, has no other bound.
        weights: (B, T) credit per token; it scales the loss of a token and leaves the mask alone.

    Returns:
        The loss, and sums over the mask: `policy_loss`, `logratio_squared`, `approx_kl` (k3 of old against
        new, never negative), `clip_frac` (tokens whose gradient the clip removed), `ratio`, and the count
        `tokens`.
    """
    check_shapes(mask, logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages)
    logratio = keep(logprobs - old_logprobs, mask).clamp(-MAX_LOGRATIO, MAX_LOGRATIO)
    ratio = logratio.exp()
    clipped_ratio = ratio.clamp(1.0 - clip_range, 1.0 + (clip_range if clip_high is None else clip_high))
    advantages = keep(advantages, mask)
    unclipped = ratio * advantages
    surrogate = torch.minimum(unclipped, clipped_ratio * advantages)
    if dual_clip is not None:
        surrogate = torch.where(advantages < 0, torch.maximum(surrogate, dual_clip * advantages), surrogate)
    removed = surrogate != unclipped  # by a clip: such a token has no gradient
    if weights is not None:
        check_shapes(mask, weights=weights)
        surrogate = surrogate * weights
    total = -masked_sum(surrogate, mask)
    with torch.no_grad():
        sums = {
            "policy_loss": total.detach(),
            "logratio_squared": logratio.square().sum(),
            "approx_kl": keep(torch.expm1(logratio) - logratio, mask).sum(),
            "clip_frac": (removed & mask).sum(),
            "ratio": keep(ratio, mask).sum(),
            "tokens": mask.sum(),
        }
    return total / _denominator(denominator, mask), sums


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    mask: Tensor,
    clip_range: float | None = None,
    *,
    unit: Tensor | float = 1.0,
    denominator: Tensor | None = None,
) -> tuple[Tensor, Sums]:
    """L = ½·Σₜ max((Vₜ − Rₜ)², (clip(Vₜ, V_old ± ε·u) − Rₜ)²) / u² / denominator

    The larger of the two is the pessimistic one: a value that moved further than ε from V_old, the wrong
    way, still gets its gradient; one that moved the right way gets none. Source: the PPO of
    openai/baselines (ppo2).

    Args:
        values, old_values, returns, mask: (B, T).
        clip_range: ε; None: plain squared error.
        unit: u, what counts as 1 (the spread of the scores), so that neither the loss nor the clip depends on
            the scale of the scores.

    Returns:
        The loss, and sums over the mask: `value_loss`, `value_error` (squared), `value_clip_frac`, and the
        count `tokens`.
    """
    check_shapes(mask, values=values, old_values=old_values, returns=returns)
    squared_error = keep(values - returns, mask).square()
    worst = squared_error
    if clip_range is not None:
        reach = torch.as_tensor(clip_range * unit, dtype=values.dtype, device=values.device)
        held = old_values + (values - old_values).clamp(-reach, reach)
        worst = torch.maximum(squared_error, keep(held - returns, mask).square())
    total = 0.5 * worst.sum() / unit**2
    with torch.no_grad():
        sums = {
            "value_loss": total.detach(),
            "value_error": squared_error.sum(),
            "value_clip_frac": (worst > squared_error).sum(),
            "tokens": mask.sum(),
        }
    return total / _denominator(denominator, mask), sums


def mean_over_tokens(x: Tensor, mask: Tensor, *, denominator: Tensor | None = None) -> Tensor:
    """Σₜ xₜ / denominator: for the entropy bonus and for a KL term in the loss."""
    check_shapes(mask, x=x)
    return masked_sum(x, mask) / _denominator(denominator, mask)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 − Var(R − V) / Var(R) over the mask: 1 a perfect critic, 0 a constant one. 0 where R is constant."""
    check_shapes(mask, values=values, returns=returns)
    r = returns[mask].double()
    error = r - values[mask].double()
    if r.numel() == 0:
        return 0.0
    spread = r.var(correction=0)
    if spread < 1e-12:
        return 0.0
    return float(1.0 - error.var(correction=0) / spread)


def _denominator(given: Tensor | None, mask: Tensor) -> Tensor:
    # An empty minibatch (every row a fault) has nothing to learn from, and must not divide by zero.
    return (mask.sum() if given is None else given).clamp(min=1)
