"""The update: epochs x minibatches x micro-batches of gradient steps on one rollout."""

import math
from collections import Counter
from contextlib import nullcontext
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from models.heap import trimmed_heap
from models.low_rank import kept_sums
from models.policy import Policy, TokenStats
from models.together import check_same_weights
from ppo.buffer import RolloutBuffer
from ppo.checks import check_finite, check_first_logratio
from ppo.config import PPOConfig
from ppo.errors import TrainingError
from ppo.kl import kl_estimate
from ppo.losses import mean_over_tokens, policy_loss, value_loss
from ppo.optimizer import frozen
from ppo.parallel import ALONE, World
from ppo.stats import Sums, UpdateStats, token_means


def update(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    buffer: RolloutBuffer,
    config: PPOConfig,
    *,
    kl_coef: float,
    generator: torch.Generator,
    train_policy: bool = True,
    skipped_in_a_row: int = 0,
    world: World = ALONE,
) -> dict[str, float]:
    """Train policy and critic on one rollout; means over all tokens (or steps) seen, by metric name.

    No step is taken where the policy has already gone too far from the one that sampled: beyond `target_kl`
    the update is over, beyond `max_ratio` the minibatch is left out.

    `train_policy` False: the critic alone, for its warm-up. `skipped_in_a_row`: optimizer steps that
    overflowed at the end of the last update. `world`: a rank takes its share of every minibatch, and the
    step is that of all.

    Raises:
        TrainingError: the first ratio is not 1, a number is not finite, or too many steps in a row overflow.
    """
    policy.train()
    before = [p.detach().clone() for p in policy.trainable().values()]
    stats = UpdateStats(skipped_in_a_row)
    epochs = (buffer.minibatches(config.minibatch_size, generator) for _ in range(config.epochs))
    with nullcontext() if train_policy else frozen(policy.trainable().values()):
        for minibatch in chain.from_iterable(epochs):
            if not minibatch.response_mask.any():
                continue  # every row a fault: nothing to learn from
            optimizer.zero_grad(set_to_none=True)
            sums = accumulate_gradient(policy, scaler, minibatch, config, kl_coef, world)
            means = token_means(sums)
            if stats.first_logratio is None:
                stats.first_logratio = math.sqrt(means["ppo/logratio_squared"])
                check_first_logratio(policy, stats.first_logratio)
            stats.sums.update(sums)
            if config.target_kl is not None and means["ppo/approx_kl"] > config.target_kl:
                stats.stopped_early = True
                break  # of all epochs
            if config.max_ratio is not None and means["ppo/ratio"] > config.max_ratio:
                stats.guarded_steps += 1
                continue
            world.sum_gradients(p for group in optimizer.param_groups for p in group["params"])
            norms, skipped = optimizer_step(optimizer, scaler, config.max_grad_norm)
            stats.stepped(norms, skipped=skipped)
    movement = _movement(policy, before)
    check_same_weights(world.each(lambda: movement["ppo/weight_norm"]))
    return stats.metrics() | movement


@trimmed_heap()
@kept_sums()
def accumulate_gradient(
    policy: Policy,
    scaler: torch.amp.GradScaler,
    minibatch: RolloutBuffer,
    config: PPOConfig,
    kl_coef: float,
    world: World = ALONE,
) -> Sums:
    """Add the (scaled) gradient of this rank's share of one minibatch to the parameters, micro-batch by
    micro-batch; the sums are those of all ranks."""
    # The token count of the whole step: divided by its own, a micro-batch of short responses would count
    # as much as one of long ones, and the gradient would depend on how the minibatch was cut.
    tokens = minibatch.response_mask.sum()

    def backward() -> Counter[str]:
        sums: Counter[str] = Counter()
        for micro in minibatch.micro_batches(config.micro_batch, world.dealt):
            if micro.response_mask.any():
                loss, part = minibatch_loss(policy, micro, config, kl_coef, denominator=tokens)
                scaler.scale(loss).backward()
                sums.update(part)
        return sums

    total: Counter[str] = Counter()
    for sums in world.each(backward):
        total.update(sums)
    return total


def minibatch_loss(
    policy: Policy, batch: RolloutBuffer, config: PPOConfig, kl_coef: float, *, denominator: Tensor
) -> tuple[Tensor, Sums]:
    """Policy loss (+ value loss) (− entropy bonus) (+ KL), and sums over the tokens of `batch`."""
    mask = batch.response_mask
    stats = policy(batch.tokens, config.temperature, entropy_grad=config.entropy_coef > 0)
    surrogate = partial(
        policy_loss,
        stats.logprobs,
        batch.old_logprobs,
        batch.advantages,
        clip_range=config.clip_range,
        clip_high=config.clip_range_high,
        dual_clip=config.dual_clip,
        weights=batch.weights,
    )
    loss, actor = surrogate(mask, denominator=denominator)
    sums = _named("ppo", actor) | {"ppo/entropy": stats.entropy.detach().sum().item()}
    if config.uses_critic:
        critic_loss, critic = value_loss(
            stats.values,
            batch.old_values,
            batch.returns,
            mask,
            config.value_clip_range,
            unit=policy.value_head.unit,
            denominator=denominator,
        )
        loss = loss + config.value_coef * critic_loss
        sums |= _named("ppo", critic)
    if config.entropy_coef:
        entropy = mean_over_tokens(stats.entropy, mask, denominator=denominator)
        loss = loss - config.entropy_coef * entropy
    if config.kl_in == "loss":
        kl = kl_estimate(stats.logprobs, batch.ref_logprobs, config.kl_kind)
        loss = loss + kl_coef * mean_over_tokens(kl, mask, denominator=denominator)
    if not torch.isfinite(loss):
        _name_what_is_not_finite(batch, stats)
    with torch.no_grad():  # the same surrogate, on the tokens of one kind of outcome
        for outcome, rows in batch.by_outcome().items():
            sums |= _named(f"outcome/{outcome}", surrogate(mask & rows)[1])
    return loss, sums


def optimizer_step(
    optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, max_grad_norm: float
) -> tuple[dict[str, float], bool]:
    """Unscale, clip, step. Returns the gradients' norms before clipping, by group, and whether the step was
    skipped for an overflow: policy and critic then stay both.

    Raises:
        TrainingError: a gradient is not finite, and there is no loss scale to blame.
    """
    scaler.unscale_(optimizer)
    # Each by its own norm: together, large errors of the critic would shrink the policy's step.
    norms = {
        f"{group['name']}_grad_norm": torch.nn.utils.clip_grad_norm_(group["params"], max_grad_norm).item()
        for group in optimizer.param_groups
    }
    if not scaler.is_enabled() and not all(map(math.isfinite, norms.values())):
        names = ", ".join(name for name, norm in norms.items() if not math.isfinite(norm))
        raise TrainingError(f"a gradient is not finite ({names}): lower the learning rate")
    scale = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return norms, scaler.get_scale() < scale


def _named(room: str, sums: dict[str, Tensor]) -> dict[str, float]:
    return {f"{room}/{name}": value.item() for name, value in sums.items()}


def _name_what_is_not_finite(batch: RolloutBuffer, stats: TokenStats) -> None:
    check_finite(
        batch.problem_ids,
        batch.response_mask,
        **stats._asdict(),
        **{name: getattr(batch, name) for name in ("old_logprobs", "ref_logprobs", "advantages", "returns")},
    )
    raise TrainingError("the loss is not finite: lower the learning rate or the KL weight")


@torch.no_grad()
def _movement(policy: Policy, before: list[Tensor]) -> dict[str, float]:
    """How far the trained weights went, and how large they are."""
    now = list(policy.trainable().values())
    moved = [(p - old).float().norm() for p, old in zip(now, before, strict=True)]
    return {
        "ppo/update_norm": torch.stack(moved).norm().item(),
        "ppo/weight_norm": torch.stack([p.norm() for p in now]).norm().item(),
    }
