"""Packed texts against texts by themselves, architecture by architecture."""

from dataclasses import replace

import pytest
import torch

from models.adapter import checkpoint_layers
from models.batch import TokenBatch
from models.logprobs import final_states
from models.packing import (
    _lay_out,
    _pieces,
    _rows,
    _tokens,
    heeds_packing,
    pack_limit,
    packed_states,
    packing_saves,
)
from tests.architectures import WORKING, small_model

HEAD = [5, 9, 40, 77]
PROMPTS = [[*HEAD, 12], [*HEAD, 12], [*HEAD, 30, 31, 32, 33], [*HEAD, 12], [60, 61]]
RESPONSES = [[100, 101, 102], [100, 200], [], [7] * 9, [3]]

# Their attention looks at distances in the sequence, or at a mask of one row a text.
NOT_PACKED = {"bloom", "falcon-alibi", "mpt"}
# A window narrower than these texts: the whole would be packed right, and what is far is seen wrongly.
WINDOWED = {"mistral", "gemma2", "gemma3-text", "starcoder2", "cohere2", "gpt-neo"}


def batch(prompts=PROMPTS, responses=RESPONSES) -> TokenBatch:
    width, length = max(map(len, prompts)), max(map(len, responses))
    return TokenBatch(
        torch.tensor([[0] * (width - len(p)) + p for p in prompts]),
        torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts]),
        torch.tensor([r + [0] * (length - len(r)) for r in responses]),
        torch.tensor([[True] * len(r) + [False] * (length - len(r)) for r in responses]),
    )


def alone(network, prompts=PROMPTS, responses=RESPONSES) -> torch.Tensor:
    """Final states from which the response tokens are chosen, each text by itself."""
    found = []
    for prompt, response in zip(prompts, responses, strict=True):
        ids = torch.tensor([[*prompt, *response]])
        found.append(final_states(network, ids, len(prompt) - 1 + torch.arange(len(response))))
    return torch.cat(found)


@pytest.mark.parametrize("name", sorted(WORKING.keys() - NOT_PACKED - WINDOWED))
def test_packed_states_are_those_of_texts_by_themselves(name):
    network = small_model(name).eval()
    assert heeds_packing(network)
    with torch.no_grad():
        expected = alone(network)
        for limit in (1000, 20, 1):  # one sequence; two or three; one for every row
            torch.testing.assert_close(packed_states(network, batch(), limit), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", sorted(NOT_PACKED | WINDOWED))
def test_what_would_not_heed_mask_or_positions_is_not_packed(name, cpu, monkeypatch):
    monkeypatch.setattr("models.packing._MIN_WIDTH", 8)
    assert pack_limit(small_model(name), cpu) == 0


def test_what_cannot_be_run_packed_is_not(monkeypatch):
    """It is refused, or works as rows: whichever, that is told elsewhere."""
    network = small_model("llama")
    assert heeds_packing(network)
    monkeypatch.setattr(network.get_decoder(), "forward", lambda **settings: [])
    assert not heeds_packing(network)


def test_narrow_networks_and_half_precision_are_not_packed(cpu):
    network = small_model("llama")
    assert pack_limit(network, cpu) == 0
    wide = small_model("llama")
    wide.set_input_embeddings(torch.nn.Embedding(264, 256))
    assert pack_limit(wide, replace(cpu, dtype=torch.bfloat16)) == 0


def test_a_policy_that_packs_has_the_same_numbers_and_gradients(make_policy):
    """Also where activations are recomputed in the backward pass."""
    results = []
    for limit, recompute in ((0, False), (24, False), (24, True)):
        policy = make_policy(trained=True, lora_targets=("q_proj", "v_proj", "down_proj"))
        policy.pack_limit = limit
        assert not limit or packing_saves(batch(), limit)
        if recompute:
            checkpoint_layers(policy.network)
        policy.train()
        stats = policy(batch(), 0.7)
        (stats.logprobs.sum() + stats.values.sum()).backward()
        gradients = [p.grad for p in policy.trainable().values()]
        results.append([*stats, policy.ref_logprobs(batch(), 0.7), *gradients])
    padded, *others = results
    for packed in others:
        for ours, theirs in zip(packed, padded, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_texts_are_packed_only_where_that_saves_work():
    """Prompts that repeat, beginnings in common and ragged texts; not full rows that share nothing."""

    def prompts(shared: int) -> list[list[int]]:
        return [[7] * shared + [100 * i + j for j in range(32 - shared)] for i in range(8)]

    full, ragged = [[5] * 32] * 8, [[5] * (4 * i + 1) for i in range(8)]
    assert not packing_saves(batch(prompts(0), full), 256)
    assert packing_saves(batch(prompts(16), full), 256)
    assert packing_saves(batch(prompts(0), ragged), 256)
    assert packing_saves(batch([prompts(0)[0]] * 8, full), 256)
    assert not packing_saves(batch(prompts(0), [[]] * 8), 256)  # no text at all


@pytest.mark.parametrize("limit", [1, 20, 1000])
def test_tokens_are_counted_as_they_are_laid_out(limit):
    for piece in _pieces(_rows(batch()), limit):
        assert _tokens(piece) == len(_lay_out(piece).ids)
