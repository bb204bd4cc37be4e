"""The loss of supervised fine-tuning, and its gradient: cross-entropy, prompt and padding masked."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from models.head import Head, find_head
from models.logprobs import final_states, token_logprobs
from models.low_rank import kept_sums
from models.precision import Precision
from models.sft_config import SFTConfig
from models.sft_data import Demonstration, by_length, chunks, collate, supervised_tokens
from models.together import Processes
from models.verify import own_logprobs


@kept_sums()
def accumulate_gradient(
    network: torch.nn.Module,
    head: Head,
    scaler: torch.amp.GradScaler,
    batch: Sequence[Demonstration],
    eos_id: int,
    config: SFTConfig,
    precision: Precision,
    world: Processes,
) -> float:
    """Add the (scaled) gradient of this rank's share of the batch's mean loss to the parameters; the loss of
    the whole batch, nats per token.

    A loss that is not finite is returned at once, without a gradient.
    """
    tokens = supervised_tokens(batch)

    def backward() -> float:
        loss = 0.0
        # Dealt out in turn, for they come in the order of their length.
        for micro in chunks(batch[world.rank :: world.size], config.micro_batch_size):
            with precision.autocast():
                part = completion_loss(network, head, micro, eos_id, precision.device) / tokens
            loss += part.item()
            if not math.isfinite(loss):
                return loss
            scaler.scale(part).backward()
        return loss

    return sum(world.each(backward))


def completion_loss(
    network: torch.nn.Module,
    head: Head,
    batch: Sequence[Demonstration],
    eos_id: int,
    device: torch.device,
) -> Tensor:
    """Cross-entropy summed over the completion tokens and the EOS of each demonstration: a scalar."""
    ids, supervised = (x.to(device) for x in collate(batch, eos_id))
    predicts = supervised[:, 1:]  # (B, L-1): the state at i predicts token i+1
    rows, tokens = predicts.nonzero(as_tuple=True)
    hidden = final_states(base_model(network), ids, rows * ids.shape[1] + tokens)  # (N, H)
    logprobs, _ = token_logprobs(hidden, head, ids[:, 1:][predicts], temperature=1.0)
    return -logprobs.sum()


@torch.no_grad()
def mean_loss(
    network: torch.nn.Module,
    demonstrations: Sequence[Demonstration],
    eos_id: int,
    config: SFTConfig,
    precision: Precision,
    world: Processes | None = None,
) -> float:
    """Mean cross-entropy per completion token, in nats.

    `world`: all its ranks ask, and take the batches in turn. None: this process does it all.
    """
    rank, size = (world.rank, world.size) if world else (0, 1)
    was_training, head = network.training, find_head(base_model(network))
    batches = chunks(by_length(demonstrations), config.micro_batch_size)

    def own() -> list[float]:
        sums = []
        for batch in batches[rank::size]:
            with precision.autocast():
                sums.append(completion_loss(network, head, batch, eos_id, precision.device).item())
        return sums

    network.eval()
    found = world.each(own) if world else [own()]
    network.train(was_training)
    total = 0.0
    for number in range(len(batches)):  # in their order, as one process sums them
        total += found[number % size][number // size]
    return total / supervised_tokens(demonstrations)


@torch.no_grad()
def written_loss(
    network: PreTrainedModel,
    demonstrations: Sequence[Demonstration],
    eos_id: int,
    config: SFTConfig,
    precision: Precision,
) -> float:
    """The same of a model as it is to be written, as transformers computes it: text by text, by its logits.

    In float32 that is `mean_loss` (within 1e-6), which is faster. In 16 bits the kernels of a padded batch,
    autocast and logits in float32 round otherwise, which moves the mean by 1e-3.
    """
    if network.dtype == torch.float32:
        return mean_loss(network, demonstrations, eos_id, config, precision)
    network.eval()
    total = 0.0
    for d in demonstrations:
        ids = torch.tensor((*d.prompt_ids, *d.completion_ids, eos_id), device=precision.device)
        total -= own_logprobs(network, ids, d.supervised).sum().item()
    return total / supervised_tokens(demonstrations)


def base_model(network: Any) -> Any:
    """The model under the adapters, or the network itself where there are none."""
    return network.get_base_model() if isinstance(network, PeftModel) else network
