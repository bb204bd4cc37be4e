"""What makes decoding quick, against the plain form: cache, layers, prompts that repeat or begin alike."""

from functools import partial

import pytest
import torch
from decoding_helpers import HEAD, PROMPTS, assert_same, run
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import Cache, DynamicCache

import models.reader
from models.adapter import TuneConfig, add_lora, merged
from models.cache import RoomyLayer
from models.generation import fill_gaps
from models.head import find_head
from models.quick_layers import FewRows, has_layouts, linear_layers, quick_layers
from models.reader import Reader
from tests.architectures import WORKING, small_model


@pytest.fixture
def tokens_read(monkeypatch) -> list[int]:
    """How many tokens each pass reads."""
    counts: list[int] = []
    read = Reader._read

    def counted(self, ids, *rest):
        counts.append(ids.numel())
        return read(self, ids, *rest)

    monkeypatch.setattr(Reader, "_read", counted)
    return counts


@pytest.mark.parametrize("name", sorted(WORKING))
def test_the_cache_with_room_is_transformers_own(name, monkeypatch):
    """On every architecture, with padding, prompts that repeat and rows that leave from any place."""
    network = small_model(name).eval()
    found = run(network, stop_ids=range(0, 264, 5))
    assert len(set(found.response_mask.sum(dim=1).tolist())) > 1
    monkeypatch.setattr(models.reader, "roomy_cache", lambda room: DynamicCache())
    assert_same(found, run(network, stop_ids=range(0, 264, 5)))


@given(st.lists(st.booleans(), min_size=1, max_size=9).filter(any))
def test_rows_that_stay_in_their_place_are_not_copied(staying):
    mask = torch.tensor(staying)
    order = fill_gaps(mask)
    assert sorted(order.tolist()) == mask.nonzero().flatten().tolist()
    kept = [row for row in order.tolist() if row < len(order)]
    assert [order[row].item() for row in kept] == kept  # each in its own place

    cache, plain = Cache(layer_class_to_replicate=partial(RoomyLayer, 5)), DynamicCache()
    for length in (3, 1):
        new = torch.randn(2, len(mask), 2, length, 4, generator=torch.Generator().manual_seed(length))
        for each in (cache, plain):
            each.update(new[0], new[1], 0)
    before = cache.layers[0].keys
    for each in (cache, plain):
        each.batch_select_indices(order)
        each.update(new[0][: len(order)], new[1][: len(order)], 0)
    for name in ("keys", "values"):
        assert torch.equal(getattr(cache.layers[0], name), getattr(plain.layers[0], name))
    assert cache.layers[0].keys.data_ptr() == before.data_ptr()
    assert cache.get_seq_length() == 5


def test_prompts_that_repeat_are_read_once(make_model, tokens_read):
    """Wherever they stand; and eight samples of each of two prompts cost an eighth of sixteen prompts."""
    network = make_model().eval()
    repeated = run(network, tokens=1)
    assert tokens_read == [3 * 54]
    tokens_read.clear()
    several = [[9, 40 + i // 8, 77] for i in range(16)]
    run(network, several, tokens=1)
    assert tokens_read == [2 * 3]
    tokens_read.clear()
    alone = run(network, [PROMPTS[0], [1, *PROMPTS[1][1:]]], tokens=1)
    torch.testing.assert_close(repeated.logprobs[:1], alone.logprobs[:1], rtol=1e-4, atol=1e-4)


HEEDS = sorted(set(WORKING) - {"mpt", "falcon-alibi", "bloom"})


@pytest.mark.parametrize("name", [n for n in HEEDS if not getattr(WORKING[n](), "sliding_window", None)])
def test_a_head_in_common_is_read_once(name, tokens_read):
    if name == "gpt-neo":
        pytest.skip("attends within a window")
    network = small_model(name).eval()
    plain = run(network)
    assert tokens_read[0] == 3 * 54
    tokens_read.clear()
    assert_same(run(network, share_head=True), plain)
    assert tokens_read[:2] == [50, 3 * 4]


@pytest.mark.parametrize("prompts", [[[5], [5, 6]], [[7, 8, 9]] * 3, [[1, 2], [3, 4]], [HEAD, [*HEAD, 3]]])
def test_heads_that_are_short_or_all_there_is(make_model, prompts):
    """A prompt that is the head of another keeps a token of its own."""
    network = make_model().eval()
    assert_same(run(network, prompts, share_head=True), run(network, prompts))


def test_states_of_decoding_are_those_of_a_pass(make_model):
    """Row by row, whatever order the rows were left in; log-probabilities and entropies follow from them."""
    network = make_model().eval()
    made = run(network, stop_ids=range(0, 262, 5), keep_states=True)
    assert run(network).states is None
    states = []
    for prompt, ids, mask in zip(PROMPTS, made.response_ids, made.response_mask, strict=True):
        text = torch.tensor([[*prompt, *ids[mask].tolist()]])
        with torch.no_grad():
            states.append(network.get_decoder()(text).last_hidden_state[0, len(prompt) - 1 : -1])
    expected = torch.cat(states)
    torch.testing.assert_close(made.states, expected, rtol=1e-4, atol=1e-4)
    logits = find_head(network)(expected) / 0.7
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(made.entropy[made.response_mask], entropy, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not has_layouts(), reason="needs a torch with MKL")
@pytest.mark.parametrize("bias", [True, False])
def test_layers_by_layout_are_the_layers(bias):
    """Any number of rows in any order, three dimensions or two, prompts between."""
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=bias).requires_grad_(False)
    quick = FewRows(layer)
    for shape in ((16,), (16, 1), (13, 1), (9,), (4, 30), (8, 1), (3, 1), (1,), (300,), (64, 1), (33,)):
        x = torch.randn(*shape, 24)
        torch.testing.assert_close(quick(x), layer(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layouts", [True, False])
def test_quick_layers_are_the_model_with_its_adapters_in(layouts, monkeypatch):
    """peft's layers are not gone through, adapters' own matrices are left alone, and all is undone."""
    adapted = add_lora(small_model("llama"), TuneConfig(lora_targets=("q_proj", "down_proj", "up_proj")), 0)
    network = adapted.get_base_model().eval()
    for name, p in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(p, std=0.02)
    plain = run(network)
    assert len(linear_layers(adapted)) == 2 * 7 + 1
    with merged(adapted), quick_layers(adapted, layouts=layouts):
        called = []
        for module in adapted.modules():
            if hasattr(module, "base_layer"):
                monkeypatch.setattr(type(module), "forward", lambda *_: called.append(1))
        assert_same(run(network), plain)
        assert not called
    monkeypatch.undo()
    assert not any("forward" in vars(module) for module in adapted.modules())
    assert_same(run(network), plain)
