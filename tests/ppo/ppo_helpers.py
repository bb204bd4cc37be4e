"""What several tests of `ppo` build: random masked tensors, prompts, a rollout, a scored buffer."""

from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from data import Problem, TestCase
from models.policy import Policy
from ppo.buffer import RolloutBuffer
from ppo.config import PPOConfig
from ppo.prompts import EncodedPrompt
from ppo.rollout import Responses, forward_responses, sample_responses

lengths = st.lists(st.integers(0, 7), min_size=1, max_size=5).filter(any)
"""Response lengths of a batch; 0 is a row that was masked out."""
seeds = st.integers(0, 2**31)


def ragged(row_lengths: Sequence[int], width: int | None = None) -> Tensor:
    """A response mask (B, T) with so many True in each row."""
    width = width or max(row_lengths)
    return torch.arange(width)[None, :] < torch.tensor(row_lengths)[:, None]


def normal(shape: Any, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def prompts_of(tokenizer: Any, texts: Sequence[str]) -> list[EncodedPrompt]:
    """Prompts without a template."""
    return [
        EncodedPrompt(
            Problem(f"p{i}", text, (TestCase("", ""),)), tuple(tokenizer(text).input_ids), False, text
        )
        for i, text in enumerate(texts)
    ]


def rollout(policy: Policy, count: int = 8, length: int = 7, temperature: float = 0.7) -> Responses:
    """Responses of different lengths to prompts of different lengths."""
    texts = [f"{'ab' * (i % 4)} cd {i}" for i in range(count)]
    return sample_responses(
        policy,
        prompts_of(policy.tokenizer, texts),
        max_new_tokens=length,
        temperature=temperature,
        batch_size=count,
        generator=torch.Generator().manual_seed(11),
    )


def buffer_of(
    policy: Policy, responses: Responses, row_lengths: Sequence[int], seed: int = 0
) -> RolloutBuffer:
    """A buffer whose rows are cut to `row_lengths`, with random advantages and returns."""
    mask = responses.tokens.response_mask
    mask = mask & ragged(row_lengths, mask.shape[1]).to(mask.device)
    _, ref_logprobs, values = forward_responses(policy, responses, 0.7, len(mask))
    advantages = torch.where(mask, normal(mask.shape, seed, torch.float32).to(mask.device), 0.0)
    returns = torch.where(mask, normal(mask.shape, seed + 1, torch.float32).to(mask.device), 0.0)
    return RolloutBuffer(
        tokens=responses.tokens._replace(response_mask=mask),
        old_logprobs=responses.logprobs,
        ref_logprobs=ref_logprobs,
        old_values=values,
        advantages=advantages,
        returns=returns,
        weights=torch.ones_like(advantages),
        problem_ids=[prompt.problem.id for prompt in responses.prompts],
        outcomes=["scored"] * len(mask),
    )


def small_config(**changes: Any) -> PPOConfig:
    """Two minibatches of four responses, one epoch."""
    settings: dict[str, Any] = {
        "prompts_per_iteration": 8,
        "minibatch_size": 4,
        "micro_batch_size": 4,
        "rollout_batch": 8,
        "max_new_tokens": 7,
        "epochs": 1,
        "learning_rate": 1e-3,
    }
    return PPOConfig(**settings | changes)
