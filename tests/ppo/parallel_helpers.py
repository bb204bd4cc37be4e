"""The runs by which several processes that train together are compared with one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from loop_helpers import CPU, ToyScorer, by_weights, metrics_of, run, sometimes_faulty, toy_config
from safetensors.torch import save_file

from models.policy import Policy
from models.precision import Precision
from models.storage import load_tensors
from ppo.parallel import World
from ppo.run.state import TrainState

SCENARIOS: dict[str, dict[str, Any]] = {
    "lora": {"critic_epochs": 1, "scale_rewards": True, "micro_batch_size": 2},
    "full": {
        "tune": "full",
        "missing_eos_penalty": 0.1,
        "entropy_coef": 0.01,
        "max_ratio": 1.01,
        "epochs": 3,
    },
    "head": {"critic": "head", "critic_warmup": 1, "kl_in": "loss"},
    "kl-stop": {
        "baseline": "leave-one-out",
        "samples_per_prompt": 2,
        "prompts_per_iteration": 8,
        "target_kl": 2e-3,
        "learning_rate": 1e-2,
        "epochs": 4,
    },
    # With the first seed some gradient all but cancels, and Adam makes a whole step of what rounding leaves.
    "prompt-mean": {"baseline": "prompt-mean", "whiten_advantages": False, "seed": 2},
    "overflow": {"overflow": True},
}
"""Runs of three iterations, by what is special about them."""


QUICK = ["lora", "full", "kl-stop", "overflow"]


def check_equal(many: Path, alone: Path, name: str, size: int, within: float = 1e-5) -> None:
    """Weights `within` a distance, of ranks to the bit, counts and decisions exactly, the rest nearly."""
    expected = load_tensors(alone / f"{name}-0.safetensors")
    first = load_tensors(many / f"{name}-0.safetensors")
    for rank in range(1, size):
        other = load_tensors(many / f"{name}-{rank}.safetensors")
        assert all(torch.equal(first[key], other[key]) for key in first)
    for key, weight in expected.items():
        torch.testing.assert_close(first[key], weight, rtol=0, atol=within)
    rows, wanted = metrics_of(many / name), metrics_of(alone / name)
    assert [row.keys() for row in rows] == [row.keys() for row in wanted]
    for row, want in zip(rows, wanted, strict=True):
        for key, value in want.items():
            assert row[key] == pytest.approx(value, rel=1e-3, abs=1e-4), key
    answers = [(folder / name / "samples.jsonl").read_text().splitlines() for folder in (many, alone)]
    texts = [[json.loads(line)["response"] for line in lines] for lines in answers]
    assert texts[0] == texts[1]


def train_scenario(world: World, folder: Path, sft: Path, name: str, precision: Precision = CPU) -> None:
    """One of them; the trained weights of this rank end up in `folder`/NAME-RANK.safetensors."""
    special = dict(SCENARIOS[name])
    options = {key: special.pop(key) for key in ("tune", "critic") if key in special}
    overflow = special.pop("overflow", False)
    config = toy_config(iterations=3, eval_every=2, **special)

    def scale(state: TrainState) -> None:
        if overflow:
            state.scaler = torch.amp.GradScaler(precision.device.type, init_scale=64.0)

    def break_one_gradient(policy: Policy) -> None:
        """The second backward pass of the last rank overflows."""
        calls = []

        def hook(gradient: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            return gradient * float("inf") if len(calls) == 2 else gradient

        if overflow and world.rank == world.size - 1:
            next(iter(policy.trainable().values())).register_hook(hook)

    policy, _ = run(
        folder / name,
        sft,
        config,
        ToyScorer(sometimes_faulty, world=world),
        evaluator=by_weights,
        world=world,
        prepare=break_one_gradient,
        prepare_state=scale,
        precision=precision,
        **options,
    )
    weights = {**policy.trainable(), **{f"critic.{n}": p for n, p in policy.value_head.named_parameters()}}
    save_file(
        {n: p.detach().cpu().clone() for n, p in weights.items()}, folder / f"{name}-{world.rank}.safetensors"
    )


def train_all(world: World, folder: Path, sft: Path, names: list[str], precision: Precision = CPU) -> None:
    for name in names:
        train_scenario(world, folder, sft, name, precision)
