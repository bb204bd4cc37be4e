"""The critic's further passes over a rollout: they are the update's value loss, and move the critic alone."""

import pytest
import torch
from ppo_helpers import buffer_of, rollout, small_config

from models.critic import CriticConfig, Reading, together
from ppo.config import PPOConfig
from ppo.critic import train_critic
from ppo.losses import value_loss
from ppo.optimizer import build_optimizer
from ppo.rollout import forward_responses

LENGTHS = [7, 3, 0, 5, 7, 1, 2, 6]  # one row could not be scored


@pytest.fixture(params=["surprise", "head"])
def policy(request, make_policy):
    policy = make_policy(trained=True, critic=CriticConfig(critic=request.param))
    policy.value_head.start_at(0.2, 0.5)
    return policy


def recorded(policy, micro_batch: int = 3) -> tuple[list[Reading], object]:
    responses, readings = rollout(policy), []
    forward_responses(policy, responses, 0.7, micro_batch, readings)
    return readings, buffer_of(policy, responses, LENGTHS)


def loss_of(policy, readings, buffer, config) -> float:
    reading = together(readings)
    values = torch.zeros(reading.mask.shape).masked_scatter(reading.mask, policy.value_head(reading))
    return value_loss(
        values,
        buffer.old_values,
        buffer.returns,
        buffer.response_mask,
        config.value_clip_range,
        unit=policy.value_head.unit,
    )[0].item()


def test_readings_give_the_values_of_the_pass_that_they_are_from(policy):
    """Row by row, whatever the micro-batches were."""
    for micro_batch in (1, 3, 8):
        readings, buffer = recorded(policy, micro_batch)
        reading = together(readings)
        values = torch.zeros(reading.mask.shape).masked_scatter(reading.mask, policy.value_head(reading))
        torch.testing.assert_close(values, buffer.old_values, rtol=1e-4, atol=1e-5)


def test_the_critic_learns_the_rollout_and_nothing_else_moves(policy):
    readings, buffer = recorded(policy)
    config = small_config(critic_epochs=6, value_clip_range=None, value_learning_rate=1e-2, weight_decay=0.1)
    before = {name: p.clone() for name, p in policy.trainable().items()}
    at_first = loss_of(policy, readings, buffer, config)
    optimizer = build_optimizer(policy, config)
    train_critic(policy, optimizer, readings, buffer, config, torch.Generator().manual_seed(1))
    assert loss_of(policy, readings, buffer, config) < 0.9 * at_first
    assert all(torch.equal(p, before[name]) for name, p in policy.trainable().items())


def test_one_minibatch_is_one_step_of_the_value_loss(policy):
    """With all responses in it, against the same step written out; without passes nothing happens."""
    readings, buffer = recorded(policy)
    config = small_config(critic_epochs=1, minibatch_size=8, max_grad_norm=1e9)
    critic = policy.value_head
    start = [p.clone() for p in critic.parameters()]
    none = small_config(critic_epochs=0, minibatch_size=8)
    train_critic(policy, build_optimizer(policy, none), [], buffer, none, torch.Generator())
    assert all(torch.equal(p, old) for p, old in zip(critic.parameters(), start, strict=True))

    reading = together(readings)
    values = torch.zeros(reading.mask.shape).masked_scatter(reading.mask, critic(reading))
    mask, unit = buffer.response_mask, critic.unit
    reach = config.value_clip_range * unit
    held = buffer.old_values + (values - buffer.old_values).clamp(-reach, reach)
    worst = torch.maximum((values - buffer.returns) ** 2, (held - buffer.returns) ** 2)
    loss = config.value_coef * 0.5 * worst[mask].mean() / unit**2
    gradients = torch.autograd.grad(loss, list(critic.parameters()))
    train_critic(policy, build_optimizer(policy, config), readings, buffer, config, torch.Generator())
    for now, old, gradient in zip(critic.parameters(), start, gradients, strict=True):
        step = config.value_learning_rate * gradient / (gradient.abs() + config.adam_eps)  # Adam's first
        torch.testing.assert_close(now, old - step, rtol=1e-3, atol=1e-6)


def test_passes_without_a_critic_are_refused():
    with pytest.raises(ValueError, match="critic_epochs 2 needs a critic"):
        PPOConfig(critic_epochs=2, baseline="prompt-mean")
