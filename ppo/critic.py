"""More looks of the critic at a rollout, without the network that it rides on."""

from collections.abc import Sequence

import torch

from models.critic import Reading, together
from models.policy import Policy
from ppo.buffer import RolloutBuffer
from ppo.config import PPOConfig
from ppo.losses import value_loss


def train_critic(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    readings: Sequence[Reading],
    buffer: RolloutBuffer,
    config: PPOConfig,
    generator: torch.Generator,
) -> None:
    """`critic_epochs` passes over what the critic read of the rollout, in minibatches, by the value loss.

    They cost next to nothing: the trunk is not run again. So what is read is the policy that sampled, and no
    weight of the network moves, with --critic head neither.

    Args:
        readings: one per response; none are needed for no passes.
    """
    critic = policy.value_head
    for _ in range(config.critic_epochs):
        order = torch.randperm(len(buffer), generator=generator)
        for index in order.split(config.minibatch_size):
            reading = together([readings[row] for row in index.tolist()])
            rows, width = index.to(policy.device), reading.mask.shape[1]
            mask = buffer.response_mask[rows, :width]  # (b, T), without rows that could not be scored
            if not mask.any():
                continue
            values = torch.zeros(reading.mask.shape, device=policy.device)
            values = values.masked_scatter(reading.mask, critic(reading))  # (b, T)
            old_values, returns = (x[rows, :width] for x in (buffer.old_values, buffer.returns))
            loss, _ = value_loss(values, old_values, returns, mask, config.value_clip_range, unit=critic.unit)
            optimizer.zero_grad(set_to_none=True)  # and what has no gradient, AdamW leaves alone
            (config.value_coef * loss).backward()
            torch.nn.utils.clip_grad_norm_(critic.parameters(), config.max_grad_norm)
            optimizer.step()
