"""A token for every row, by inversion of the cumulative distribution.

In two steps: the block of the vocabulary that a draw falls into, then the token within it. Summed up in one
go a large vocabulary needs float64, and a copy of all of it; so it is needed for one block of each row. For
16 rows of 49,152 tokens, one core: 6 ms in place of 18.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK = 256


class Choice(NamedTuple):
    """One token for each of b rows."""

    tokens: Tensor
    """(b,) ids"""
    logprobs: Tensor
    """(b,) float32, of the tokens"""
    entropy: Tensor
    """(b,) float32, of the distributions that they were chosen from"""


def sample_tokens(logits: Tensor, temperature: float, draws: Tensor) -> Choice:
    """One token per row from softmax(logits / temperature): the first whose cumulative probability exceeds
    the row's draw. A token of probability 0 is never chosen.

    At temperature 0: the most likely token, with log-probability and entropy at temperature 1.

    Args:
        logits: (b, V); a row with a NaN or +inf gets a log-probability of NaN. `draws`: (b,) float64,
            uniform in [0, 1).
    """
    rows, vocabulary = logits.shape
    scaled = logits.float()
    if temperature not in (0.0, 1.0):
        scaled = scaled / temperature
    largest = scaled.amax(dim=-1, keepdim=True)  # (b, 1)
    blocks = -(-vocabulary // _BLOCK)
    weights = scaled.new_zeros(rows, blocks, _BLOCK)  # beyond the vocabulary 0
    flat = weights.view(rows, -1)[:, :vocabulary]
    torch.sub(scaled, largest, out=flat)
    flat.exp_()
    upto = weights.sum(dim=-1).double().cumsum(dim=-1)  # (b, blocks)
    total = upto[:, -1:]  # (b, 1)
    if temperature == 0:
        tokens = scaled.argmax(dim=-1, keepdim=True)
    else:
        tokens = _invert(weights, upto, draws[:, None] * total).clamp(max=vocabulary - 1)  # (b, 1)
    logsumexp = largest + total.log()  # float64
    logprobs = scaled.gather(-1, tokens) - logsumexp
    mean = torch.linalg.vecdot(flat, scaled)[:, None] / total  # (b, 1) of the logits
    return Choice(tokens[:, 0], logprobs[:, 0].float(), (logsumexp - mean)[:, 0].float())


def _invert(weights: Tensor, upto: Tensor, target: Tensor) -> Tensor:
    """Where the sum of a row's weights first exceeds its target: (b, 1).

    Args:
        weights: (b, blocks, size). `upto`: (b, blocks) their sums, blocks before included. `target`: (b, 1),
            less than the sum of all.
    """
    blocks, size = weights.shape[1:]
    # Out of range there is only what is not a number; its caller is told by its log-probability.
    block = torch.searchsorted(upto, target, right=True).clamp(max=blocks - 1)  # (b, 1)
    before = upto.gather(1, (block - 1).clamp(min=0)).masked_fill(block == 0, 0.0)  # (b, 1)
    inner = weights.gather(1, block[..., None].expand(-1, 1, size))[:, 0]  # (b, size)
    within = inner.double().cumsum(dim=-1)  # (b, size)
    # The two sums of a block differ by rounding: not beyond its last token that has a weight.
    below_all = torch.nextafter(within[:, -1:], torch.zeros_like(before))
    rest = torch.minimum(target - before, below_all)
    place = torch.searchsorted(within, rest, right=True).clamp(max=size - 1)
    return block * size + place
