"""Problems to prompt ids: the one encoding that SFT, rollouts and evaluation share."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from data import Problem, render_parts


@dataclass(frozen=True)
class EncodedPrompt:
    """A problem as the model reads it."""

    problem: Problem
    ids: tuple[int, ...]
    truncated: bool
    """Whether the beginning of the problem text was left out."""


def encode_prompt(tokenizer: PreTrainedTokenizerBase, problem: Problem, max_tokens: int) -> EncodedPrompt:
    """The rendered problem as ids. One that is too long keeps the template and the end of its text.

    Raises:
        ValueError: the template alone has more than `max_tokens`.
    """
    head, body, tail = render_parts(problem)
    ids = tokenizer(head + body + tail).input_ids
    if len(ids) <= max_tokens:
        return EncodedPrompt(problem, tuple(ids), False)
    head_ids = tokenizer(head).input_ids
    body_ids = tokenizer(body, add_special_tokens=False).input_ids
    tail_ids = tokenizer(tail, add_special_tokens=False).input_ids
    room = max_tokens - len(head_ids) - len(tail_ids)
    if room < 1:
        raise ValueError(f"max_prompt_tokens {max_tokens} leaves no room for the problem beside the template")
    return EncodedPrompt(problem, (*head_ids, *body_ids[-room:], *tail_ids), True)


def pad_left(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Ids (B, P) and mask (B, P) of prompts of different lengths, padded on the left."""
    width = max(len(ids) for ids in prompts)
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(prompts), width), dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = True
    return ids, mask
