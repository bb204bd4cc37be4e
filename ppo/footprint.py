"""What the phases of PPO take in memory, part by part, from a model's configuration alone.

The formulas are the code itself, run on tensors without memory (models/footprint.py).
"""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from models.causal_attention import heaviest
from models.critic import CriticConfig, build_critic
from models.footprint import (
    Parts,
    Shape,
    backward_parts,
    by_depth,
    decode_parts,
    gradient_parts,
    layout_bytes,
    merged_copy,
    most,
    sampling_parts,
    step_part,
    trained_bytes,
    trained_parts,
    weight_parts,
)
from models.policy import Policy
from models.rehearsal import Ledger, fill_gradients, without_masks
from models.tiny import build_tokenizer
from ppo.config import PPOConfig
from ppo.memory import full_length
from ppo.update import minibatch_loss


class Sampling(NamedTuple):
    """How responses are sampled: what the KV cache depends on."""

    rows: int
    """Responses side by side"""
    prompt_tokens: int
    """Of the longest prompt"""
    new_tokens: int
    """Of the longest response"""

    @property
    def tokens(self) -> int:
        """Of both."""
        return self.prompt_tokens + self.new_tokens


def ppo_parts(shape: Shape, critic: CriticConfig, config: PPOConfig) -> dict[str, Parts]:
    """Rollout, scoring and update of an iteration, all prompts and responses of full length.

    Raises:
        ModelError: the configuration, or the adapters, cannot be; or its code cannot be rehearsed.
    """
    network, reference = shape.adapted(), shape.reference()
    weights = weight_parts(network, reference, shape.tune)
    trained, merged = trained_bytes(network), merged_copy(network)
    layouts = layout_bytes(network, shape.precision)
    sampling = Sampling(
        min(config.rollout_batch, config.batch_size), config.max_prompt_tokens, config.max_new_tokens
    )
    rows = config.minibatch_size if config.micro_batch_size == "auto" else config.micro_batch_size
    config = replace(config, micro_batch_size=min(rows, config.minibatch_size))

    def measure(ledger: Ledger) -> Parts:
        policy = _policy(network, reference, shape, critic, config.gradient_checkpointing)
        fill_gradients(policy)
        found = decode_parts(policy.network.eval(), ledger, *sampling)
        policy.train()
        found["scoring"] = _scoring(policy, config, ledger)
        found |= _update(policy, config, ledger)
        trainable = [p for p in policy.parameters() if p.requires_grad]
        return found | {"step": step_part(ledger, trainable, shape.precision)}

    found = by_depth(shape, [network] if reference is None else [network, reference], measure)
    head = _critic_bytes(shape, critic)
    resting = weights | trained_parts(trained) | {"critic, its gradients and moments": 4 * head}
    rollout = {"rollout's ids and numbers": _rollout_bytes(config)}
    if shape.precision.exact:
        rollout["states of decoding"] = _state_bytes(network, config)
    folded = _decoding_copies(merged, layouts)
    return {
        "rollout": resting | folded | sampling_parts(found, shape.precision, sampling.tokens),
        "scoring": resting | rollout | {"forward passes": found["scoring"]},
        "update": resting
        | rollout
        | {"trained weights before the update": trained}
        | gradient_parts(found, config.gradient_checkpointing),
    }


def evaluation_parts(shape: Shape, critic: CriticConfig, sampling: Sampling) -> Parts:
    """Sampling from a checkpoint that is not trained on. Raises ModelError, as `ppo_parts`."""
    network = shape.adapted()
    weights = weight_parts(network, shape.reference(), shape.tune)
    folded = _decoding_copies(merged_copy(network), layout_bytes(network, shape.precision))
    base = network.get_base_model() if shape.tune.tune == "lora" else network
    found = by_depth(shape, [network], lambda ledger: decode_parts(base.eval(), ledger, *sampling))
    return (
        weights
        | {"critic": _critic_bytes(shape, critic)}
        | folded
        | sampling_parts(found, shape.precision, sampling.tokens)
    )


def _decoding_copies(merged: int, layouts: int) -> Parts:
    """The copies of weights that are there while responses are sampled."""
    copies = {"weights beneath folded adapters": merged, "weights laid out for decoding": layouts}
    return {name: size for name, size in copies.items() if size}


def _policy(
    network: Any, reference: Any, shape: Shape, critic: CriticConfig, gradient_checkpointing: bool
) -> Policy:
    return Policy(
        network,
        build_tokenizer([""], 258),  # memory knows nothing of texts
        shape.rehearsed,
        reference=reference,
        tune=shape.tune,
        critic=critic,
        gradient_checkpointing=gradient_checkpointing,
        pack=False,  # which tokens texts share is a matter of numbers; packed they take less
    )


def _scoring(policy: Policy, config: PPOConfig, ledger: Ledger) -> int:
    """What `ppo.rollout.forward_responses` takes for a micro-batch."""
    batch = full_length(policy, config.micro_batch, config.max_prompt_tokens, config.max_new_tokens)
    start = ledger.restart()
    with torch.no_grad(), without_masks():
        policy(batch.tokens, config.temperature)
        policy.ref_logprobs(batch.tokens, config.temperature)
    return ledger.peak - start


def _update(policy: Policy, config: PPOConfig, ledger: Ledger) -> Parts:
    """What a micro-batch of `ppo.update` takes."""

    def loss(length: int) -> torch.Tensor:
        new = min(config.max_new_tokens, length)  # the last token is not read
        batch = full_length(policy, config.micro_batch, length + 1 - new, new)
        tokens = batch.response_mask.sum()
        return minibatch_loss(policy, batch, config, config.kl_coef, denominator=tokens)[0]

    lengths = heaviest(config.max_prompt_tokens + config.max_new_tokens - 1)
    return most(backward_parts(ledger, partial(loss, length)) for length in lengths)


def _rollout_bytes(config: PPOConfig) -> int:
    """Of all responses of an iteration: an id (8 bytes) and a mask (1) for every token; for those of the
    response log-probabilities (of the rollout, of the forward pass, of the reference), values, KL, rewards,
    advantages, returns and weights, in float32."""
    ids = 9 * (config.max_prompt_tokens + config.max_new_tokens)
    return config.batch_size * (ids + 9 * 4 * config.max_new_tokens)


def _state_bytes(network: Any, config: PPOConfig) -> int:
    """Of the states from which all tokens were chosen, in float32, and of the entropies there."""
    width = network.get_output_embeddings().weight.shape[1]
    return 4 * config.batch_size * config.max_new_tokens * (width + 1)


def _critic_bytes(shape: Shape, critic: CriticConfig) -> int:
    """Of the critic's weights, in float32."""
    network = shape.network(shape.precision.dtype)
    head, embeddings = network.get_output_embeddings(), network.get_input_embeddings()
    module = build_critic(critic, head.weight.shape[1], embeddings.weight.shape[1])
    return sum(4 * p.numel() for p in module.parameters())
