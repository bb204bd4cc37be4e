"""Prompts and responses as tensors."""

from typing import NamedTuple

from torch import Tensor


class TokenBatch(NamedTuple):
    """Prompts padded on the left, responses padded on the right. Masks are True on real tokens."""

    prompt_ids: Tensor
    """(B, P)"""
    prompt_mask: Tensor
    """(B, P) bool"""
    response_ids: Tensor
    """(B, T)"""
    response_mask: Tensor
    """(B, T) bool"""


def by_length(batch: TokenBatch, rows: Tensor) -> Tensor:
    """The same rows (n,), the shortest text first: a micro-batch costs what its longest text costs in every
    row."""
    tokens = batch.prompt_mask.sum(dim=1) + batch.response_mask.sum(dim=1)  # (B,)
    return rows[tokens[rows].argsort(stable=True)]


def trim(batch: TokenBatch) -> TokenBatch:
    """The same rows without columns that are padding in all of them."""
    start = batch.prompt_ids.shape[1] - int(batch.prompt_mask.sum(dim=1).max())
    length = max(1, int(batch.response_mask.sum(dim=1).max()))
    prompts = (x[:, start:] for x in batch[:2])
    return TokenBatch(*prompts, *(x[:, :length] for x in batch[2:]))
