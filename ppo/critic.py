"""More looks of the critic at a rollout, without the network that it rides on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.critic import Critic, Reading, together
from models.policy import Policy
from ppo.buffer import RolloutBuffer
from ppo.config import PPOConfig
from ppo.losses import value_loss
from ppo.parallel import ALONE, World


def train_critic(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    readings: Sequence[Reading],
    buffer: RolloutBuffer,
    config: PPOConfig,
    generator: torch.Generator,
    world: World = ALONE,
) -> None:
    """`critic_epochs` passes over what the critic read of the rollout, in minibatches, by the value loss.

    They cost next to nothing: the trunk is not run again. So what is read is the policy that sampled, and no
    weight of the network moves, with --critic head neither.

    Args:
        readings: one per response of this rank's share; none are needed for no passes.
    """
    critic = policy.value_head
    own = world.rows(len(buffer))
    for _ in range(config.critic_epochs):
        order = torch.randperm(len(buffer), generator=generator)
        for index in order.split(config.minibatch_size):
            tokens = buffer.response_mask[index.to(policy.device)].sum()  # of the step, on all ranks
            if not tokens:
                continue
            optimizer.zero_grad(set_to_none=True)  # and what has no gradient, AdamW leaves alone
            here = index[(index >= own.start) & (index < own.stop)]
            if buffer.response_mask[here.to(policy.device)].any():
                chosen = [readings[row - own.start] for row in here.tolist()]
                loss = _reading_loss(critic, chosen, buffer.rows(here.to(policy.device)), config, tokens)
                (config.value_coef * loss).backward()
            world.sum_gradients(critic.parameters())
            torch.nn.utils.clip_grad_norm_(critic.parameters(), config.max_grad_norm)
            optimizer.step()


def _reading_loss(
    critic: Critic, readings: Sequence[Reading], rows: RolloutBuffer, config: PPOConfig, tokens: Tensor
) -> Tensor:
    """The value loss of the critic on what it read of some responses, a share of a step of `tokens`."""
    reading = together(readings)
    width = reading.mask.shape[1]
    mask = rows.response_mask[:, :width]  # (b, T), without rows that could not be scored
    values = torch.zeros(reading.mask.shape, device=mask.device)
    values = values.masked_scatter(reading.mask, critic(reading))  # (b, T)
    loss, _ = value_loss(
        values,
        rows.old_values[:, :width],
        rows.returns[:, :width],
        mask,
        config.value_clip_range,
        unit=critic.unit,
        denominator=tokens,
    )
    return loss
