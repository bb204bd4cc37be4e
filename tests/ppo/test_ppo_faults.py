"""Rows without a score are in no statistic: neither the controller's, nor the whitening's."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from loop_helpers import ToyScorer, metrics_of, run, sometimes_faulty, toy_config

import ppo.loop
from ppo.buffer import RolloutBuffer
from ppo.config import PPOConfig


@pytest.fixture
def buffers(monkeypatch: pytest.MonkeyPatch) -> list[RolloutBuffer]:
    """What the loop hands to the update, iteration by iteration."""
    seen: list[RolloutBuffer] = []
    update = ppo.loop.update

    def watched(
        policy: Any, optimizer: Any, scaler: Any, buffer: RolloutBuffer, *rest: Any, **named: Any
    ) -> Any:
        seen.append(buffer)
        return update(policy, optimizer, scaler, buffer, *rest, **named)

    monkeypatch.setattr(ppo.loop, "update", watched)
    return seen


def trained(folder: Any, sft: Any, config: PPOConfig) -> list[dict[str, Any]]:
    run(folder, sft, config, ToyScorer(sometimes_faulty))
    rows = metrics_of(folder)[1:]
    assert all(0 < row["rollout/faults"] < 16 for row in rows)
    return rows


def test_the_controller_counts_scored_responses_alone(tmp_path, letters_sft, buffers):
    """coefficient ← coefficient · (1 − 0.2 · n / horizon) below the target, n without the faults."""
    config = toy_config(iterations=3, kl_target=1e3, kl_horizon=100)
    rows = trained(tmp_path, letters_sft, config)
    for row, following in pairwise(rows):
        scored = 16 - row["rollout/faults"]
        assert following["ppo/kl_coef"] == pytest.approx(row["ppo/kl_coef"] * (1 - 0.2 * scored / 100))


def test_whitening_is_over_scored_tokens_alone(tmp_path, letters_sft, buffers):
    """Mean 0 and variance 1 over the very tokens that are trained on."""
    trained(tmp_path, letters_sft, toy_config(iterations=3, learning_rate=1e-2))
    for buffer in buffers:
        white = buffer.advantages[buffer.response_mask].double()
        assert white.mean().item() == pytest.approx(0.0, abs=1e-6)
        assert white.var(correction=0).item() == pytest.approx(1.0, abs=1e-4)
        assert not buffer.response_mask[[o == "" for o in buffer.outcomes]].any()


def test_a_critic_starts_at_the_mean_of_what_was_scored(tmp_path, letters_sft, buffers):
    """And counts in its spread; a fault is no 0."""
    policy, _ = run(
        tmp_path, letters_sft, toy_config(iterations=1, value_learning_rate=0.0), ToyScorer(sometimes_faulty)
    )
    scores = [
        buffer.returns[row, 0].item()
        for buffer in buffers
        for row in range(16)
        if buffer.outcomes[row] and buffer.response_mask[row].any()
    ]
    assert policy.value_head.mean.item() == pytest.approx(sum(scores) / len(scores), abs=1e-4)
    assert policy.value_head.unit.item() == pytest.approx(
        torch.tensor(scores).std(correction=0).item(), abs=1e-3
    )
