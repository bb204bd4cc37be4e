"""The update: epochs x minibatches x micro-batches of gradient steps on one rollout."""

import math
from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import chain

import torch
from torch import Tensor

from models.policy import Policy, TokenStats
from ppo.buffer import RolloutBuffer
from ppo.checks import check_finite, check_skipped
from ppo.config import PPOConfig
from ppo.errors import TrainingError
from ppo.groups import group_means, group_sums
from ppo.kl import kl_estimate
from ppo.losses import mean_over_tokens, policy_loss, value_loss
from ppo.optimizer import frozen

# Before the first step the update scores the very tokens that were sampled, with the same weights. In
# float32 the two agree up to rounding: 1e-6 (root mean square) for a model of two layers, 3e-5 for sixteen.
# More means that they are not the same distribution. It is not the largest difference that is held to this:
# that of a thousand tokens is ten times as far out by rounding alone.
MAX_FIRST_LOGRATIO = 1e-4

Sums = defaultdict[str, float]


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
) -> dict[str, float]:
    """Train policy and critic on one rollout; means over all tokens (or steps) seen, by metric name.

    `train_policy` False: the critic alone, for its warm-up. `skipped_in_a_row`: optimizer steps that
    overflowed at the end of the last update.

    Raises:
        TrainingError: the first ratio is not 1, a number is not finite, or too many steps in a row overflow.
    """
    policy.train()
    before = [p.detach().clone() for p in policy.trainable().values()]
    totals: Sums = defaultdict(float, skipped_in_a_row=skipped_in_a_row)
    epochs = (buffer.minibatches(config.minibatch_size, generator) for _ in range(config.epochs))
    with nullcontext() if train_policy else frozen(policy.trainable().values()):
        for minibatch in chain.from_iterable(epochs):
            if not minibatch.response_mask.any():
                continue  # every row a fault: nothing to learn from
            step = _optimizer_step(policy, optimizer, scaler, minibatch, config, kl_coef)
            if "first_logratio" not in totals:
                totals["first_logratio"] = math.sqrt(step["logratio_squared"] / step["tokens"])
                _check_first_ratio(policy, totals["first_logratio"])
            _add(totals, step)
            if step["stopped_early"]:
                break  # of all epochs
            if step["optimizer_steps"]:
                totals["skipped_in_a_row"] = totals["skipped_in_a_row"] + 1 if step["skipped_steps"] else 0
                check_skipped(int(totals["skipped_in_a_row"]))
    return _means(totals, policy, before)


def _optimizer_step(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    minibatch: RolloutBuffer,
    config: PPOConfig,
    kl_coef: float,
) -> Sums:
    """Accumulate the gradient of one minibatch, clip it, step. Returns sums over its tokens.

    No step is taken where the policy has already gone too far from the one that sampled: beyond `target_kl`
    the update is over, beyond `max_ratio` this minibatch is left out.
    """
    optimizer.zero_grad(set_to_none=True)
    # The token count of the whole step: divided by its own, a micro-batch of short responses would count
    # as much as one of long ones, and the gradient would depend on how the minibatch was cut.
    tokens = minibatch.response_mask.sum()
    sums: Sums = defaultdict(float, minibatches=1)
    for micro in minibatch.micro_batches(config.micro_batch):
        if micro.response_mask.any():
            loss, stats = minibatch_loss(policy, micro, config, kl_coef, denominator=tokens)
            scaler.scale(loss).backward()
            _add(sums, stats)
    if config.target_kl is not None and sums["approx_kl"] / sums["tokens"] > config.target_kl:
        return sums | {"stopped_early": 1}
    if config.max_ratio is not None and sums["ratio"] / sums["tokens"] > config.max_ratio:
        return sums | {"guarded_steps": 1}
    scaler.unscale_(optimizer)
    norms = {f"{group['name']}_grad_norm": _grad_norm(group["params"]) for group in optimizer.param_groups}
    if all(map(math.isfinite, norms.values())):
        _add(sums, norms)  # an overflow has none
    elif not scaler.is_enabled():
        names = ", ".join(name for name, norm in norms.items() if not math.isfinite(norm))
        raise TrainingError(f"a gradient is not finite ({names}): lower the learning rate")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
    scale = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    sums["optimizer_steps"] = 1
    sums["skipped_steps"] = int(scaler.get_scale() < scale)  # an overflow: policy and critic stay both
    return sums


def minibatch_loss(
    policy: Policy, batch: RolloutBuffer, config: PPOConfig, kl_coef: float, *, denominator: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Policy loss (+ value loss) (− entropy bonus) (+ KL), and sums over the tokens of `batch`."""
    mask = batch.response_mask
    stats = policy(batch.tokens, config.temperature, entropy_grad=config.entropy_coef > 0)
    actor_loss, actor = policy_loss(
        stats.logprobs,
        batch.old_logprobs,
        batch.advantages,
        mask,
        config.clip_range,
        clip_high=config.clip_range_high,
        weights=batch.weights,
        denominator=denominator,
    )
    critic_loss, critic = value_loss(
        stats.values, batch.old_values, batch.returns, mask, config.value_clip_range, denominator=denominator
    )
    loss = actor_loss
    if config.uses_critic:
        loss = loss + config.value_coef * critic_loss
    if config.entropy_coef:
        entropy = mean_over_tokens(stats.entropy, mask, denominator=denominator)
        loss = loss - config.entropy_coef * entropy
    if config.kl_in == "loss":
        kl = kl_estimate(stats.logprobs, batch.ref_logprobs, config.kl_kind)
        loss = loss + kl_coef * mean_over_tokens(kl, mask, denominator=denominator)
    with torch.no_grad():
        if not torch.isfinite(loss):
            _name_what_is_not_finite(batch, stats)
        sums = {
            name: actor[name].item()
            for name in ("approx_kl", "clipped", "ratio", "logratio_squared", "tokens")
        }
        sums |= group_sums(stats.logprobs, batch, config)
        sums["value_error"] = critic["squared_error"].item()
        sums["value_clipped"] = critic["clipped"].item()
        sums["entropy"] = stats.entropy.sum().item()
        sums["policy_loss"] = actor_loss.item()
        sums["value_loss"] = critic_loss.item()
    return loss, sums


def _name_what_is_not_finite(batch: RolloutBuffer, stats: TokenStats) -> None:
    check_finite(
        batch.problems(),
        batch.response_mask,
        **stats._asdict(),
        **{name: getattr(batch, name) for name in ("old_logprobs", "ref_logprobs", "advantages", "returns")},
    )
    raise TrainingError("the loss is not finite: lower the learning rate or the KL weight")


def _check_first_ratio(policy: Policy, logratio: float) -> None:
    if policy.precision.exact and logratio > MAX_FIRST_LOGRATIO:
        raise TrainingError(
            f"the log-ratio before the first step is {logratio:.1e} (root mean square), more than "
            f"{MAX_FIRST_LOGRATIO:.0e}: the update does not score tokens the way the rollout sampled them"
        )


def _grad_norm(parameters: list[Tensor]) -> float:
    grads = [p.grad for p in parameters if p.grad is not None]
    return torch.nn.utils.get_total_norm(grads).item() if grads else 0.0


def _add(totals: Sums, more: Mapping[str, float]) -> None:
    for name, value in more.items():
        totals[name] += value


def _means(totals: Sums, policy: Policy, before: list[Tensor]) -> dict[str, float]:
    """Sums to the means that are logged."""
    tokens, minibatches = max(totals["tokens"], 1), max(totals["minibatches"], 1)
    taken = max(totals["optimizer_steps"] - totals["skipped_steps"], 1)
    with torch.no_grad():
        norms = [p.norm() for p in policy.trainable().values()]
        moved = [(p - old).float().norm() for p, old in zip(policy.trainable().values(), before, strict=True)]
    return {
        "ppo/approx_kl": totals["approx_kl"] / tokens,
        "ppo/clip_frac": totals["clipped"] / tokens,
        "ppo/ratio": totals["ratio"] / tokens,
        "ppo/entropy": totals["entropy"] / tokens,
        "ppo/value_clip_frac": totals["value_clipped"] / tokens,
        "ppo/value_error": totals["value_error"] / tokens,
        "ppo/policy_loss": totals["policy_loss"] / minibatches,
        "ppo/value_loss": totals["value_loss"] / minibatches,
        "ppo/policy_grad_norm": totals["policy_grad_norm"] / taken,
        "ppo/value_grad_norm": totals["value_grad_norm"] / taken,
        "ppo/first_logratio": totals["first_logratio"],
        "ppo/update_norm": torch.stack(moved).norm().item(),
        "ppo/weight_norm": torch.stack(norms).norm().item(),
        "ppo/optimizer_steps": int(totals["optimizer_steps"]),
        "ppo/skipped_steps": int(totals["skipped_steps"]),
        "ppo/skipped_in_a_row": int(totals["skipped_in_a_row"]),
        "ppo/guarded_steps": int(totals["guarded_steps"]),
        "ppo/stopped_early": int(totals["stopped_early"]),
        **group_means(totals),
    }
