"""Sampling responses: what the rollout and the evaluation use."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress

import torch
from torch import Tensor

from models.errors import LogitsNotFinite
from models.head import Head
from models.reader import Reader
from models.sampling import sample_tokens
from models.stopping import StopStrings


@dataclass(frozen=True)
class Generation:
    """Sampled responses. T is the length of the longest one."""

    response_ids: Tensor
    """(B, T) ids, the pad id after a response's end."""
    response_mask: Tensor
    """(B, T) bool, True = a token the policy chose, the stop token included."""
    completed: Tensor
    """(B,) bool, True = ended by a stop string, at the token that completed it."""
    logprobs: Tensor
    """(B, T) float32, of the sampled tokens under the sampling distribution; 0 outside the mask."""
    entropy: Tensor
    """(B, T) float32, of the distributions that they were sampled from; 0 outside the mask."""
    states: Tensor | None
    """(N, H) final states from which they were chosen, row by row; where they were to be kept."""


@torch.no_grad()
def generate(
    reader: Reader,
    head: Head,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    *,
    max_new_tokens: int,
    temperature: float,
    stop_ids: list[int],
    pad_id: int,
    generator: torch.Generator,
    stop_strings: StopStrings | None = None,
    keep_states: bool = False,
    on_ended: Callable[[int, list[int]], None] | None = None,
) -> Generation:
    """Sample one response for every row from softmax(logits / temperature); temperature 0 takes the best.

    Nothing else shapes the distribution (no top-k, top-p or penalties): the update scores the tokens under
    the same one. A response stops after its first stop token, or at the token that completes a stop string,
    and finished rows leave the batch.

    The random numbers of a row are drawn before the first token, from `generator` (on the CPU), so a
    response does not depend on which rows share its batch, nor on when they finish.

    Args:
        reader: of the network, for as many new tokens. `head`: of the network, see `models.head.find_head`.
        prompt_ids, prompt_mask: (B, P), padded on the left.
        on_ended: hears of each row once, when it is known to have ended: its number and its response's ids.

    Raises:
        LogitsNotFinite: the logits of a row are not numbers.
    """
    batch, device = prompt_ids.shape[0], prompt_ids.device
    draws = torch.rand((batch, max_new_tokens), generator=generator, dtype=torch.float64).to(device)
    response_ids = torch.full((batch, max_new_tokens), pad_id, dtype=torch.long, device=device)
    mask = torch.zeros((batch, max_new_tokens), dtype=torch.bool, device=device)
    logprobs = torch.zeros((batch, max_new_tokens), dtype=torch.float32, device=device)
    entropy = torch.zeros_like(logprobs)
    stops = torch.tensor(stop_ids, device=device)
    completed = torch.zeros(batch, dtype=torch.bool, device=device)

    live = torch.arange(batch, device=device)  # (b,) rows that are read
    writing = torch.ones(batch, dtype=torch.bool, device=device)  # (b,) those of them that have not ended
    tokens = prompt_ids[:, -1]  # (b,) read last
    wrote, wrote_count = writing, batch  # the same at the last look, and how many they were
    kept: list[tuple[Tensor, Tensor]] = []
    seen = 0  # tokens looked at
    for t in range(max_new_tokens):
        states = reader.start(prompt_ids, prompt_mask) if t == 0 else reader.step(tokens)  # (b, H)
        tokens, token_logprobs, token_entropy = sample_tokens(head(states), temperature, draws[live, t])
        # Filled in, not chosen by `where`: that would copy the number to the device, and wait for it.
        response_ids[live, t] = tokens.masked_fill(~writing, pad_id)
        mask[live, t] = writing
        logprobs[live, t] = token_logprobs.masked_fill(~writing, 0.0)
        entropy[live, t] = token_entropy.masked_fill(~writing, 0.0)
        if keep_states:
            kept.append((live * max_new_tokens + t, states))
        writing = writing & ~(tokens[:, None] == stops).any(dim=1)
        if (t + 1) % reader.look_every and t + 1 < max_new_tokens:
            continue
        if stop_strings:
            told = mask[live, : t + 1].sum(dim=1) - (~writing).long()  # (b,) tokens without a stop token
            for i, end in _completions(stop_strings, response_ids[live, : t + 1], told, seen):
                completed[row := live[i]] = True
                response_ids[row, end:], mask[row, end:] = pad_id, False
                logprobs[row, end:] = entropy[row, end:] = 0.0
            writing = writing & ~completed[live]
        if (broken := logprobs[live, seen : t + 1].isnan().any(dim=1)).any():
            raise LogitsNotFinite(live[broken].tolist())
        seen = t + 1
        staying = int(writing.sum()) if seen < max_new_tokens else 0
        if on_ended and staying < wrote_count:
            ended = live[wrote & ~writing if staying else wrote]
            for row, ids in zip(ended.tolist(), _responses(response_ids[ended], mask[ended]), strict=True):
                on_ended(row, ids)
        if not staying:
            break
        if staying < len(writing) and reader.drops(staying):
            rows = fill_gaps(writing)
            live, tokens, writing = live[rows], tokens[rows], writing[rows]
            reader.keep(rows)
        wrote, wrote_count = writing, staying
    length = int(mask.sum(dim=1).max())
    return Generation(
        response_ids[:, :length],
        mask[:, :length],
        completed,
        logprobs[:, :length],
        entropy[:, :length],
        _by_row(kept, mask) if keep_states else None,
    )


def fill_gaps(staying: Tensor) -> Tensor:
    """The rows that stay, (n,): each in its own place if that is among the first n, the others in the places
    that are left over. Those in their own places need not be moved."""
    order = torch.arange(int(staying.sum()), device=staying.device)
    rows = staying.nonzero(as_tuple=True)[0]
    order[~staying[: len(order)]] = rows[rows >= len(order)]
    return order


def _completions(
    stop_strings: StopStrings, response_ids: Tensor, lengths: Tensor, seen: int
) -> list[tuple[int, int]]:
    """Responses that hold a stop string, and after how many tokens they do for the first time.

    Args:
        response_ids: (b, t), of which the first `seen` hold none. `lengths`: (b,) tokens to be looked at.
    """
    found = []
    for i, (tokens, length) in enumerate(zip(response_ids[:, seen:].tolist(), lengths.tolist(), strict=True)):
        for end, token in enumerate(tokens[: max(0, length - seen)], start=seen + 1):
            if stop_strings.may_end_with(token) and stop_strings.completed(response_ids[i, :end].tolist()):
                found.append((i, end))
                break
    return found


def _responses(response_ids: Tensor, mask: Tensor) -> list[list[int]]:
    """The ids of each row without what pads them."""
    rows = zip(response_ids.tolist(), mask.tolist(), strict=True)
    return [list(compress(ids, real)) for ids, real in rows]


def _by_row(kept: list[tuple[Tensor, Tensor]], mask: Tensor) -> Tensor:
    """States (N, H) in the order of the mask, from those of each step with their places in it, laid flat."""
    places, states = (torch.cat(parts) for parts in zip(*kept, strict=True))
    chosen = mask.flatten()[places]
    return states[chosen][places[chosen].argsort()]
