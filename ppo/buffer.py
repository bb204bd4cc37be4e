"""What one rollout collected, tensor by tensor, and the order in which the update reads it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from models.policy import TokenBatch


@dataclass(frozen=True)
class RolloutBuffer:
    """B responses. Prompts are padded on the left, responses on the right.

    The mask of a row whose score is missing (a fault of the sandbox) is False throughout: the row stays in
    its place and is out of every sum.
    """

    prompt_ids: Tensor
    """(B, P)"""
    prompt_mask: Tensor
    """(B, P) bool"""
    response_ids: Tensor
    """(B, T)"""
    response_mask: Tensor
    """(B, T) bool, True = a token the policy chose, EOS included"""
    old_logprobs: Tensor
    """(B, T) under the policy that sampled"""
    ref_logprobs: Tensor
    """(B, T) under the SFT reference"""
    old_values: Tensor
    """(B, T)"""
    advantages: Tensor
    """(B, T)"""
    returns: Tensor
    """(B, T) targets of the critic"""
    problem_ids: Sequence[str] = ()
    """Of the whole rollout, by `row`; for messages"""
    groups: Sequence[str] = ()
    """Kind of outcome of the whole rollout's responses, by `row`; "" for a fault"""
    weights: Tensor | None = None
    """(B, T) credit per token in the policy loss; None: all weigh the same"""
    row: Tensor | None = None
    """(B,) place in the rollout, from which minibatches are cut; left out, these rows are the rollout"""

    def __post_init__(self) -> None:
        if self.row is None:
            object.__setattr__(self, "row", torch.arange(len(self), device=self.response_ids.device))

    def __len__(self) -> int:
        return self.response_ids.shape[0]

    @property
    def tokens(self) -> TokenBatch:
        """What a forward pass reads."""
        return TokenBatch(self.prompt_ids, self.prompt_mask, self.response_ids, self.response_mask)

    def rows(self, index: Tensor) -> "RolloutBuffer":
        """The rows at `index`, in its order."""
        return replace(self, **{name: x[index] for name, x in self._tensors().items()})

    def trimmed(self) -> "RolloutBuffer":
        """The same rows without columns that are padding in all of them; work for nothing otherwise."""
        kept = int(self.prompt_mask.sum(dim=1).max())
        length = max(1, int(self.response_mask.sum(dim=1).max()))
        start = self.prompt_ids.shape[1] - kept
        prompts = {name: getattr(self, name)[:, start:] for name in ("prompt_ids", "prompt_mask")}
        tokens = {name: x[:, :length] for name, x in self._tensors().items() if name not in (*prompts, "row")}
        return replace(self, **prompts, **tokens)

    def problems(self) -> list[str]:
        """The problem of every row here; the row's number where problems were not given."""
        assert self.row is not None  # see __post_init__
        return [self.problem_ids[row] if self.problem_ids else f"row {row}" for row in self.row.tolist()]

    def by_group(self) -> dict[str, Tensor]:
        """Of every group that occurs here its rows, as a mask (B, 1)."""
        assert self.row is not None  # see __post_init__
        mine = [self.groups[row] for row in self.row.tolist()] if self.groups else []
        return {
            group: torch.tensor([[other == group] for other in mine], device=self.response_ids.device)
            for group in sorted(set(mine) - {""})
        }

    def minibatches(self, size: int, generator: torch.Generator) -> Iterator["RolloutBuffer"]:
        """One epoch in random order; `size` divides the buffer."""
        order = torch.randperm(len(self), generator=generator)
        for index in order.split(size):
            yield self.rows(index.to(self.response_ids.device))

    def micro_batches(self, size: int) -> Iterator["RolloutBuffer"]:
        """This (mini)batch in pieces of at most `size` rows, in order."""
        index = torch.arange(len(self), device=self.response_ids.device)
        for piece in index.split(size):
            yield self.rows(piece).trimmed()

    def _tensors(self) -> dict[str, Any]:
        """The fields that have a row for each response, where they are given."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: x for name, x in found.items() if isinstance(x, Tensor)}
