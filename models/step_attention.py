"""Attention of recorded steps: one token of each text looks at keys and values that several heads share.

transformers (5.17, say) repeats keys and values for every head that looks at them, in every layer and at
every step: with three heads to each, seven times what is to be read is moved. Here all queries of a group
have the mask of their token, so they are the rows of one attention, and nothing is repeated.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

_NAME = "one_token"


def one_token(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """What transformers' attention by torch's own kernels gives: (b, 1, heads, e).

    Args:
        query: (b, heads, 1, d). `key`, `value`: (b, groups, L, d) and (b, groups, L, e).
        attention_mask: (b, 1, 1, L), added to the scores.
    """
    if settings.get("position_bias") is not None or settings.get("softcap") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **settings)
    rows, heads, _, size = query.shape
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
    seen = scaled_dot_product_attention(grouped, key, value, attention_mask, scale=scaling)
    return seen.reshape(rows, 1, heads, value.shape[-1]), None


AttentionInterface.register(_NAME, one_token)


@contextmanager
def one_token_at_a_time(decoder: Any) -> Iterator[None]:
    """In a block, let a decoder that attends by torch's kernels attend by `one_token`; others as they do."""
    config = decoder.config
    before = config._attn_implementation
    if before != "sdpa":
        yield
        return
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before
