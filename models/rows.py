"""Prompts and responses as rows without padding in them: it stands behind, where no token sees it.

As they come from decoding, prompts are padded on the left and responses on the right: a row is as long as the
longest prompt and the longest response together, though hardly one text has both. Closed up it is as long as
the longest text. And attention needs no mask, because a token sees what comes before it and padding comes
after: the kernels for that are the fast ones, and of keys and values that heads share no copies are made
where a kernel takes them so (models/shared_heads.py). Windows shorter than a row and distances (ALiBi) are
masks of their own, and transformers makes them.
"""

from typing import Any

import torch
from torch import Tensor

from models.batch import TokenBatch
from models.logprobs import final_states


def row_states(network: Any, batch: TokenBatch) -> Tensor:
    """Final hidden states from which each response token was (or would be) chosen: (N, H), row by row.

    Of a response the last token is left out: nothing follows it.
    """
    ids, before = closed_up(batch)
    rows, tokens = batch.response_mask.nonzero(as_tuple=True)
    # Token t of the response was chosen after reading the prompt and the tokens before t.
    return final_states(network, ids, rows * ids.shape[1] + before[rows] - 1 + tokens)


def closed_up(batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """Ids (B, L) of each prompt and, at once after it, its response, of which the last token is read by
    nothing; and the tokens of each prompt (B,), at least one. L is what the longest text with a response
    needs, its last token left out, and at least 1."""
    before, chosen = batch.prompt_mask.sum(dim=1), batch.response_mask.sum(dim=1)  # (B,)
    real = torch.cat([batch.prompt_mask, batch.response_mask], dim=1)
    ids = torch.cat([batch.prompt_ids, batch.response_ids], dim=1)
    ids = ids.gather(1, (~real).byte().argsort(dim=1, stable=True))  # what is real first, in its order
    places = torch.arange(real.shape[1] - 1, device=ids.device)
    read = places < torch.where(chosen > 0, before + chosen - 1, 0)[:, None]  # (B, P+T-1)
    width = len(read.any(dim=0).nonzero())
    return ids[:, : max(1, width)], before
