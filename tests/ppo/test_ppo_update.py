"""Gradient steps: equal however they are cut, clipped, skipped on overflow, stopped on KL."""

import math

import pytest
import torch
from ppo_helpers import buffer_of, rollout, small_config
from torch import Tensor

from models.batch import TokenBatch
from models.policy import Policy
from ppo.advantages import gae, whiten
from ppo.buffer import RolloutBuffer
from ppo.config import PPOConfig
from ppo.errors import TrainingError
from ppo.kl import kl_estimate
from ppo.optimizer import build_optimizer
from ppo.rewards import token_rewards
from ppo.update import minibatch_loss, update

RAGGED = [7, 1, 4, 2, 6, 3, 7, 5]


@pytest.fixture
def case(make_policy) -> tuple[Policy, RolloutBuffer]:
    policy = make_policy(trained=True)
    return policy, buffer_of(policy, rollout(policy), RAGGED)


def run_update(policy: Policy, buffer: RolloutBuffer, config: PPOConfig, **settings) -> dict[str, float]:
    settings = {
        "optimizer": build_optimizer(policy, config),
        "scaler": torch.amp.GradScaler("cpu", enabled=False),
        "kl_coef": 0.1,
        "generator": torch.Generator().manual_seed(1),
    } | settings
    return update(policy, buffer=buffer, config=config, **settings)


def trained_weights(policy: Policy) -> list[Tensor]:
    return [p.detach().clone() for p in policy.parameters() if p.requires_grad]


def test_first_ratio(case):
    """Check 1, trap A5: before the first step the log-ratio is 0 within 1e-5 and nothing is clipped."""
    policy, buffer = case
    for micro in (1, 2, 4):
        config = small_config(micro_batch_size=micro, minibatch_size=8)
        stats = run_update(policy, buffer, config, optimizer=torch.optim.SGD(sgd_groups(policy), lr=0.0))
        assert stats["ppo/first_logratio"] <= 1e-5 and stats["ppo/clip_frac"] == 0.0
        assert stats["ppo/approx_kl"] <= 1e-9 and stats["ppo/ratio"] == pytest.approx(1.0, abs=1e-5)


def sgd_groups(policy: Policy) -> list[dict]:
    return [
        {"params": list(policy.trainable().values()), "name": "policy"},
        {"params": list(policy.value_head.parameters()), "name": "value"},
    ]


@pytest.mark.parametrize(
    "settings", [{}, {"kl_in": "loss", "entropy_coef": 0.1, "value_clip_range": None}], ids=["plain", "all"]
)
@pytest.mark.parametrize("micro", [1, 2, 3, 16])
def test_micro_batches_change_no_gradient(make_policy, micro, settings):
    """Check 11: gradients of rows of 1 to 7 tokens cut into pieces of 1, 2, 3 equal the whole (1e-5)."""

    def gradients(size: int) -> list[Tensor]:
        policy = make_policy(trained=True)
        buffer = buffer_of(policy, rollout(policy), RAGGED)
        config = small_config(minibatch_size=8, micro_batch_size=size, max_grad_norm=1e9, **settings)
        run_update(policy, buffer, config, optimizer=torch.optim.SGD(sgd_groups(policy), lr=0.0))
        return [p.grad for p in policy.parameters() if p.requires_grad]

    whole = gradients(8)
    scale = max(g.abs().max().item() for g in whole)
    for a, b in zip(gradients(micro), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_sixteen_rows_one_by_one_or_four_by_four_are_one_step(make_policy, tune):
    """Check 11: micro-batches of 1 x 16, 4 x 4 and 16 x 1 on ragged lengths make the same step of SGD.

    Every change of a weight within 1e-5, relative to the largest; and the same statistics.
    """

    def step(size: int) -> tuple[list[Tensor], dict[str, float]]:
        policy = make_policy(tune, trained=True)
        buffer = buffer_of(
            policy, rollout(policy, count=16), [7, 1, 4, 2, 6, 3, 7, 5, 1, 1, 7, 2, 3, 6, 4, 7]
        )
        before = trained_weights(policy)
        config = small_config(
            prompts_per_iteration=16, minibatch_size=16, micro_batch_size=size, max_grad_norm=1e9
        )
        stats = run_update(policy, buffer, config, optimizer=torch.optim.SGD(sgd_groups(policy), lr=1.0))
        return [a - b for a, b in zip(trained_weights(policy), before, strict=True)], stats

    whole, expected = step(16)
    largest = max(change.abs().max().item() for change in whole)
    for size in (1, 4):
        pieces, stats = step(size)
        for a, b in zip(pieces, whole, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * largest)
        for name, value in expected.items():
            assert stats[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize(("left", "right"), [(0, 0), (7, 2), (50, 5)])
def test_padding_changes_neither_advantage_nor_gradient(make_policy, left, right):
    """Check 3: from log-probabilities through KL, rewards, GAE and whitening to the gradient, within 1e-5.

    Columns of junk ids in front of the prompts and behind the responses, under False masks.
    """

    def pad(x: Tensor, columns: tuple[int, int], value: float) -> Tensor:
        return torch.nn.functional.pad(x, columns, value=value)

    def chain(left: int, right: int) -> list[Tensor]:
        policy = make_policy(trained=True)
        prompt_ids, prompt_mask, ids, mask = buffer_of(policy, rollout(policy), RAGGED).tokens
        tokens = TokenBatch(
            pad(prompt_ids, (left, 0), 42),
            pad(prompt_mask, (left, 0), False),
            pad(ids, (0, right), 42),
            pad(mask, (0, right), False),
        )
        with torch.no_grad():
            stats, ref_logprobs = policy(tokens, 0.7), policy.ref_logprobs(tokens, 0.7)
        kl = kl_estimate(stats.logprobs, ref_logprobs, "k1")
        rewards = token_rewards(torch.linspace(0, 1, 8), kl, tokens.response_mask, 0.1)
        advantages, returns = gae(rewards, stats.values, tokens.response_mask, 1.0, 0.95)
        advantages = whiten(advantages, tokens.response_mask)
        buffer = RolloutBuffer(
            tokens=tokens,
            old_logprobs=stats.logprobs,
            ref_logprobs=ref_logprobs,
            old_values=stats.values,
            advantages=advantages,
            returns=returns,
            weights=torch.ones_like(advantages),
            problem_ids=[""] * len(advantages),
            outcomes=[""] * len(advantages),
        )
        loss, _ = minibatch_loss(policy, buffer, small_config(), 0.1, denominator=mask.sum())
        loss.backward()
        width = mask.shape[1]
        numbers = (stats.logprobs, stats.values, rewards, advantages, returns)
        assert all((x[:, width:] == 0).all() for x in numbers)
        return [*(x[:, :width] for x in numbers), *(p.grad for p in policy.parameters() if p.requires_grad)]

    for a, b in zip(chain(left, right), chain(0, 0), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_gradient_is_that_of_a_mean_over_all_tokens(case):
    """Check 11: an independent sum over single tokens, in Python, of the three terms at ratio 1."""
    policy, buffer = case
    config = small_config(minibatch_size=8, kl_in="loss", entropy_coef=0.2, value_coef=0.3)
    stats = policy(buffer.tokens, 0.7, entropy_grad=True)
    total = torch.zeros(())
    for b, t in buffer.response_mask.nonzero().tolist():
        d = stats.logprobs[b, t] - buffer.ref_logprobs[b, t]
        total = total - (stats.logprobs[b, t] - buffer.old_logprobs[b, t]).exp() * buffer.advantages[b, t]
        total = total + 0.3 * 0.5 * (stats.values[b, t] - buffer.returns[b, t]) ** 2
        total = total - 0.2 * stats.entropy[b, t] + 0.1 * ((-d).exp() - 1 + d)
    parameters = [p for p in policy.parameters() if p.requires_grad]
    expected = torch.autograd.grad(total / sum(RAGGED), parameters)
    tokens = buffer.response_mask.sum()
    assert tokens.item() <= sum(RAGGED)
    loss, sums = minibatch_loss(policy, buffer, config, 0.1, denominator=torch.tensor(sum(RAGGED)))
    assert sums["ppo/tokens"] == tokens
    for a, b in zip(torch.autograd.grad(loss, parameters), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("epochs", "minibatch"), [(1, 8), (2, 4), (3, 2), (2, 1)])
def test_number_of_optimizer_steps(case, epochs, minibatch):
    """Check 11, trap A23: epochs x minibatches, the last one included."""
    config = small_config(epochs=epochs, minibatch_size=minibatch, micro_batch_size=3)
    steps = []
    optimizer = build_optimizer(case[0], config)
    optimizer.register_step_post_hook(lambda *_: steps.append(1))
    stats = run_update(*case, config, optimizer=optimizer)
    assert stats["ppo/optimizer_steps"] == len(steps) == epochs * (8 // minibatch)


def test_gradients_are_clipped_after_unscaling_in_all_groups(make_policy):
    """Check 25: with max_norm 1e-12 and SGD neither policy nor critic moves further than lr·1e-12, loss scale
    2¹⁶ or not."""
    for enabled in (False, True):
        policy = make_policy()  # adapters' B and value head at 0, where a change of 1e-12 is not rounded away
        buffer = buffer_of(policy, rollout(policy), RAGGED)
        before = trained_weights(policy)
        config = small_config(minibatch_size=8, max_grad_norm=1e-12)
        scaler = torch.amp.GradScaler("cpu", enabled=enabled)
        stats = run_update(
            policy, buffer, config, scaler=scaler, optimizer=torch.optim.SGD(sgd_groups(policy), lr=0.5)
        )
        moved = [p - old for p, old in zip(trained_weights(policy), before, strict=True)]
        head = len(list(policy.value_head.parameters()))
        for part in (moved[:-head], moved[-head:]):  # policy and critic
            norm = torch.cat([m.double().flatten() for m in part]).norm().item()
            assert 0 < norm <= 0.5e-12 * (1 + 1e-3)
        # Logged are the norms before clipping, and those do not know of the loss scale.
        assert 1e-3 < stats["ppo/policy_grad_norm"] < 1e3


@pytest.mark.parametrize("junk", [float("inf"), float("nan")])
def test_an_overflow_skips_policy_and_critic_together(case, junk):
    """Check 24: under the loss scaler a gradient of inf moves nothing, halves the scale and is counted."""
    policy, buffer = case
    first = next(iter(policy.trainable().values()))
    handle = first.register_hook(lambda grad: grad * junk)
    before = trained_weights(policy)
    config = small_config(minibatch_size=8)
    optimizer = build_optimizer(policy, config)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    stats = run_update(policy, buffer, config, optimizer=optimizer, scaler=scaler)
    assert all(torch.equal(a, b) for a, b in zip(trained_weights(policy), before, strict=True))
    assert scaler.get_scale() == 32.0 and not optimizer.state
    assert stats["ppo/skipped_steps"] == 1 and stats["ppo/update_norm"] == 0.0
    assert all(math.isfinite(value) for value in stats.values()), stats  # they go into JSON
    handle.remove()
    stats = run_update(policy, buffer, config, optimizer=optimizer, scaler=scaler)
    assert stats["ppo/skipped_steps"] == 0 and stats["ppo/update_norm"] > 0


@pytest.mark.parametrize("junk", [float("inf"), float("nan")])
def test_without_a_scaler_a_gradient_that_is_not_finite_stops_the_run(case, junk):
    """Trap A13: weights of NaN must not reach a checkpoint."""
    policy, buffer = case
    next(iter(policy.trainable().values())).register_hook(lambda grad: grad * junk)
    before = trained_weights(policy)
    with pytest.raises(TrainingError, match="gradient"):
        run_update(policy, buffer, small_config())
    assert all(torch.equal(a, b) for a, b in zip(trained_weights(policy), before, strict=True))


def test_a_loss_that_is_not_finite_stops_the_run(case):
    """Trap A13: no constant takes the place of a NaN; tensor and problem are named, in any minibatch."""
    policy, buffer = case
    buffer.advantages[6, 0] = float("nan")
    with pytest.raises(TrainingError, match=r"^advantages are not finite in 1 of 2 .*problems p6\)"):
        run_update(policy, buffer, small_config(micro_batch_size=2))
    buffer.advantages[6, 0] = 0.0
    for p in policy.value_head.parameters():
        p.data.fill_(float("inf"))
    with pytest.raises(TrainingError, match=r"^values are not finite"):
        run_update(policy, buffer, small_config())


def test_too_many_overflows_in_a_row_stop_the_run(case):
    """Check 24: counted from one update into the next, forgotten after a step that was taken."""
    policy, buffer = case
    config = small_config(epochs=6)  # 12 steps
    scaler = torch.amp.GradScaler("cpu")
    first = next(iter(policy.trainable().values()))
    handle = first.register_hook(lambda grad: grad * float("inf"))
    stats = run_update(policy, buffer, config, scaler=scaler)
    assert (stats["ppo/skipped_steps"], stats["ppo/skipped_in_a_row"]) == (12, 12)
    with pytest.raises(TrainingError, match="20 optimizer steps in a row overflowed"):
        run_update(policy, buffer, config, scaler=scaler, skipped_in_a_row=12)
    handle.remove()
    stats = run_update(policy, buffer, config, scaler=torch.amp.GradScaler("cpu"), skipped_in_a_row=19)
    assert (stats["ppo/skipped_steps"], stats["ppo/skipped_in_a_row"]) == (0, 0)


def test_log_probabilities_that_are_not_the_rollouts_stop_the_run(case):
    """Check 1: old log-probabilities off by 1e-3 are not those of the policy that sampled."""
    policy, buffer = case
    buffer.old_logprobs.add_(1e-3)
    with pytest.raises(TrainingError, match="log-ratio before the first step"):
        run_update(policy, buffer, small_config())


def test_kl_stop_ends_all_epochs(case):
    """Trap A12: at a huge learning rate the first minibatch whose approx_kl exceeds the limit is the last of
    all epochs, and takes no step."""
    config = small_config(epochs=4, learning_rate=0.05, target_kl=0.01)
    steps = []
    optimizer = build_optimizer(case[0], config)
    optimizer.register_step_post_hook(lambda *_: steps.append(1))
    stats = run_update(*case, config, optimizer=optimizer)
    assert stats["ppo/stopped_early"] == 1 and stats["ppo/optimizer_steps"] == len(steps) == 1  # of 4 x 2
    assert stats["ppo/approx_kl"] > 0


def test_kl_stop_ends_the_update_though_what_follows_is_near(case):
    """Trap A12: one minibatch beyond the limit is enough, and later ones within it are not gone on with."""
    policy, buffer = case
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))  # as the update will draw it
    buffer.old_logprobs[order[3]] -= 1.0
    config = small_config(
        epochs=2, minibatch_size=1, micro_batch_size=1, learning_rate=1e-6, target_kl=0.01, max_ratio=None
    )
    stats = run_update(policy, buffer, config)
    assert stats["ppo/stopped_early"] == 1 and stats["ppo/optimizer_steps"] == 3


@pytest.mark.parametrize(("margin", "stops"), [(0.99, 1), (1.01, 0)])
def test_kl_stop_is_at_the_limit_itself(make_policy, margin, stops):
    """Trap A12: not at a multiple of it: a little below what the second minibatch has, or a little above."""

    def second_step(limit: float | None) -> dict[str, float]:
        policy = make_policy(trained=True)
        buffer = buffer_of(policy, rollout(policy), RAGGED)
        return run_update(policy, buffer, small_config(learning_rate=0.05, target_kl=limit))

    free = second_step(None)
    tokens = {"first": 0, "second": 0}
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1)).split(4)
    policy = make_policy(trained=True)
    buffer = buffer_of(policy, rollout(policy), RAGGED)
    for name, rows in zip(tokens, order, strict=True):
        tokens[name] = int(buffer.response_mask[rows].sum())
    # The first minibatch has none yet, so the mean over both is the second's, thinned out.
    approx_kl = free["ppo/approx_kl"] * sum(tokens.values()) / tokens["second"]
    assert approx_kl > 1e-3
    assert second_step(margin * approx_kl)["ppo/stopped_early"] == stops


def test_kl_stop_stays_out_of_the_way(case):
    """A small step size never reaches the limit."""
    stats = run_update(*case, small_config(epochs=4, learning_rate=1e-6, target_kl=0.01))
    assert stats["ppo/stopped_early"] == 0 and stats["ppo/optimizer_steps"] == 8


@pytest.mark.parametrize(("enabled", "limit"), [(False, 10.0), (True, 10.0), (False, None)])
def test_a_minibatch_far_from_the_samples_takes_no_step(case, enabled, limit):
    """Check 23: a log-ratio of 50 injected behind the first minibatch: a finite loss, no step, and counted.

    Steps go on with the next minibatch; the loss scale is as it was.
    """
    policy, buffer = case
    config = small_config(minibatch_size=1, micro_batch_size=1, max_ratio=limit)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))  # as the update will draw it
    buffer.old_logprobs[order[3]] -= 50.0
    scaler = torch.amp.GradScaler("cpu", enabled=enabled)
    scale = scaler.get_scale()
    stats = run_update(policy, buffer, config, scaler=scaler)
    left_out = 0 if limit is None else 1
    assert stats["ppo/guarded_steps"] == left_out and stats["ppo/optimizer_steps"] == 8 - left_out
    assert stats["ppo/skipped_steps"] == 0 and scaler.get_scale() == scale
    assert all(math.isfinite(value) for value in stats.values())


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_critic_warm_up_leaves_the_policy_bitwise(make_policy, tune):
    """Check 22: the critic learns, every other parameter keeps its bits; afterwards all are trained.

    Though there are advantages, KL in the loss, entropy bonus, weight decay, and momentum of earlier steps.
    """
    policy = make_policy(tune, trained=True)
    buffer = buffer_of(policy, rollout(policy), RAGGED)
    config = small_config(kl_in="loss", entropy_coef=0.1, weight_decay=0.1)
    optimizer = build_optimizer(policy, config)
    run_update(policy, buffer, config, optimizer=optimizer)
    buffer.old_logprobs[:] = policy(buffer.tokens, 0.7).logprobs.detach()
    before = {name: p.detach().clone() for name, p in policy.named_parameters()}
    stats = run_update(policy, buffer, config, optimizer=optimizer, train_policy=False)
    moved = {name for name, p in policy.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {f"value_head.{name}" for name, _ in policy.value_head.named_parameters()}
    assert (
        stats["ppo/update_norm"] == 0.0
        and stats["ppo/policy_grad_norm"] == 0.0 < stats["ppo/value_grad_norm"]
    )
    assert stats["ppo/optimizer_steps"] == 2
    stats = run_update(policy, buffer, config, optimizer=optimizer)
    assert stats["ppo/update_norm"] > 0


@pytest.mark.parametrize("baseline", ["prompt-mean", "leave-one-out"])
def test_without_a_critic_the_value_head_stays(make_policy, baseline):
    """Its loss would pull at the trunk for a head that nobody asks."""
    policy = make_policy("full")
    buffer = buffer_of(policy, rollout(policy), RAGGED)
    buffer.advantages[:] = 0.0
    before = trained_weights(policy)
    run_update(policy, buffer, small_config(baseline=baseline, samples_per_prompt=2, prompts_per_iteration=4))
    assert all(torch.equal(a, b) for a, b in zip(trained_weights(policy), before, strict=True))


def test_rows_without_tokens_change_nothing(case):
    """Trap A15: faults are in the batch as rows without a mask; a minibatch of faults takes no step."""
    policy, buffer = case
    buffer.response_mask[:6] = False
    config = small_config(minibatch_size=1, micro_batch_size=1)
    assert run_update(policy, buffer, config)["ppo/optimizer_steps"] == 2
    buffer.response_mask[:] = False
    before = trained_weights(policy)
    assert run_update(policy, buffer, config)["ppo/optimizer_steps"] == 0
    assert all(torch.equal(a, b) for a, b in zip(trained_weights(policy), before, strict=True))


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_update_raises_what_was_good_and_lowers_what_was_bad(make_policy, tune):
    """Check 10: log-probabilities follow the sign of their advantage, values go towards their returns."""
    policy = make_policy(tune)
    buffer = buffer_of(policy, rollout(policy), RAGGED)
    buffer.advantages[:] = torch.tensor([1.0, -1.0]).repeat(4)[:, None]
    before = policy.ref_logprobs(buffer.tokens, 0.7)
    frozen = {n: p.detach().clone() for n, p in policy.adapted.named_parameters() if not p.requires_grad}
    stats = run_update(policy, buffer, small_config(minibatch_size=8, learning_rate=2e-3))
    with torch.no_grad():
        after = policy(buffer.tokens, 0.7)
    change = (after.logprobs - buffer.old_logprobs) * buffer.advantages
    assert change[buffer.response_mask].mean() > 0
    assert (after.values - buffer.returns)[buffer.response_mask].square().mean() < stats["ppo/value_error"]
    # Check 14: the reference is the same bits as before, and so is every frozen weight.
    assert torch.equal(policy.ref_logprobs(buffer.tokens, 0.7), before)
    assert all(torch.equal(p, frozen[n]) for n, p in policy.adapted.named_parameters() if n in frozen)


def test_update_norm_is_the_distance_that_the_weights_went(case):
    """Check 17: logged as the norm over all trained weights of the network."""
    policy, buffer = case
    before = [p.detach().clone() for p in policy.trainable().values()]
    stats = run_update(policy, buffer, small_config())
    moved = torch.cat([(p - b).flatten() for p, b in zip(policy.trainable().values(), before, strict=True)])
    assert stats["ppo/update_norm"] == pytest.approx(moved.norm().item(), rel=1e-5)


def test_trained_parameters_must_be_float32(make_policy):
    """Check 24: in half precision an update of 1e-5 of a weight would be rounded away."""
    policy = make_policy()
    next(iter(policy.trainable().values())).data = torch.zeros(1, dtype=torch.float16)
    with pytest.raises(TrainingError, match="float32"):
        build_optimizer(policy, small_config())


def test_one_seed_gives_one_update(make_policy):
    """The same numbers twice; another order of minibatches gives others."""

    def weights(seed: int) -> list[Tensor]:
        policy = make_policy()
        buffer = buffer_of(policy, rollout(policy), RAGGED)
        run_update(policy, buffer, small_config(), generator=torch.Generator().manual_seed(seed))
        return trained_weights(policy)

    assert all(torch.equal(a, b) for a, b in zip(weights(1), weights(1), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(weights(1), weights(2), strict=True))
