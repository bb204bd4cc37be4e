"""How many responses a backward pass can hold here: found by trying, before the first step."""

import torch
from torch import Tensor

from models.batch import TokenBatch
from models.errors import out_of_memory
from models.low_rank import kept_sums
from models.policy import Policy
from ppo.buffer import RolloutBuffer
from ppo.config import PPOConfig
from ppo.errors import TrainingError
from ppo.update import minibatch_loss


def fit_micro_batch(policy: Policy, config: PPOConfig, prompt_tokens: int) -> int:
    """Halve `minibatch_size` until a backward pass over responses of full length fits into memory.

    Tried with the longest prompt and `max_new_tokens`, not with what the first rollout happens to hold: later
    responses are longer, and a size that changes within a run would not be found out about but by a crash.
    Weights and gradients are left as they were.

    Raises:
        TrainingError: not even one response fits.
    """
    size = config.minibatch_size
    while not _fits(policy, config, size, prompt_tokens):
        if size == 1:
            raise TrainingError(
                f"not even one response of {prompt_tokens} + {config.max_new_tokens} tokens fits into "
                "memory: use --gradient-checkpointing, or lower --max-new-tokens or --max-prompt-tokens"
            )
        size //= 2
    return size


def _fits(policy: Policy, config: PPOConfig, size: int, prompt_tokens: int) -> bool:
    """Whether a forward and a backward pass end well beside what an optimizer step will need."""
    try:
        # AdamW's two moments and the update's copy of the weights are not there yet.
        reserve = [torch.empty_like(p) for p in policy.parameters() if p.requires_grad for _ in range(3)]
        policy.train()
        batch = full_length(policy, size, prompt_tokens, config.max_new_tokens)
        with kept_sums():
            tokens = batch.response_mask.sum()
            loss, _ = minibatch_loss(policy, batch, config, config.kl_coef, denominator=tokens)
            loss.backward()
        del reserve
        return True
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return False
    finally:
        policy.zero_grad(set_to_none=True)
        if policy.device.type == "cuda":
            torch.cuda.empty_cache()


def full_length(policy: Policy, size: int, prompt_tokens: int, response_tokens: int) -> RolloutBuffer:
    """`size` responses without any padding; which tokens they are makes no difference to memory."""

    def full(width: int, value: float, dtype: torch.dtype) -> Tensor:
        return torch.full((size, width), value, dtype=dtype, device=policy.device)

    token = policy.stop_ids[0]
    zeros = full(response_tokens, 0.0, torch.float32)
    return RolloutBuffer(
        tokens=TokenBatch(
            prompt_ids=full(prompt_tokens, token, torch.long),
            prompt_mask=full(prompt_tokens, True, torch.bool),
            response_ids=full(response_tokens, token, torch.long),
            response_mask=full(response_tokens, True, torch.bool),
        ),
        old_logprobs=zeros,
        ref_logprobs=zeros,
        old_values=zeros,
        advantages=zeros,
        returns=zeros,
        weights=zeros,
        problem_ids=["longest"] * size,
        outcomes=[""] * size,
    )
