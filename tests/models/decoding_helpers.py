"""Responses of small models, with prompts of several lengths, some of them twice."""

import torch

from models.generation import Generation, generate
from models.head import find_head
from models.reader import Reader

HEAD = list(range(40, 90))
PROMPTS = [[*HEAD, 12], [*HEAD, 12], [*HEAD, 30, 31, 32, 33], [*HEAD, 12], [*HEAD, 60, 61]]


def run(
    network, prompts=PROMPTS, *, reader=None, share_head=False, stop_ids=(), tokens=9, **settings
) -> Generation:
    """Responses of the same draws, on the network's device; by the plain reader unless another is given."""
    width, device = max(map(len, prompts)), network.device
    return generate(
        reader or Reader(network, tokens, share_head=share_head),
        find_head(network),
        torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=device),
        torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts], device=device),
        max_new_tokens=tokens,
        temperature=0.7,
        stop_ids=list(stop_ids),
        pad_id=0,
        generator=torch.Generator().manual_seed(0),
        **settings,
    )


def assert_same(found: Generation, expected: Generation, close: float = 1e-4) -> None:
    """The same tokens, and numbers as close as rounding leaves them."""
    assert torch.equal(found.response_ids, expected.response_ids)
    assert torch.equal(found.response_mask, expected.response_mask)
    torch.testing.assert_close(found.logprobs, expected.logprobs, rtol=close, atol=close)
    torch.testing.assert_close(found.entropy, expected.entropy, rtol=close, atol=close)
