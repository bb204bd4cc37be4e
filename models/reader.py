"""How decoding reads: the prompts at once, then token by token, with a cache of keys and values.

Prompts that occur several times (several samples of each) are read once, and their cache is copied. And what
all prompts begin with, a template and an instruction, is read once for all of them.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from models.cache import roomy_cache
from models.logprobs import positions
from models.packing import in_common

# Tokens that must be saved by reading a common beginning apart: it is a pass more.
_WORTH_A_PASS = 64


class Reader:
    """A causal language model in the midst of b texts."""

    look_every = 1
    """Tokens between two looks at which rows have ended: each look waits for the device."""

    def __init__(self, network: Any, max_new_tokens: int, *, share_head: bool = False) -> None:
        """`share_head`: whether what all prompts begin with may be read apart, the padding then behind it:
        only where a network heeds mask and positions alone (`models.packing.heeds_packing`)."""
        self._network, self._decoder = network, network.get_decoder()
        self._new_tokens = max_new_tokens
        self._share_head = share_head

    def start(self, prompt_ids: Tensor, prompt_mask: Tensor) -> Tensor:
        """Read prompts (B, P), padded on the left. The states (B, H) from which first tokens are chosen."""
        (rows, width), device = prompt_ids.shape, prompt_ids.device
        self._cache = self._fresh_cache(width + self._new_tokens)
        texts = [tuple(ids[real].tolist()) for ids, real in zip(prompt_ids, prompt_mask, strict=True)]
        first_row = {text: row for row, text in reversed(list(enumerate(texts)))}
        once = sorted(first_row.values())  # (b',) the first of rows that are alike
        ids, mask = prompt_ids[once], prompt_mask[once].long()
        head = in_common(list(first_row)) if self._share_head else 0
        if head * (len(once) - 1) >= _WORTH_A_PASS:
            first = torch.tensor([texts[0][:head]], device=device)  # (1, head)
            self._read(first, torch.ones_like(first), positions(self._decoder, torch.ones_like(first)))
            self._cache.batch_select_indices(torch.zeros(len(once), dtype=torch.long, device=device))
            ids, mask = ids[:, head:], torch.cat([mask.new_ones(len(once), head), mask[:, :-head]], dim=1)
        placed = positions(self._decoder, mask)
        states = self._read(ids, mask, {name: place[:, -ids.shape[1] :] for name, place in placed.items()})
        if len(once) < rows:
            number = {texts[row]: i for i, row in enumerate(once)}
            copy_of = torch.tensor([number[text] for text in texts], device=device)  # (B,)
            self._cache.batch_select_indices(copy_of)
            states, mask = states[copy_of], mask[copy_of]
            placed = {name: place[copy_of] for name, place in placed.items()}
        self._length = width
        self._mask = torch.cat([mask, mask.new_ones(rows, self._new_tokens)], dim=1)  # (B, P + T)
        self._last = {name: place[:, -1:].clone() for name, place in placed.items()}  # (B, 1)
        return states

    def step(self, tokens: Tensor) -> Tensor:
        """Read one more token of each text, (b,). The states (b, H) from which the next are chosen."""
        self._length += 1
        for place in self._last.values():
            place += 1
        return self._read(tokens[:, None], self._mask[:, : self._length], self._last)

    def keep(self, rows: Tensor) -> None:
        """Go on with these texts alone, in this order; `rows[i] == i` costs nothing."""
        self._cache.batch_select_indices(rows)
        self._mask = self._mask[rows]
        self._last = {name: place[rows] for name, place in self._last.items()}

    def skip(self, places: int) -> None:
        """Go on at a place so much further on, as if tokens that nobody sees stood between."""
        for place in self._last.values():
            place += places

    def drops(self, staying: int) -> bool:
        """Whether it is cheaper to go on with so many rows alone than to read those that have ended too."""
        return True

    def _fresh_cache(self, room: int) -> Cache:
        return roomy_cache(room)

    def _read(self, ids: Tensor, mask: Tensor, placed: dict[str, Tensor]) -> Tensor:
        output = self._decoder(
            input_ids=ids, attention_mask=mask, past_key_values=self._cache, use_cache=True, **placed
        )
        return output.last_hidden_state[:, -1].clone()  # a view would hold the states of whole prompts
