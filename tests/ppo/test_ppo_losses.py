"""The losses against gradients known in closed form, and against finite differences."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ppo_helpers import lengths, normal, ragged, seeds
from torch import Tensor

from ppo.losses import explained_variance, mean_over_tokens, policy_loss, value_loss

F64 = torch.float64


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=F64)


def everywhere(x: Tensor) -> Tensor:
    return torch.ones_like(x, dtype=torch.bool)


def policy_gradient(ratios: list[float], advantages: list[float], **settings: float) -> list[float]:
    """Gradient with respect to the log-probabilities, of the masked mean over the tokens."""
    old = row(*(-1.0 for _ in ratios))
    logprobs = (old + row(*(math.log(r) for r in ratios))).requires_grad_()
    loss, _ = policy_loss(logprobs, old, row(*advantages), everywhere(old), 0.2, **settings)
    return torch.autograd.grad(loss, logprobs)[0][0].tolist()


@pytest.mark.parametrize(
    ("ratio", "advantage", "slope"),
    [
        (1.1, 2.0, -1.1 * 2.0),  # inside: −r·A
        (1.5, 2.0, 0.0),  # good, and already much more likely: clipped
        (0.5, 2.0, -0.5 * 2.0),  # good, and less likely: must recover
        (0.9, -2.0, 0.9 * 2.0),
        (0.5, -2.0, 0.0),  # bad, and already much less likely: clipped
        (1.5, -2.0, 1.5 * 2.0),  # bad, and more likely: must fall
    ],
)
def test_clipping_removes_the_gradient_on_one_side_only(ratio, advantage, slope):
    """Check 10: sign of the surrogate; gradient zero exactly when the ratio left on its advantage's side."""
    assert policy_gradient([ratio], [advantage]) == pytest.approx([slope])


def test_at_ratio_one_it_is_the_policy_gradient():
    """Check 10: r = 1 gives −A·∇logπ, averaged over the tokens."""
    assert policy_gradient([1.0, 1.0, 1.0], [3.0, -6.0, 0.9]) == pytest.approx([-1.0, 2.0, -0.3])


def test_one_ratio_and_one_clip_per_token():
    """Trap A9: five numbers that tell token PPO from a clip on the mean ratio of the sequence."""
    gradient = policy_gradient([1.0, 1.0, 1.0, 1.82, 0.55], [1.0] * 5)
    assert gradient == pytest.approx([-0.2, -0.2, -0.2, 0.0, -0.11])


@pytest.mark.parametrize(
    ("ratio", "advantage", "gradient"),
    [
        (2.9, -1.0, 2.9),
        (3.1, -1.0, 0.0),
        (0.7, -1.0, 0.0),
        (1.3, 1.0, 0.0),
        (3.1, 1.0, 0.0),
        (0.1, 1.0, -0.1),
    ],
)
def test_dual_clip_bounds_bad_tokens_alone(ratio, advantage, gradient):
    """A third branch where the advantage is negative: above c no gradient; elsewhere PPO's own."""
    assert policy_gradient([ratio], [advantage], dual_clip=3.0) == pytest.approx([gradient], abs=1e-12)


@given(lengths, seeds)
def test_dual_clip_is_the_formula(row_lengths, seed):
    """−Σ max(min(rA, clip(r)A), cA) where A < 0; what has no gradient is counted as clipped."""
    mask = ragged(row_lengths)
    new, old, advantages = (normal(mask.shape, seed + i) for i in range(3))
    loss, sums = policy_loss(new, old, advantages, mask, 0.2, dual_clip=1.5)
    expected, clipped = 0.0, 0
    for b, t in mask.nonzero().tolist():
        r, a = (new[b, t] - old[b, t]).exp().item(), advantages[b, t].item()
        terms = min(r * a, min(max(r, 0.8), 1.2) * a)
        best = max(terms, 1.5 * a) if a < 0 else terms
        expected -= best
        clipped += best != r * a
    assert sums["policy_loss"].item() == pytest.approx(expected, abs=1e-9)
    assert loss.item() == pytest.approx(expected / int(mask.sum()), abs=1e-9)
    assert sums["clip_frac"].item() == clipped


def test_clip_higher_moves_the_upper_side_alone():
    """Check 22: with an upper limit of .28 a ratio of 1.25 still learns; the lower limit stays .2."""
    assert policy_gradient([1.25], [1.0], clip_high=0.28) == pytest.approx([-1.25])
    assert policy_gradient([1.25], [1.0]) == [0.0]
    assert policy_gradient([0.75], [-1.0], clip_high=0.28) == [0.0]


@given(lengths, seeds)
def test_policy_loss_is_the_formula(row_lengths, seed):
    """Check 10: a token-by-token evaluation of equation 7 in plain Python, and its counts."""
    mask = ragged(row_lengths)
    new, old = normal(mask.shape, seed) * 0.3, normal(mask.shape, seed + 1) * 0.3
    advantages, weights = normal(mask.shape, seed + 2), normal(mask.shape, seed + 3).abs()
    total, clipped, kl, count = 0.0, 0, 0.0, 0
    for b, t in mask.nonzero().tolist():
        r, a = math.exp(new[b, t] - old[b, t]), advantages[b, t].item()
        total -= weights[b, t].item() * min(r * a, min(max(r, 0.8), 1.3) * a)
        clipped += (a > 0 and r > 1.3) or (a < 0 and r < 0.8)
        kl += r - 1 - math.log(r)
        count += 1
    loss, stats = policy_loss(new, old, advantages, mask, 0.2, clip_high=0.3, weights=weights)
    assert loss.item() == pytest.approx(total / count, abs=1e-12)
    assert stats["clip_frac"].item() == clipped and stats["tokens"].item() == count
    assert stats["approx_kl"].item() == pytest.approx(kl, abs=1e-12)


def test_a_small_kl_is_not_lost_to_rounding():
    """Of a log-ratio of 1e-4 in float32: half its square, where 1 has steps of 1.2e-7."""
    new, old = torch.full((1, 3), -2.0 + 1e-4), torch.full((1, 3), -2.0)
    mask = torch.ones(1, 3, dtype=torch.bool)
    _, stats = policy_loss(new, old, torch.ones(1, 3), mask, 0.2)
    exact = (new.double() - old.double()).square().sum().item() / 2
    assert stats["approx_kl"].item() == pytest.approx(exact, rel=1e-2)


@given(lengths, seeds, st.integers(1, 4))
def test_losses_add_up_over_micro_batches(row_lengths, seed, size):
    """Check 11: divided by the count of the step, pieces of rows sum to the whole, loss and stats."""
    mask = ragged(row_lengths)
    x = [normal(mask.shape, seed + i) * 0.4 for i in range(4)]
    tokens = mask.sum()

    def losses(rows: slice) -> list[Tensor]:
        part, m = [each[rows] for each in x], mask[rows]
        actor, a = policy_loss(*part[:3], m, 0.2, denominator=tokens)
        critic, c = value_loss(*part[1:4], m, 0.2, denominator=tokens)
        extra = mean_over_tokens(part[3], m, denominator=tokens)
        return [actor, critic, extra, *a.values(), *c.values()]

    whole = losses(slice(None))
    pieces = [losses(slice(start, start + size)) for start in range(0, len(mask), size)]
    for expected, *parts in zip(whole, *pieces, strict=True):
        assert sum(p.item() for p in parts) == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize(
    ("value", "slope"),
    [
        (0.1, 0.1 - 1.0),  # within the range of V_old = 0: plain squared error
        (0.5, 0.0),  # moved towards the return, beyond the range: enough for now
        (-0.5, -0.5 - 1.0),  # moved away from it: the pessimistic error keeps its gradient
        (2.5, 2.5 - 1.0),  # beyond the return itself, worse than the clipped value: gradient
    ],
)
def test_clipped_value_loss(value, slope):
    """Check 9: the larger of two errors; gradient in closed form and by difference. R = 1, ε = .2."""

    def loss(v: float) -> float:
        return value_loss(row(v), row(0.0), row(1.0), everywhere(row(v)), 0.2)[0].item()

    v = row(value).requires_grad_()
    gradient = torch.autograd.grad(value_loss(v, row(0.0), row(1.0), everywhere(v), 0.2)[0], v)[0].item()
    assert gradient == pytest.approx(slope)
    assert gradient == pytest.approx((loss(value + 1e-6) - loss(value - 1e-6)) / 2e-6, abs=1e-6)


@given(lengths, seeds, st.one_of(st.none(), st.floats(0.05, 2)))
def test_value_loss_is_the_formula(row_lengths, seed, clip):
    """Check 9: half the mean of max(plain, clipped) squared errors, by a loop."""
    mask = ragged(row_lengths)
    v, old, r = (normal(mask.shape, seed + i) for i in range(3))
    total = 0.0
    for b, t in mask.nonzero().tolist():
        errors = [(v[b, t] - r[b, t]) ** 2]
        if clip is not None:
            errors.append((min(max(v[b, t], old[b, t] - clip), old[b, t] + clip) - r[b, t]) ** 2)
        total += float(max(errors))
    loss, stats = value_loss(v, old, r, mask, clip)
    assert loss.item() == pytest.approx(0.5 * total / int(mask.sum()), abs=1e-12)
    assert stats["value_error"].item() == pytest.approx(((v - r)[mask] ** 2).sum().item(), abs=1e-12)


@pytest.mark.parametrize("shift", [50.0, -50.0, 1e4])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_a_ratio_of_e_to_the_50_stays_finite(shift, advantage):
    """Check 23: an injected log-ratio of ±50 gives a finite float32 loss, gradient and statistics."""
    old = torch.full((1, 2), -1.0)
    logprobs = (old + torch.tensor([[shift, 0.0]])).requires_grad_()
    loss, stats = policy_loss(logprobs, old, torch.full((1, 2), advantage), everywhere(old), 0.2)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    assert torch.isfinite(loss) and torch.isfinite(gradient).all()
    assert all(math.isfinite(value.item()) for value in stats.values())
    assert stats["approx_kl"].item() / 2 > 5  # and it is seen: any KL stop would act on it


def test_junk_outside_the_mask_reaches_neither_loss_nor_gradient():
    """Check 3: NaN in padding changes nothing, in the backward pass either."""
    mask = ragged([2, 1], 3)
    clean = [normal(mask.shape, i) for i in range(3)]
    dirty = [x.masked_fill(~mask, math.nan) for x in clean]
    for function in (policy_loss, value_loss):
        x = dirty[0].clone().requires_grad_()
        loss, stats = function(x, *dirty[1:], mask, 0.2)
        (gradient,) = torch.autograd.grad(loss, x)
        assert torch.equal(loss, function(*clean, mask, 0.2)[0])
        assert (gradient[~mask] == 0).all() and torch.isfinite(gradient).all()
        assert all(math.isfinite(float(value)) for value in stats.values())


def test_an_empty_mask_is_a_loss_of_zero():
    """A minibatch of faults: 0, not 0/0."""
    x, mask = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    assert policy_loss(x, x, x, mask, 0.2)[0] == 0.0 and value_loss(x, x, x, mask, 0.2)[0] == 0.0


def test_explained_variance():
    """1 for a perfect critic (a constant offset included), 0 for a constant one, negative for a wrong one."""
    returns, mask = row(0.0, 1.0, 2.0, 99.0), torch.tensor([[True, True, True, False]])
    assert explained_variance(returns, returns, mask) == 1.0
    assert explained_variance(returns + 5.0, returns, mask) == pytest.approx(1.0)
    assert explained_variance(torch.full_like(returns, 7.0), returns, mask) == pytest.approx(0.0)
    assert explained_variance(-returns, returns, mask) == pytest.approx(-3.0)
    assert explained_variance(returns, torch.ones_like(returns), mask) == 0.0


def test_shapes_are_checked():
    """A (B,) tensor would broadcast to something that trains and is wrong."""
    x, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="advantages"):
        policy_loss(x, x, torch.zeros(3), mask, 0.2)
    with pytest.raises(ValueError, match="returns"):
        value_loss(x, x, torch.zeros(2, 1), mask)
    with pytest.raises(ValueError, match="weights"):
        policy_loss(x, x, x, mask, 0.2, weights=torch.zeros(2, 1))
