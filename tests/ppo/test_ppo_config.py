"""No key that nothing reads, and no value that cannot work."""

import ast
import dataclasses
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from ppo_helpers import small_config

from models.adapter import TuneConfig
from models.precision import DeviceConfig
from models.sft_config import SFTConfig
from models.tiny import TinyConfig
from ppo.config import PPOConfig
from ppo.optimizer import build_optimizer, learning_rate_factor, set_learning_rates

ROOT = Path(__file__).parents[2]


def attribute_reads() -> Counter[str]:
    """Every name read as `something.name` in the sources, outside the checks of `__post_init__`."""
    reads: Counter[str] = Counter()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef) and node.name == "__post_init__":
            return
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            reads[node.attr] += 1
        for child in ast.iter_child_nodes(node):
            visit(child)

    for folder in ("ppo", "models", "cli"):
        for file in (ROOT / folder).rglob("*.py"):
            visit(ast.parse(file.read_text(encoding="utf-8")))
    return reads


READS = attribute_reads()


@pytest.mark.parametrize("kind", [PPOConfig, SFTConfig, TuneConfig, DeviceConfig, TinyConfig])
def test_every_key_is_read(kind):
    """Traps A2, A17: a setting that only its own validation reads would be a promise nobody keeps."""
    assert [f.name for f in dataclasses.fields(kind) if not READS[f.name]] == []


@pytest.mark.parametrize("kind", [PPOConfig, SFTConfig, TuneConfig, DeviceConfig, TinyConfig])
def test_every_key_is_explained(kind):
    """Each field is followed by a string that says what it does: it becomes the help of the flag."""
    source = next(
        node
        for file in [*(ROOT / "ppo").rglob("*.py"), *(ROOT / "models").glob("*.py")]
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    for statement, following in zip(source.body, [*source.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            assert isinstance(following, ast.Expr), ast.unparse(statement)
            assert isinstance(following.value, ast.Constant) and len(str(following.value.value)) > 10


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"gamma": 1.5},
        {"lam_policy": -0.1},
        {"lam_value": 1.1},
        {"clip_range": 0.0},
        {"kl_coef": -1.0},
        {"epochs": 0},
        {"micro_batch_size": 0},
        {"minibatch_size": 3},
        {"keep_checkpoints": 0},
        {"dual_clip": 1.1},
        {"samples_per_prompt": 1, "baseline": "group-relative"},
        {"lam_alpha": 0.05, "baseline": "prompt-mean"},
        {"lam_alpha": 0.0},
        {"gamma": 0.99, "baseline": "prompt-mean"},
        {"gamma": 0.99, "baseline": "leave-one-out", "samples_per_prompt": 2},
        {"kl_estimator": "k1", "kl_in": "loss"},
        {"learning_rate": float("nan")},
    ],
)
def test_values_that_cannot_work_are_refused(wrong):
    """In one line that names the key; minibatches divide the rollout, so none is left over or short."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        small_config(**wrong)


def test_gamma_is_one_by_default():
    """A score 512 tokens away counts in full."""
    assert PPOConfig().gamma == 1.0


def test_optimizer_reads_its_settings(make_policy):
    """Check 17: AdamW with its eps and two learning rates."""
    policy = make_policy()
    config = PPOConfig(learning_rate=3e-4, value_learning_rate=7e-4, weight_decay=0.01, adam_eps=1e-6)
    optimizer = build_optimizer(policy, config)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"policy": 3e-4, "value": 7e-4}
    for group in optimizer.param_groups:
        assert group["eps"] == 1e-6 and group["weight_decay"] == 0.01
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for p in policy.parameters() if p.requires_grad}


def test_first_step_of_adam_has_the_size_that_its_eps_says():
    """Check 17: |Δ| = lr·g / (g + eps): 1e-5 halves the step of a gradient of 1e-5, the default does not."""
    for config, step in ((PPOConfig(adam_eps=1e-5), 0.5), (PPOConfig(), 1 / 1.001)):
        parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        parameter.grad = torch.full_like(parameter, 1e-5)
        torch.optim.AdamW([parameter], lr=1.0, eps=config.adam_eps, weight_decay=config.weight_decay).step()
        assert parameter.item() == pytest.approx(-step, rel=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_learning_rate_schedule(schedule, make_policy):
    """Warm-up rises to 1 in even steps; then the rate never rises, ends near lr_final, and is never 0.

    An iteration at rate 0 would sample and score a whole rollout for nothing.
    """
    config = PPOConfig(iterations=50, lr_warmup=4, lr_schedule=schedule, lr_final=0.0)
    factors = [learning_rate_factor(config, i) for i in range(config.iterations)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert all(a >= b for a, b in pairwise(factors[4:]))
    assert factors[4] == 1.0 and factors[-1] > 0
    if schedule != "constant":
        assert factors[-1] < 0.05 and factors[27] == pytest.approx(0.5, abs=0.05)
    floor = PPOConfig(iterations=50, lr_schedule=schedule, lr_final=0.3)
    assert min(learning_rate_factor(floor, i) for i in range(60)) >= 0.3
    optimizer = build_optimizer(make_policy(), config)
    assert set_learning_rates(optimizer, config, 0) == pytest.approx(0.25 * config.learning_rate)
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0.25 * config.value_learning_rate)
