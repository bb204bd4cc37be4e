"""Demonstrations as ids: what fits, and in which order a training reads them."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.errors import ModelError

_WINDOW = 32  # batches that are sorted by length together


@dataclass(frozen=True)
class Demonstration:
    """A prompt and the text to answer it with, as ids. The EOS token is not in `completion_ids` yet."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Of prompt, completion and EOS."""
        return len(self.prompt_ids) + self.supervised

    @property
    def supervised(self) -> int:
        """Tokens that have a loss: those of the completion, and the EOS."""
        return len(self.completion_ids) + 1


class Batches:
    """Batches of demonstrations of about equal length: every demonstration once per pass, in random order.

    The order of pass n depends on (seed, n) alone, so the place in the data is one number, that of the batch,
    and needs no RNG state. A pass ends with a smaller batch if it must.
    """

    def __init__(self, demonstrations: Sequence[Demonstration], size: int, seed: int) -> None:
        self.demonstrations = demonstrations
        self.size = size
        self.seed = seed
        self.per_pass = math.ceil(len(demonstrations) / size)
        self._pass, self._order = -1, list[list[Demonstration]]()

    def at(self, number: int) -> list[Demonstration]:
        """Batch `number` of the training, counted from 0."""
        passed, place = divmod(number, self.per_pass)
        if passed != self._pass:
            self._pass, self._order = passed, self._one_pass(passed)
        return self._order[place]

    def _one_pass(self, number: int) -> list[list[Demonstration]]:
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(number + 1):  # two draws a pass, one after the other: those before it come first
            rows = torch.randperm(len(self.demonstrations), generator=generator).tolist()
            places = torch.randperm(self.per_pass, generator=generator).tolist()
        shuffled = [self.demonstrations[i] for i in rows]
        # Sorted inside windows of batches: little padding, and still other neighbours in every pass.
        window = _WINDOW * self.size
        batches = [
            batch
            for start in range(0, len(shuffled), window)
            for batch in chunks(by_length(shuffled[start : start + window]), self.size)
        ]
        return [batches[i] for i in reversed(places)]


def collate(batch: Sequence[Demonstration], eos_id: int) -> tuple[Tensor, Tensor]:
    """ids (B, L), padded on the right, and mask of supervised tokens (B, L)."""
    length = longest(batch)
    ids = torch.full((len(batch), length), eos_id, dtype=torch.long)
    supervised = torch.zeros((len(batch), length), dtype=torch.bool)
    for row, d in enumerate(batch):
        tokens = (*d.prompt_ids, *d.completion_ids, eos_id)
        ids[row, : len(tokens)] = torch.tensor(tokens)
        supervised[row, len(d.prompt_ids) : len(tokens)] = True
    return ids, supervised


def by_length(demonstrations: Sequence[Demonstration]) -> list[Demonstration]:
    """The shortest first."""
    return sorted(demonstrations, key=lambda d: d.tokens)


def chunks(items: Sequence[Demonstration], size: int) -> list[list[Demonstration]]:
    """In their order, `size` at a time; the last may be smaller."""
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def supervised_tokens(demonstrations: Sequence[Demonstration]) -> int:
    """Tokens that have a loss, of all of them."""
    return sum(d.supervised for d in demonstrations)


def longest(demonstrations: Sequence[Demonstration]) -> int:
    """Tokens of the longest, its EOS included; 0 where there is none."""
    return max((d.tokens for d in demonstrations), default=0)


def short_enough(demonstrations: Sequence[Demonstration], limit: int) -> list[Demonstration]:
    """Those that fit into `limit` tokens with their EOS. Raises ModelError when none does."""
    short = [d for d in demonstrations if d.tokens <= limit]
    if not short:
        raise ModelError(f"none of the {len(demonstrations)} demonstrations fits into {limit} tokens")
    return short


def fingerprint(demonstrations: Sequence[Demonstration]) -> str:
    """sha256 over the ids of all, and their order, which the place in the data counts in."""
    digest = hashlib.sha256()
    for d in demonstrations:
        digest.update(json.dumps([d.prompt_ids, d.completion_ids]).encode())
    return digest.hexdigest()
