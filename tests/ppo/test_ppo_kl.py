"""KL estimators against the exact divergence of a categorical; the controller against a table."""

import math

import pytest
import torch
from hypothesis import given
from ppo_helpers import normal, seeds

from ppo.kl import AdaptiveKL, FixedKL, kl_estimate
from ppo.rewards import token_rewards


def two_distributions(seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a policy and log-probabilities of a reference, over 10 symbols."""
    return normal((10,), seed), normal((10,), seed + 1).log_softmax(-1)


@given(seeds)
def test_values_of_the_three_estimators(seed):
    """Check 12: k1 = d, k2 = d²/2, k3 = e⁻ᵈ − 1 + d; k2 and k3 never negative."""
    p, q = normal((4, 5), seed) - 2, normal((4, 5), seed + 1) - 2
    for b in range(4):
        for t in range(5):
            d = (p[b, t] - q[b, t]).item()
            expected = {"k1": d, "k2": d * d / 2, "k3": math.exp(-d) - 1 + d}
            for kind, value in expected.items():
                assert kl_estimate(p, q, kind)[b, t].item() == pytest.approx(value, abs=1e-12)
    assert (kl_estimate(p, q, "k2") >= 0).all() and (kl_estimate(p, q, "k3") >= 0).all()


def test_k3_keeps_its_digits_near_zero():
    """Check 12: for d = 1e-4 in float32, exp(-d) − 1 + d would lose everything; k3 ≈ d²/2."""
    d = torch.tensor([[1e-4]])
    assert kl_estimate(d, torch.zeros(1, 1), "k3").item() == pytest.approx(5e-9, rel=0.3)


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_the_estimators_are_unbiased(kind):
    """Check 12: their mean over samples of the policy is the exact KL within 3 standard errors."""
    logits, ref = two_distributions()
    logprobs = logits.log_softmax(-1)
    exact = (logprobs.exp() * (logprobs - ref)).sum().item()
    draws = torch.multinomial(
        logprobs.exp(), 40_000, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    estimates = kl_estimate(logprobs[draws], ref[draws], kind)
    error = estimates.std().item() / math.sqrt(len(draws))
    assert error < 0.01 and abs(estimates.mean().item() - exact) < 3 * error


def expected_loss_gradient(kind: str) -> torch.Tensor:
    """Gradient by the logits of E[k(token)] with the estimate as a loss: tokens are constants in it."""
    logits, ref = two_distributions()
    logits.requires_grad_()
    logprobs = logits.log_softmax(-1)
    probabilities = logprobs.exp().detach()
    return torch.autograd.grad((probabilities * kl_estimate(logprobs, ref, kind)).sum(), logits)[0]


def exact_gradient() -> torch.Tensor:
    """∇KL(π‖ref) by the logits: πᵢ·(log πᵢ/refᵢ − KL)."""
    logits, ref = two_distributions()
    logprobs = logits.log_softmax(-1)
    d = logprobs - ref
    return logprobs.exp() * (d - (logprobs.exp() * d).sum())


def test_k1_as_a_loss_regularises_nothing():
    """Trap A10, check 12: k1 as a loss has expected gradient zero, which is why it sits in the reward."""
    assert expected_loss_gradient("k1").abs().max() < 1e-12
    assert exact_gradient().norm() > 0.1


def test_k3_as_a_loss_pulls_towards_the_reference():
    """Check 12, trap A10: k3's gradient as a loss is that of the KL the other way round, KL(ref‖π): π − ref.

    (k2's is that of KL(π‖ref).) Both are zero at π = ref alone and descend towards it.
    """
    logits, ref = two_distributions()
    torch.testing.assert_close(expected_loss_gradient("k3"), logits.softmax(-1) - ref.exp())
    torch.testing.assert_close(expected_loss_gradient("k2"), exact_gradient())


def test_k1_in_the_reward_has_the_gradient_of_the_kl():
    """Check 12: the policy gradient of −k1 as a reward is −∇KL(π‖ref), by enumeration of the symbols."""
    logits, ref = two_distributions()
    logits.requires_grad_()
    logprobs = logits.log_softmax(-1)
    kl = kl_estimate(logprobs.detach(), ref, "k1")[:, None]  # (10, 1): ten responses of one token
    mask = torch.ones_like(kl, dtype=torch.bool)
    rewards = token_rewards(torch.zeros(10, dtype=torch.float64), kl, mask, kl_coef=1.0).squeeze(1)
    objective = (logprobs.exp().detach() * rewards * logprobs).sum()
    torch.testing.assert_close(torch.autograd.grad(objective, logits)[0], -exact_gradient())


@pytest.mark.parametrize(
    ("kl", "n", "factor"),
    [
        (12.0, 16, 1.00032),  # twice the target: +0.2 · 16 / 10000
        (600.0, 16, 1.00032),  # and no more than that
        (0.0, 16, 0.99968),
        (-3.0, 16, 0.99968),  # an estimate may be negative
        (6.0, 16, 1.0),
        (6.6, 1000, 1.01),  # inside the clip: proportional, 0.1 · 1000 / 10000
    ],
)
def test_adaptive_coefficient(kl, n, factor):
    """Check 13: the table of Ziegler et al., 2.2."""
    controller = AdaptiveKL(0.05, target=6.0, horizon=10_000)
    controller.update(kl, n)
    assert controller.coefficient == pytest.approx(0.05 * factor, rel=1e-12)


def test_adaptive_coefficient_finds_its_target():
    """Check 13: where the KL is 8 − 20β, β settles at 0.1, where the KL is the target, 6."""
    controller = AdaptiveKL(0.5, target=6.0, horizon=1000)
    for _ in range(2000):
        controller.update(max(0.0, 8 - 20 * controller.coefficient), 64)
    assert controller.coefficient == pytest.approx(0.1, rel=1e-3)


def test_fixed_coefficient_and_errors():
    """A fixed coefficient stays; nonsense is refused."""
    controller = FixedKL(0.3)
    controller.update(1e6, 1000)
    assert controller.coefficient == 0.3
    with pytest.raises(ValueError, match="target"):
        AdaptiveKL(0.1, target=0.0, horizon=10)
    with pytest.raises(AssertionError, match="k9"):
        kl_estimate(torch.zeros(1), torch.zeros(1), "k9")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="differ"):
        kl_estimate(torch.zeros(2, 3), torch.zeros(3), "k1")
