"""Every option does something, and those about memory do nothing else: one field changed, one run compared.

What an option does is tested where its formula is; here, that the loop hears of it (trap A17).
"""

from dataclasses import fields
from typing import Any

import pytest
import torch
from loop_helpers import ToyScorer, metrics_of, run, share_of_a, toy_config

from ppo.config import PPOConfig
from ppo.rollout import PlainScore

BASE: dict[str, Any] = {
    "iterations": 3,
    "learning_rate": 2e-2,
    "eval_every": 0,
    "save_every": 9,
    "kl_coef": 0.1,
}
"""Far enough from SFT within three iterations that clips, limits and penalties are met."""

CHANGES: list[dict[str, Any]] = [
    {"prompts_per_iteration": 8},
    {"samples_per_prompt": 2},
    {"max_new_tokens": 3},
    {"temperature": 0.8},
    {"kl_coef": 0.2},
    {"kl_controller": "fixed"},
    {"kl_target": 0.1},
    {"kl_horizon": 100},
    {"kl_in": "loss"},
    {"kl_estimator": "k2"},
    {"kl_estimator": "k3"},
    {"missing_eos_penalty": 0.5},
    {"scale_rewards": True},
    {"reward_clip": 0.3},
    {"gamma": 0.9},
    {"baseline": "prompt-mean"},
    {"baseline": "leave-one-out", "samples_per_prompt": 2, "prompts_per_iteration": 8},
    {"baseline": "group-relative", "samples_per_prompt": 2, "prompts_per_iteration": 8},
    {"lam_policy": 0.5},
    {"lam_alpha": 2.0},
    {"lam_value": 0.5},
    {"critic_warmup": 1},
    {"critic_epochs": 2},
    {"whiten_advantages": False},
    {"error_line_weight": 3.0},
    {"epochs": 3},
    {"minibatch_size": 16},
    {"clip_range": 0.05},
    {"clip_range_high": 0.05},
    {"dual_clip": 1.21},
    {"value_clip_range": 0.01},
    {"value_coef": 0.1},
    {"entropy_coef": 0.01},
    {"target_kl": 1e-3},
    {"max_ratio": 1.001},
    {"learning_rate": 1e-2},
    {"value_learning_rate": 1e-3},
    {"lr_schedule": "linear"},
    {"lr_schedule": "cosine"},
    {"lr_warmup": 2},
    {"adam_eps": 1e-3},
    {"weight_decay": 0.1},
    {"max_grad_norm": 0.01},
    {"init_value_bias": False},
    {"seed": 2},
]
MEMORY: list[dict[str, Any]] = [
    {"rollout_batch": 5},
    {"micro_batch_size": 3},
    {"gradient_checkpointing": True},
]
ELSEWHERE = {
    "iterations",
    "max_prompt_tokens",
    "eval_every",
    "save_every",
    "keep_checkpoints",
    "mask_unexecuted",
}
"""Tested where they act: commands, prompts, checkpoints, programs of several lines."""
TOGETHER = {"lr_final": "linear", "baseline_memory": "prompt-mean"}
"""Read beside another option only."""


class Crashing(ToyScorer):
    """Shares of a, from programs that raised in their first line."""

    def __call__(self, pairs, iteration):
        class Crashed(PlainScore):
            tracebacks = ((1, 1),)

        return [Crashed(share_of_a(program)) for _, program in pairs]


def outcome(folder, sft, **changes) -> list[dict[str, Any]]:
    run(folder, sft, toy_config(**BASE | changes), Crashing(), tune="full")
    return metrics_of(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, letters_sft) -> list[dict[str, Any]]:
    return outcome(tmp_path_factory.mktemp("plain") / "run", letters_sft)


def test_every_field_is_in_one_of_the_lists():
    """A new option without a line here fails."""
    listed = {name for change in [*CHANGES, *MEMORY] for name in change} | ELSEWHERE | set(TOGETHER)
    assert {field.name for field in fields(PPOConfig)} - listed == set()


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_an_option_changes_the_run(tmp_path, letters_sft, plain, change):
    """The same seed, one field: other metrics."""
    assert outcome(tmp_path, letters_sft, **change) != plain


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"lr_schedule": "linear"}, {"lr_schedule": "linear", "lr_final": 0.5}),
        (
            {"baseline": "prompt-mean", "iterations": 5},
            {"baseline": "prompt-mean", "iterations": 5, "baseline_memory": 1},
        ),
    ],
)
def test_an_option_beside_another(tmp_path, letters_sft, first, second):
    """The end of a schedule, the memory of a mean."""
    assert outcome(tmp_path / "a", letters_sft, **first) != outcome(tmp_path / "b", letters_sft, **second)


@pytest.mark.slow
@pytest.mark.parametrize("change", MEMORY, ids=str)
def test_options_of_memory_change_rounding_alone(tmp_path, letters_sft, change):
    """Check 11: after one iteration the weights agree within 1e-5."""
    weights = []
    for name, settings in (("plain", {}), ("changed", change)):
        policy, _ = run(
            tmp_path / name, letters_sft, toy_config(iterations=1, **settings), Crashing(), tune="full"
        )
        weights.append([p.detach() for p in policy.trainable().values()])
    for a, b in zip(*weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
