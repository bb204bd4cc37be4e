"""Log-probabilities of given tokens, without holding the logits of all of them at once."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models import frozen_head
from models.head import Head
from models.last_layer import reading

# Logits alive at once: 2²⁴ numbers, 64 MiB in float32 (520 tokens of a 32k vocabulary).
CHUNK_LOGITS = 2**24


def token_logprobs(
    hidden: Tensor,
    head: Head | nn.Linear,
    targets: Tensor,
    temperature: float,
    *,
    entropy_grad: bool = False,
) -> tuple[Tensor, Tensor]:
    """log softmax(head(hidden) / temperature)[target], and the entropy of that distribution.

    The sampling temperature is part of the policy: a log-probability taken without it belongs to another
    distribution than the one that chose the token.

    Args:
        hidden: (N, H) final hidden states. `targets`: (N,) ids. `head`: maps H to the vocabulary.
        entropy_grad: whether the entropy carries a gradient (for an entropy bonus).

    Returns:
        logprobs and entropies, (N,) float32. Peak memory does not grow with N: of a frozen head the gradient
        is taken at once (models/frozen_head.py), else, with gradients on and more than one chunk, logits are
        recomputed in the backward pass.
    """
    if frozen_head.fits(head, hidden, entropy_grad=entropy_grad):
        return frozen_head.frozen_logprobs(hidden, head, targets, temperature)

    def chunk_logprobs(h: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        # float32 from here on: differences between log-probabilities are exponentiated later.
        logits = head(h).float() / temperature  # (n, V)
        logsumexp = logits.logsumexp(dim=-1)
        logprobs = logits.gather(-1, ids[:, None]).squeeze(-1) - logsumexp
        with torch.set_grad_enabled(entropy_grad and torch.is_grad_enabled()):
            entropy = logsumexp - (torch.softmax(logits, dim=-1) * logits).sum(-1)
        return logprobs, entropy

    size = max(1, CHUNK_LOGITS // head.weight.shape[0])
    pieces = list(zip(hidden.split(size), targets.split(size), strict=True))
    recompute = torch.is_grad_enabled() and len(pieces) > 1
    results = [
        checkpoint(chunk_logprobs, h, ids, use_reentrant=False) if recompute else chunk_logprobs(h, ids)
        for h, ids in pieces
    ]
    return torch.cat([r[0] for r in results]), torch.cat([r[1] for r in results])


def final_states(network: Any, ids: Tensor, places: Tensor) -> Tensor:
    """Final hidden states (N, H) of a causal language model; `models.head.find_head` has what follows.

    Args:
        ids: (B, L), texts that begin with their first token. Padding, where there is any, stands behind them:
            no token of theirs sees it, so nothing has to mask it, and positions are those of the rows.
        places: (N,) of the B·L, row after row: whose states are read.
    """
    with reading(network, places, ids.numel()):
        states = network.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    return states.flatten(0, 1)[places]


def positions(module: nn.Module, mask: Tensor) -> dict[str, Tensor]:
    """`position_ids` as an argument for a module that takes them.

    Bloom and MPT do not: their attention fades with distance (ALiBi), of which padding before both of two
    tokens changes nothing.
    """
    takes_them = "position_ids" in inspect.signature(module.forward).parameters
    return {"position_ids": position_ids(mask)} if takes_them else {}


def position_ids(mask: Tensor) -> Tensor:
    """0, 1, 2, … over the real tokens of each row, however much padding stands before them. (B, L)

    Left to itself a model counts padding as positions, and the same prompt padded differently gets
    other log-probabilities.
    """
    return (mask.long().cumsum(dim=-1) - 1).clamp(min=0)
