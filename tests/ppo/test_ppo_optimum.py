"""Tasks whose optimum is known, reached by the same code that trains on programs."""

from typing import Any

import pytest
import torch
from loop_helpers import ToyScorer, metrics_of, run, toy_config
from torch import Tensor, nn

from models.batch import TokenBatch
from models.policy import TokenStats
from models.precision import Precision
from ppo.advantages import gae, whiten
from ppo.buffer import RolloutBuffer
from ppo.config import PPOConfig
from ppo.kl import kl_estimate
from ppo.optimizer import build_optimizer, set_learning_rates
from ppo.rewards import token_rewards
from ppo.rollout import PlainScore
from ppo.update import update

SYMBOLS = 10


class Bandit(nn.Module):
    """A policy of one decision among ten symbols, with the face that the update knows."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())
        self.value_head = nn.Linear(1, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        self.value_head.unit = torch.ones(())
        self.precision = Precision(torch.device("cpu"), torch.float32)

    def trainable(self) -> dict[str, nn.Parameter]:
        return {"logits": self.logits}

    def forward(self, batch: TokenBatch, temperature: float, *, entropy_grad: bool = False) -> TokenStats:
        logprobs = self.logits.log_softmax(-1)
        values = self.value_head(torch.ones_like(batch.response_ids, dtype=torch.float32)[..., None])[..., 0]
        entropy = -(logprobs.exp() * logprobs).sum().expand(batch.response_ids.shape)
        return TokenStats(logprobs[batch.response_ids], values, entropy)


def play(config: PPOConfig, scores: Tensor, ref: Tensor) -> Tensor:
    """Steps 2 to 7 of the loop on the bandit; the probabilities it ends with."""
    policy: Any = Bandit(ref.log())
    optimizer = build_optimizer(policy, config)
    generator = torch.Generator().manual_seed(config.seed)
    count = config.batch_size
    prompt = torch.zeros(count, 1, dtype=torch.long), torch.ones(count, 1, dtype=torch.bool)
    mask = torch.ones(count, 1, dtype=torch.bool)
    for iteration in range(config.iterations):
        with torch.no_grad():
            logprobs = policy.logits.log_softmax(-1)
        ids = torch.multinomial(logprobs.exp(), count, replacement=True, generator=generator)[:, None]
        with torch.no_grad():
            old_logprobs, values, _ = policy(TokenBatch(*prompt, ids, mask), 1.0)
        ref_logprobs = ref.log()[ids]
        kl = kl_estimate(old_logprobs, ref_logprobs, "k1")
        in_reward = config.kl_coef if config.kl_in == "reward" else 0.0
        rewards = token_rewards(scores[ids[:, 0]], kl, mask, in_reward)
        advantages, returns = gae(rewards, values, mask, config.gamma, config.lam_policy)
        if config.whiten_advantages:
            advantages = whiten(advantages, mask)
        set_learning_rates(optimizer, config, iteration)
        update(
            policy,
            optimizer,
            torch.amp.GradScaler("cpu", enabled=False),
            RolloutBuffer(
                tokens=TokenBatch(*prompt, ids, mask),
                old_logprobs=old_logprobs,
                ref_logprobs=ref_logprobs,
                old_values=values,
                advantages=advantages,
                returns=returns,
                weights=torch.ones_like(advantages),
                problem_ids=["bandit"] * count,
                outcomes=["scored"] * count,
            ),
            config,
            kl_coef=config.kl_coef,
            generator=generator,
        )
    return policy.logits.detach().softmax(-1)


def bandit_config(**changes: Any) -> PPOConfig:
    settings: dict[str, Any] = {
        "iterations": 150,
        "prompts_per_iteration": 512,
        "minibatch_size": 256,
        "micro_batch_size": 256,
        "learning_rate": 0.05,
        "value_learning_rate": 0.05,
        "lr_schedule": "linear",
        "kl_coef": 0.2,
        "value_clip_range": None,
    }
    return PPOConfig(**settings | changes)


def tilted(scores: Tensor, ref: Tensor, kl_coef: float) -> Tensor:
    """argmax over π of E[R] − β·KL(π‖ref): π ∝ ref·e^(R/β)."""
    weights = ref.double() * (scores.double() / kl_coef).exp()
    return weights / weights.sum()


def reverse(scores: Tensor, ref: Tensor, kl_coef: float) -> Tensor:
    """argmax over π of E[R] − β·KL(ref‖π), whose gradient k3 has as a loss: πᵢ = β·refᵢ / (λ − Rᵢ).

    λ makes the probabilities sum to 1, by bisection.
    """
    r, q = scores.double(), ref.double()
    low, high = r.max(), r.max() + kl_coef
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (kl_coef * q / (middle - r)).sum() > 1 else (low, middle)
    return kl_coef * q / (high - r)


@pytest.mark.parametrize(
    ("settings", "optimum"),
    [
        ({}, tilted),
        pytest.param({"whiten_advantages": False}, tilted, marks=pytest.mark.slow),
        # Whitening divides the scores and not the loss term, so its weight would be another one.
        pytest.param({"kl_in": "loss", "whiten_advantages": False}, reverse, marks=pytest.mark.slow),
    ],
    ids=["reward", "reward-raw", "loss"],
)
def test_bandit_with_an_exact_optimum(settings, optimum):
    """Check 30: ten probabilities within 0.002 of the closed form, KL(π‖ref) within 1 % of the exact one."""
    generator = torch.Generator().manual_seed(4)
    ref = torch.randn(SYMBOLS, generator=generator).mul(0.7).softmax(-1)
    scores = torch.rand(SYMBOLS, generator=generator)
    config = bandit_config(**settings)
    expected = optimum(scores, ref, config.kl_coef)
    assert (expected - ref).abs().max() > 0.1  # there is something to learn
    found = play(config, scores, ref).double()
    assert (found - expected).abs().max() < 0.002
    exact = (expected * (expected / ref).log()).sum().item()
    assert (found * (found / ref).log()).sum().item() == pytest.approx(exact, rel=0.01)


@pytest.mark.slow
def test_bandit_without_a_penalty_takes_the_best_arm():
    """Check 30: kl_coef 0: nearly all probability on the best of ten."""
    scores = torch.linspace(0, 1, SYMBOLS)
    found = play(bandit_config(kl_coef=0.0, iterations=80), scores, torch.full((SYMBOLS,), 0.1))
    assert found[-1] > 0.95


@pytest.mark.parametrize("kl_in", ["reward", pytest.param("loss", marks=pytest.mark.slow)])
def test_bandit_without_a_reward_stays(kl_in):
    """Check 30: all scores equal: KL(π‖ref) stays below 1e-3 nats in either place of the penalty."""
    ref = torch.linspace(1, 2, SYMBOLS) / torch.linspace(1, 2, SYMBOLS).sum()
    found = play(bandit_config(kl_in=kl_in, iterations=40, learning_rate=0.01), torch.zeros(SYMBOLS), ref)
    assert (found * (found / ref).log()).sum().item() < 1e-3


class Copying(ToyScorer):
    """The share of the response that is the letter of its prompt."""

    def __call__(self, pairs, iteration):
        return [
            PlainScore(program.count(problem.prompt[0]) / max(1, len(program))) for problem, program in pairs
        ]


@pytest.mark.slow
def test_copies_the_letter_of_its_prompt(tmp_path, letters_sft):
    """Check 30: from an answer that ignores the prompt to mean reward > .9: another action per state."""
    config = toy_config(
        iterations=32,
        prompts_per_iteration=64,
        minibatch_size=32,
        micro_batch_size=32,
        rollout_batch=64,
        epochs=4,
        learning_rate=4e-3,
        adam_eps=1e-5,  # a small network, and noise to hold back
        kl_coef=0.0,
        lam_policy=1.0,
        entropy_coef=0.02,
        lr_schedule="linear",
        eval_every=0,
        save_every=50,
    )
    run(tmp_path, letters_sft, config, Copying(), tune="full", texts=["a:", "b:", "c:", "d:"])
    rewards = [row["reward/mean"] for row in metrics_of(tmp_path)[1:]]
    assert sum(rewards[:3]) / 3 < 0.2
    assert sum(rewards[-5:]) / 5 > 0.9
