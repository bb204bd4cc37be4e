"""What one rollout collected, tensor by tensor, and the order in which the update reads it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.batch import TokenBatch, by_length, trim


@dataclass(frozen=True)
class RolloutBuffer:
    """B responses. The mask of a row whose score is missing (a fault of the sandbox) is False throughout: the
    row stays in its place and is out of every sum.
    """

    tokens: TokenBatch
    """Prompts (B, P) padded on the left, responses (B, T) padded on the right, and their masks"""
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
    weights: Tensor
    """(B, T) credit per token in the policy loss; 1 where all count the same"""
    problem_ids: Sequence[str]
    """B names, for messages"""
    outcomes: Sequence[str]
    """B kinds of outcome, by which diagnostics are split; "" for a fault"""

    def __len__(self) -> int:
        return self.tokens.response_ids.shape[0]

    @property
    def response_mask(self) -> Tensor:
        """(B, T) bool, True = a token the policy chose, EOS included."""
        return self.tokens.response_mask

    def rows(self, index: Tensor) -> "RolloutBuffer":
        """The rows at `index`, in its order."""
        places = index.tolist()
        return replace(
            self._cut(lambda x: x[index]),
            tokens=TokenBatch(*(x[index] for x in self.tokens)),
            problem_ids=[self.problem_ids[i] for i in places],
            outcomes=[self.outcomes[i] for i in places],
        )

    def trimmed(self) -> "RolloutBuffer":
        """The same rows without columns that are padding in all of them; work for nothing otherwise."""
        tokens = trim(self.tokens)
        length = tokens.response_mask.shape[1]
        return replace(self._cut(lambda x: x[:, :length]), tokens=tokens)

    def by_outcome(self) -> dict[str, Tensor]:
        """Of every kind of outcome that occurs here its rows, as a mask (B, 1)."""
        return {
            outcome: torch.tensor([[o == outcome] for o in self.outcomes], device=self.response_mask.device)
            for outcome in sorted(set(self.outcomes) - {""})
        }

    def minibatches(self, size: int, generator: torch.Generator) -> Iterator["RolloutBuffer"]:
        """One epoch in random order; `size` divides the buffer."""
        order = torch.randperm(len(self), generator=generator)
        for index in order.split(size):
            yield self.rows(index.to(self.response_mask.device))

    def micro_batches(self, size: int, share: slice = slice(None)) -> Iterator["RolloutBuffer"]:
        """This (mini)batch in pieces of at most `size` rows, texts of like length together; or a share of its
        rows in that order."""
        index = torch.arange(len(self), device=self.response_mask.device)
        for piece in by_length(self.tokens, index)[share].split(size):
            yield self.rows(piece).trimmed()

    def _cut(self, cut: Callable[[Tensor], Tensor]) -> "RolloutBuffer":
        """Every (B, T) number cut alike; one that is forgotten here no longer has the mask's shape."""
        return replace(
            self,
            old_logprobs=cut(self.old_logprobs),
            ref_logprobs=cut(self.ref_logprobs),
            old_values=cut(self.old_values),
            advantages=cut(self.advantages),
            returns=cut(self.returns),
            weights=cut(self.weights),
        )
