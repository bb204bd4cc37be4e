"""Problems to prompt ids: the one encoding that SFT, rollouts and evaluation share."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data import Problem, render_parts
from models.tokens import TextCodec


@dataclass(frozen=True)
class EncodedPrompt:
    """A problem as the model reads it."""

    problem: Problem
    ids: tuple[int, ...]
    truncated: bool
    """Whether the beginning of the problem text was left out."""
    text: str
    """What the ids say, without BOS."""


def encode_prompt(codec: TextCodec, problem: Problem, max_tokens: int) -> EncodedPrompt:
    """The rendered problem as ids. One that is too long keeps the template and the end of its text.

    What is cut is the text, before it becomes tokens: so the tokens of a cut prompt are those of a whole text
    too, and the model has seen their like.

    Raises:
        ValueError: the template alone has more than `max_tokens`.
        UnwritableText: a stop token stands in the problem's text.
    """
    head, body, tail = render_parts(problem)
    text = head + body + tail
    pieces = codec.encode(text)
    starts = [start - len(head) for start in pieces.starts if len(head) <= start < len(head) + len(body)]
    room = max_tokens - len(codec.bos)
    left_out = 0
    while (over := len(pieces.ids) - room) > 0:
        # So many tokens of the body are too many; cut at another place, a text may need one or two more.
        left_out += over
        if left_out >= len(starts):
            raise ValueError(
                f"max_prompt_tokens {max_tokens} leaves no room for the problem beside the template"
            )
        text = head + body[starts[left_out] :] + tail
        pieces = codec.encode(text)
    return EncodedPrompt(problem, (*codec.bos, *pieces.ids), left_out > 0, text)


def pad_left(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids (B, P) and mask (B, P) of prompts of different lengths, padded on the left."""
    width = max(len(ids) for ids in prompts)
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(prompts), width), dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = True
    return ids, mask
