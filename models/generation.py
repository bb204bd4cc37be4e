"""Sampling with a KV cache: what the rollout and the evaluation use."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from models.errors import LogitsNotFinite
from models.logprobs import positions
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


@torch.no_grad()
def generate(
    model: nn.Module,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    *,
    max_new_tokens: int,
    temperature: float,
    stop_ids: list[int],
    pad_id: int,
    generator: torch.Generator,
    stop_strings: StopStrings | None = None,
) -> Generation:
    """Sample one response for every row from softmax(logits / temperature); temperature 0 takes the best.

    Nothing else shapes the distribution (no top-k, top-p or penalties): the update scores the tokens under
    the same one. A response stops after its first stop token, or at the token that completes a stop string,
    and finished rows leave the batch.

    The random numbers of a row are drawn before the first token, from `generator` (on the CPU), so a
    response does not depend on which rows share its batch, nor on when they finish.

    Args:
        prompt_ids, prompt_mask: (B, P), padded on the left.

    Raises:
        LogitsNotFinite: the logits of a row are not numbers.
    """
    batch, device = prompt_ids.shape[0], prompt_ids.device
    draws = torch.rand((batch, max_new_tokens), generator=generator, dtype=torch.float64).to(device)
    response_ids = torch.full((batch, max_new_tokens), pad_id, dtype=torch.long, device=device)
    mask = torch.zeros((batch, max_new_tokens), dtype=torch.bool, device=device)
    logprobs = torch.zeros((batch, max_new_tokens), dtype=torch.float32, device=device)
    stops = torch.tensor(stop_ids, device=device)
    completed = torch.zeros(batch, dtype=torch.bool, device=device)

    live = torch.arange(batch, device=device)  # (b,) rows still writing
    cache = DynamicCache()
    input_ids, attention = prompt_ids, prompt_mask.long()
    placed = positions(model, attention)  # position_ids (b, P), for models that take them
    once, copy_of = _distinct(prompt_ids, prompt_mask)  # (b',), (b,): samples of one prompt stand together
    for t in range(max_new_tokens):
        rows = once if t == 0 else slice(None)
        logits = model(
            input_ids=input_ids[rows],
            attention_mask=attention[rows],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **{name: place[rows] for name, place in placed.items()},
        ).logits[:, -1]  # (b, V)
        if t == 0 and len(once) < batch:
            logits = logits[copy_of]
            cache.batch_select_indices(copy_of)
        tokens, token_logprobs = sample_tokens(logits, temperature, draws[live, t])
        if token_logprobs.isnan().any():
            raise LogitsNotFinite(live[token_logprobs.isnan()].tolist())
        response_ids[live, t], logprobs[live, t], mask[live, t] = tokens, token_logprobs, True

        going_on = ~torch.isin(tokens, stops)  # (b,)
        if stop_strings:
            so_far = response_ids[live, : t + 1].tolist()
            complete = torch.tensor([stop_strings.completed(ids) for ids in so_far], device=device) & going_on
            completed[live] = complete
            going_on &= ~complete
        if not going_on.all():
            keep = going_on.nonzero(as_tuple=True)[0]
            live, tokens, attention = live[keep], tokens[keep], attention[keep]
            placed = {name: place[keep] for name, place in placed.items()}
            if live.numel() == 0:
                break
            cache.batch_select_indices(keep)
        input_ids = tokens[:, None]
        attention = torch.cat([attention, attention.new_ones(len(live), 1)], dim=1)
        placed = {name: place[:, -1:] + 1 for name, place in placed.items()}
    length = int(mask.sum(dim=1).max())
    return Generation(response_ids[:, :length], mask[:, :length], completed, logprobs[:, :length])


def _distinct(prompt_ids: Tensor, prompt_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Of neighbouring rows that are alike the first (b',), and for each row which of those it is (B,)."""
    both = torch.stack([prompt_ids, prompt_mask.long()], dim=-1)  # (B, P, 2)
    new = torch.ones(len(both), dtype=torch.bool, device=both.device)
    new[1:] = (both[1:] != both[:-1]).flatten(1).any(dim=1)
    return new.nonzero(as_tuple=True)[0], new.long().cumsum(dim=0) - 1


def sample_tokens(logits: Tensor, temperature: float, draws: Tensor) -> tuple[Tensor, Tensor]:
    """One token per row by inversion of the cumulative distribution, and its log-probability.

    Args:
        logits: (b, V). `draws`: (b,) uniform in [0, 1).

    Returns:
        ids (b,) and log-probabilities (b,) float32. At temperature 0: the most likely token, under the
        distribution at temperature 1.
    """
    logprobs = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)
    if temperature == 0:
        tokens = logprobs.argmax(dim=-1)
    else:
        cumulative = logprobs.double().exp().cumsum(dim=-1)  # float64: 32k terms, and no token unreachable
        # The last entry is 1 up to rounding; scaled by it, a draw cannot fall behind the last token.
        tokens = torch.searchsorted(cumulative, (draws * cumulative[:, -1])[:, None], right=True).squeeze(-1)
        tokens = tokens.clamp(max=logits.shape[-1] - 1)
    return tokens, logprobs.gather(-1, tokens[:, None]).squeeze(-1)
