"""GAE against its definition as a double sum, whitening against its two moments."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ppo_helpers import lengths, normal, ragged, seeds
from torch import Tensor

from ppo.advantages import adaptive_lam, gae, whiten

F64 = torch.float64
fractions = st.floats(0, 1)


def gae_by_definition(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """Equation 16 of 1506.02438, token by token: sum over k of (gamma lam)^k delta_{t+k}."""
    result = torch.zeros_like(rewards)
    for row in range(len(mask)):
        end = int(mask[row].sum())
        r, v = rewards[row].tolist(), [*values[row, :end].tolist(), 0.0]
        for t in range(end):
            result[row, t] = sum(
                (gamma * lam) ** (s - t) * (r[s] + gamma * v[s + 1] - v[s]) for s in range(t, end)
            )
    return result


@given(lengths, seeds, fractions, fractions)
def test_gae_is_the_discounted_sum_of_deltas(row_lengths, seed, gamma, lam):
    """Check 5: GAE equals the O(T²) sum on ragged lengths; nothing outside the mask."""
    mask = ragged(row_lengths)
    rewards, values = normal(mask.shape, seed), normal(mask.shape, seed + 1)
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    expected = gae_by_definition(rewards, values, mask, gamma, lam)
    torch.testing.assert_close(advantages, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(returns[mask], (expected + values)[mask], rtol=0, atol=1e-12)
    assert (advantages[~mask] == 0).all() and (returns[~mask] == 0).all()


@given(lengths, seeds)
def test_gae_in_float32_stays_close_to_float64(row_lengths, seed):
    """Check 5: the same within 1e-6 in float32, the precision of training."""
    mask = ragged(row_lengths)
    rewards, values = normal(mask.shape, seed), normal(mask.shape, seed + 1)
    advantages, _ = gae(rewards.float(), values.float(), mask, 1.0, 0.95)
    expected = gae_by_definition(rewards, values, mask, 1.0, 0.95)
    torch.testing.assert_close(advantages.double(), expected, rtol=1e-6, atol=2e-6)


@given(lengths, seeds)
def test_lambda_one_is_what_the_response_earned_minus_the_value(row_lengths, seed):
    """Checks 5, 22: lambda = gamma = 1: advantages sum(rewards) - V, Monte-Carlo returns as targets."""
    mask = ragged(row_lengths)
    rewards, values = normal(mask.shape, seed) * mask, normal(mask.shape, seed + 1)
    advantages, returns = gae(rewards, values, mask, 1.0, 1.0)
    to_go = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(advantages[mask], (to_go - values)[mask], rtol=0, atol=1e-12)
    torch.testing.assert_close(returns[mask], to_go[mask], rtol=0, atol=1e-12)


@given(lengths, seeds, fractions)
def test_lambda_zero_is_one_step(row_lengths, seed, gamma):
    """Check 5: lambda = 0 gives delta."""
    mask = ragged(row_lengths)
    rewards, values = normal(mask.shape, seed), normal(mask.shape, seed + 1)
    advantages, _ = gae(rewards, values, mask, gamma, 0.0)
    for row, end in enumerate(row_lengths):
        for t in range(end):
            following = values[row, t + 1].item() if t + 1 < end else 0.0
            delta = rewards[row, t].item() + gamma * following - values[row, t].item()
            assert advantages[row, t].item() == pytest.approx(delta, abs=1e-12)


@given(lengths, seeds, st.sampled_from([float("nan"), float("inf"), 1e9]))
def test_nothing_after_the_end_leaks_in(row_lengths, seed, junk):
    """Check 5: values and rewards outside the mask, NaN included, change nothing."""
    mask = ragged(row_lengths, max(row_lengths) + 2)
    rewards, values = normal(mask.shape, seed), normal(mask.shape, seed + 1)
    clean = gae(rewards, values, mask, 0.9, 0.8)
    dirty = gae(rewards.masked_fill(~mask, junk), values.masked_fill(~mask, junk), mask, 0.9, 0.8)
    for a, b in zip(clean, dirty, strict=True):
        assert torch.equal(a, b)


def test_end_of_response_by_hand():
    """Check 6: three tokens, value after the last one 0, for an ended response and for one cut at the limit.

    delta = (0 + .5·2 - 1, 0 + .5·4 - 2, 8 - 4) = (0, 0, 4); decay gamma·lam = .25.
    """
    rewards = torch.tensor([[0.0, 0.0, 8.0, 0.0], [0.0, 0.0, 8.0, 99.0]], dtype=F64)
    values = torch.tensor([[1.0, 2.0, 4.0, 0.0], [1.0, 2.0, 4.0, 77.0]], dtype=F64)
    mask = ragged([3, 3], 4)
    advantages, returns = gae(rewards, values, mask, gamma=0.5, lam=0.5)
    assert advantages[:, :3].tolist() == [[0.25, 1.0, 4.0]] * 2
    assert returns[:, :3].tolist() == [[1.25, 3.0, 8.0]] * 2
    # Cut by max_new_tokens: the mask fills the whole width and there is no column to bootstrap from.
    cut, _ = gae(rewards[:, :3], values[:, :3], ragged([3, 3]), gamma=0.5, lam=0.5)
    assert torch.equal(cut, advantages[:, :3])


def test_adaptive_lambda_lets_the_same_share_reach_the_first_token():
    """With V = 0 and a score at the end, Â₀ = λ^(T−1): about e^(−1/α) for long responses of any length."""
    mask = ragged([200, 2000])
    lam = adaptive_lam(mask, 0.5)
    rewards = torch.zeros(mask.shape, dtype=torch.float64)
    rewards[0, 199] = rewards[1, 1999] = 1.0
    advantages, _ = gae(rewards, torch.zeros_like(rewards), mask, 1.0, lam)
    assert lam[:, 0].tolist() == pytest.approx([1 - 1 / 100, 1 - 1 / 1000])
    assert advantages[:, 0].tolist() == pytest.approx([math.exp(-2)] * 2, rel=0.02)
    assert adaptive_lam(ragged([1, 0], 3), 0.5).tolist() == [[0.0], [0.0]]


def test_lambda_of_its_own_for_every_response():
    """Check 22 (length-adaptive lambda): a (B, 1) lambda equals each row with its own number."""
    mask = ragged([4, 2, 5])
    rewards, values = normal(mask.shape, 1), normal(mask.shape, 2)
    lams = [0.0, 0.5, 1.0]
    together, _ = gae(rewards, values, mask, 0.9, torch.tensor(lams, dtype=F64)[:, None])
    for row, lam in enumerate(lams):
        alone = gae_by_definition(rewards[[row]], values[[row]], mask[[row]], 0.9, lam)
        torch.testing.assert_close(together[[row]], alone, rtol=0, atol=1e-12)


def test_gae_refuses_what_it_cannot_mean():
    """A hole in a mask, a float mask and shapes that differ are errors, not numbers."""
    ones = torch.ones(1, 3)
    with pytest.raises(ValueError, match="hole"):
        gae(ones, ones, torch.tensor([[True, False, True]]), 1.0, 1.0)
    with pytest.raises(ValueError, match="bool"):
        gae(ones, ones, ones, 1.0, 1.0)
    with pytest.raises(ValueError, match="values"):
        gae(ones, torch.ones(1, 2), torch.ones(1, 3, dtype=torch.bool), 1.0, 1.0)


@given(lengths.filter(lambda row: sum(row) > 1), seeds, st.floats(-50, 50), st.floats(0.1, 100))
def test_whitening_gives_mean_zero_and_variance_one(row_lengths, seed, shift, size):
    """Check 8: masked mean 0 and standard deviation 1, whatever went in."""
    mask = ragged(row_lengths)
    kept = whiten(normal(mask.shape, seed) * size + shift, mask)[mask]
    assert abs(kept.mean().item()) < 1e-6
    assert kept.std(correction=0).item() == pytest.approx(1.0, abs=1e-4)


@given(lengths, seeds)
def test_whitening_ignores_padding(row_lengths, seed):
    """Check 8: more padding, and junk in it, change nothing; 0 outside the mask."""
    mask, wide = ragged(row_lengths), ragged(row_lengths, max(row_lengths) + 3)
    x = normal(wide.shape, seed)
    narrow = whiten(x[:, : mask.shape[1]], mask)
    dirty = whiten(x.masked_fill(~wide, math.nan), wide)
    torch.testing.assert_close(dirty[:, : mask.shape[1]], narrow, rtol=0, atol=1e-12)
    assert (dirty[~wide] == 0).all()


def test_whitening_keeps_order_and_proportion():
    """Check 8: an affine map of positive slope: differences keep their proportions over the rollout."""
    x = torch.tensor([[1.0, 2.0], [4.0, 8.0]], dtype=F64)
    white = whiten(x, torch.ones(2, 2, dtype=torch.bool))
    assert ((white[1, 1] - white[1, 0]) / (white[0, 1] - white[0, 0])).item() == pytest.approx(4.0)
    assert white[0, 1] > white[0, 0]


@pytest.mark.parametrize("x", [[[3.0]], [[0.1, 0.1, 0.1]]])
def test_whitening_of_a_constant_is_zero(x):
    """Check 8: one token, or a constant whose float32 mean is rounded, gives zeros and not noise blown up."""
    x = torch.tensor(x)
    assert whiten(x, torch.ones_like(x, dtype=torch.bool)).abs().max() < 1e-3


def test_the_size_of_a_reward_gap_survives_until_whitening():
    """Trap A1: scaling a gap between two responses scales the difference of their advantages."""
    mask = ragged([2, 2])

    def gap(score: float) -> float:
        rewards = torch.zeros(2, 2, dtype=F64)
        rewards[1, 1] = score
        advantages, _ = gae(rewards, torch.full((2, 2), 0.3, dtype=F64), mask, 1.0, 0.95)
        return (advantages[1] - advantages[0]).sum().item()

    assert gap(0.6) == pytest.approx(6000 * gap(1e-4))


def test_the_size_of_a_gap_survives_whitening_within_a_rollout():
    """Trap A1: among four responses of one rollout, gaps of .1 and .6 stay 1 : 6 after whitening."""
    mask = torch.ones(4, 1, dtype=torch.bool)
    white = whiten(torch.tensor([[0.0], [0.1], [0.0], [0.6]], dtype=F64), mask).squeeze()
    assert ((white[3] - white[2]) / (white[1] - white[0])).item() == pytest.approx(6.0)
