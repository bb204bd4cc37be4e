"""What a scorer pays for everything alike, and the unit it pays in, are its own business."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loop_helpers import ToyScorer, metrics_of, run, share_of_a, toy_config
from ppo_helpers import buffer_of, lengths, normal, ragged, rollout, seeds, small_config

from models.critic import CriticConfig
from ppo.advantages import gae, whiten
from ppo.kl import kl_estimate
from ppo.optimizer import build_optimizer
from ppo.rewards import first_opinion, reward_rounding, token_rewards
from ppo.update import accumulate_gradient, optimizer_step

SCALES = st.sampled_from([1e-6, 1e-3, 1.0, 100.0, 1e6])


@given(lengths, seeds, SCALES, st.floats(-5, 5))
def test_whitening_does_not_know_the_unit(row_lengths, seed, scale, shift):
    """Numbers in another unit are whitened to the same; there is no floor in that unit."""
    mask = ragged(row_lengths)
    x = normal(mask.shape, seed)
    torch.testing.assert_close(whiten(scale * (x + shift), mask), whiten(x, mask), rtol=1e-6, atol=1e-6)


@given(lengths, seeds, SCALES, st.floats(0.1, 1.0))
def test_rounding_is_not_blown_up(row_lengths, seed, scale, score):
    """A constant that varies by a few units in the last place: zeros. A thousandth of its size: a signal."""
    mask = ragged(row_lengths)
    size = torch.tensor(scale * score, dtype=torch.float32)
    noise = torch.finfo(torch.float32).eps * size * torch.randint(-3, 4, mask.shape)
    assert (whiten((size + noise).float(), mask) == 0).all()
    signal = size + 1e-3 * size * normal(mask.shape, seed, torch.float32)
    if int(mask.sum()) > 1:
        assert whiten(signal, mask)[mask].std(correction=0).item() == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize(
    ("score", "options"),
    [
        (0.7, {"iterations": 10}),
        pytest.param(0.7, {}, marks=pytest.mark.slow),
        pytest.param(-1e-4, {"critic": "head"}, marks=pytest.mark.slow),
        pytest.param(1 / 3, {"baseline": "prompt-mean"}, marks=pytest.mark.slow),
        pytest.param(123.456, {"kl_coef": 0.05}, marks=pytest.mark.slow),
        pytest.param(0.0, {"kl_coef": 0.05}, marks=pytest.mark.slow),
    ],
)
def test_a_constant_reward_teaches_nothing(tmp_path, letters_sft, score, options):
    """Thirty iterations (ten in the quick run), at a learning rate that learns the toy task in as many: KL to
    SFT below 1e-3.

    By baseline, with a KL penalty beside it, and with a critic whose gradient reaches the trunk.
    """
    settings = {"iterations": 30, "kl_coef": 0.0, "eval_every": 0, "save_every": 10} | options
    critic = settings.pop("critic", "surprise")
    run(tmp_path, letters_sft, toy_config(**settings), ToyScorer(lambda program: score), critic=critic)
    assert abs(metrics_of(tmp_path)[-1]["ppo/ref_kl"]) < 1e-3


@pytest.mark.parametrize("scale", [pytest.param(1e-3, marks=pytest.mark.slow), 100.0])
def test_a_run_is_the_same_in_another_unit(tmp_path, letters_sft, scale):
    """Scores and kl_coef in another unit: the same responses, losses and values but for that unit.

    The scale is no power of two, so rounding differs; the first iterations show whether anything else does.
    """

    def rows(name: str, unit: float) -> list[dict[str, float]]:
        config = toy_config(iterations=6, kl_coef=0.01 * unit, eval_every=0)
        run(
            tmp_path / name, letters_sft, config, ToyScorer(lambda program: unit * (share_of_a(program) or 0))
        )
        return metrics_of(tmp_path / name)[1:]

    for plain, scaled in zip(rows("plain", 1.0), rows("scaled", scale), strict=True):
        assert scaled["reward/mean"] == pytest.approx(scale * plain["reward/mean"], rel=1e-5)
        for name in ("ppo/policy_grad_norm", "ppo/value_grad_norm", "ppo/value_loss", "ppo/explained_var"):
            assert scaled[name] == pytest.approx(plain[name], rel=0.02, abs=1e-3), name
        assert scaled["ppo/ref_kl"] == pytest.approx(plain["ppo/ref_kl"], rel=0.02, abs=1e-4)


@pytest.mark.parametrize("critic", ["surprise", "head"])
def test_large_errors_of_the_critic_leave_the_policys_step_alone(make_policy, critic):
    """Returns a hundred times as far off: the gradient that reaches the adapters is what it was.

    Whatever the critic counts in, its gradient has a norm of its own; but under `head` the trunk has the
    critic's gradient too, and that is the same in the critic's own unit only.
    """
    steps = []
    for scale in (1.0, 100.0):
        policy = make_policy(trained=True, critic=CriticConfig(critic))
        buffer = buffer_of(policy, rollout(policy), [7, 1, 4, 2, 6, 3, 7, 5])
        policy.value_head.start_at(0.0, scale if critic == "head" else 1.0)
        buffer.returns.mul_(scale)
        buffer.old_values.mul_(scale)
        steps.append(clipped_gradient(policy, buffer))
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-3, atol=1e-6)


def clipped_gradient(policy, buffer) -> torch.Tensor:
    """The policy's gradient as the optimizer meets it."""
    config = small_config(minibatch_size=8, max_grad_norm=1e-2)
    optimizer = build_optimizer(policy, config)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    accumulate_gradient(policy, scaler, buffer, config, 0.0)
    optimizer_step(optimizer, scaler, config.max_grad_norm)
    return torch.cat([p.grad.flatten() for p in policy.trainable().values() if p.grad is not None])


def test_where_a_critic_starts():
    """At the mean, counting in standard deviations; equal scores are counted in their size, zeros in ones."""
    assert first_opinion(torch.tensor([0.0, 1.0]), at_mean=True) == (0.5, 0.5)
    assert first_opinion(torch.tensor([0.0, 1.0]), at_mean=False) == (0.0, 0.5)
    mean, unit = first_opinion(torch.full((7,), 0.7), at_mean=True)
    assert torch.tensor(mean) == torch.tensor(0.7) and unit == mean
    assert first_opinion(torch.zeros(3), at_mean=True) == (0.0, 1.0)


def test_rounding_is_that_of_scores_and_weighed_logprobs():
    """KL is a difference of log-probabilities: its rounding is theirs, whatever the scores are."""
    scores, logprobs = torch.tensor([0.2, -0.5]), torch.tensor([[-8.0, 0.0], [-1.0, 0.0]])
    eps = torch.finfo(torch.float32).eps
    mask = ragged([2, 1])
    assert reward_rounding(scores, logprobs, mask, 0.0).item() == pytest.approx(8 * eps * 0.5)
    assert reward_rounding(scores, logprobs, mask, 0.1).item() == pytest.approx(8 * eps * 0.8)
    for nothing in (float("nan"), -float("inf")):  # outside the mask, as in a row that is a fault
        broken = torch.where(mask, logprobs, nothing)
        assert reward_rounding(scores, broken, mask, 0.1).item() == pytest.approx(8 * eps * 0.8)
    # KL of a policy that is its reference, as two float32 passes give it, and no score at all.
    kl = kl_estimate(logprobs * (1 + 2 * eps), logprobs, "k1")
    assert kl.abs().max() > 0
    rewards, rounding = (
        token_rewards(torch.zeros(2), kl, mask, 0.1),
        reward_rounding(scores, logprobs, mask, 0.1),
    )
    values = torch.zeros(2, 2)
    advantages, returns = gae(rewards, values, mask, 1.0, 0.95, rounding=rounding)
    assert (advantages == 0).all() and torch.equal(returns, values)


@given(lengths, seeds)
def test_only_rounding_is_taken_for_rounding(row_lengths, seed):
    """Credit is what it was where every δ is larger than the limit."""
    mask = ragged(row_lengths)
    rewards, values = normal(mask.shape, seed), normal(mask.shape, seed + 1)
    for a, b in zip(
        gae(rewards, values, mask, 0.99, 0.9, rounding=1e-9),
        gae(rewards, values, mask, 0.99, 0.9),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-7)
