"""What the update made of single tokens: a number of each kind per response, and all of them for a few.

tokens.jsonl keeps, of every iteration, the responses that the update pushes most: up and down. Their rows are
found by `sample`, the number of the response among those of its iteration in samples.jsonl.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.policy import Policy
from ppo.credit import token_spans
from ppo.masked import check_shapes, keep
from ppo.rollout import Responses

KEPT = 4
"""Responses of an iteration, half from each end. More would soon outweigh samples.jsonl."""
DIGITS = 5
"""Behind the point: for reading."""


@dataclass(frozen=True)
class TokenSignals:
    """What the update knows of every token; all (B, T)."""

    advantages: Tensor
    """As the update sees them."""
    values: Tensor
    """What the advantages compare with: the critic's values, or a response's baseline on each."""
    kl: Tensor
    """k1 of the policy that sampled against the reference, nats."""
    mask: Tensor
    """bool, True = a token the policy chose, of a response that was scored"""

    def __post_init__(self) -> None:
        check_shapes(self.mask, advantages=self.advantages, values=self.values, kl=self.kl)

    def by_response(self) -> list[dict[str, float | None]]:
        """`advantage`, its mean per token, and `ref_kl` in nats, of every response; None where it was not
        scored."""
        counts = self.mask.sum(dim=1)  # (B,)
        advantages = keep(self.advantages, self.mask).sum(dim=1) / counts.clamp(min=1)  # (B,)
        kl = keep(self.kl, self.mask).sum(dim=1)  # (B,)
        rows = zip(advantages.tolist(), kl.tolist(), counts.tolist(), strict=True)
        return [
            {
                "advantage": round(advantage, DIGITS) if count else None,
                "ref_kl": round(nats, DIGITS) if count else None,
            }
            for advantage, nats, count in rows
        ]


def token_rows(policy: Policy, responses: Responses, signals: TokenSignals) -> list[dict[str, Any]]:
    """Rows of tokens.jsonl: `sample`, its `tokens` as texts that make up the response, and of each of them
    `advantage`, `value` and `kl`."""
    rows = []
    for row in most_pushed(signals.by_response()):
        kept = signals.mask[row]
        ids = responses.tokens.response_ids[row][kept].tolist()
        numbers = {"advantage": signals.advantages, "value": signals.values, "kl": signals.kl}
        rows.append(
            {
                "sample": row,
                "tokens": token_texts(policy, ids, responses.texts[row]),
                **{name: _rounded(tensor[row][kept]) for name, tensor in numbers.items()},
            }
        )
    return rows


def most_pushed(responses: list[dict[str, float | None]]) -> list[int]:
    """Numbers of up to KEPT responses, in order: those with the highest advantages and the lowest."""
    advantages = {i: a for i, row in enumerate(responses) if (a := row["advantage"]) is not None}
    ranked = sorted(advantages, key=lambda i: (advantages[i], i))
    ends = ranked if len(ranked) <= KEPT else ranked[: KEPT // 2] + ranked[-(KEPT // 2) :]
    return sorted(ends)


def token_texts(policy: Policy, ids: list[int], text: str) -> list[str]:
    """What each token adds to the text of a response: together they are the text, and behind it what ended
    it. A token that holds a part of a character only may add nothing."""
    texts, place = [], 0
    for token, (start, end) in zip(ids, token_spans(ids, text, policy.codec.decode), strict=True):
        texts.append(text[place:end] if start < len(text) else policy.codec.decode([token]))
        place = max(place, end)
    return texts


def _rounded(values: Tensor) -> list[float]:
    return [round(value, DIGITS) for value in values.to(torch.float64).tolist()]
