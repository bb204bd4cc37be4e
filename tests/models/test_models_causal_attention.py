"""Attention by parts of the queries against transformers' way by torch's kernels, values and gradients."""

from types import SimpleNamespace

import pytest
import torch
from short_ways import check_same_either_way
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from models import causal_attention
from models.adapter import TuneConfig, add_lora, disable_dropout
from models.causal_attention import CAUSAL_PARTS, _Causal, attention, quicken_attention
from models.logprobs import final_states
from tests.architectures import small_model

MODULE = SimpleNamespace(is_causal=True, num_key_value_groups=2)


def heads(length: int, *, groups: int = 2, wide: int = 6, dtype=torch.float64) -> list[torch.Tensor]:
    """Queries of 4 heads, keys and values: (3, heads, L, d), views of (3, L, heads, d) as in networks."""
    generator = torch.Generator().manual_seed(length)
    sizes = (4, 5), (groups, 5), (groups, wide)
    made = (torch.randn(3, length, *size, generator=generator, dtype=torch.float64) for size in sizes)
    return [x.to(dtype).requires_grad_().transpose(1, 2) for x in made]


def outcome(way, *args, **settings) -> list[torch.Tensor]:
    """What is seen, and the gradients of a loss with many directions."""
    y, _ = way(MODULE, *args, **settings)
    loss = (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)).sum()
    return [y.detach(), *torch.autograd.grad(loss, args[:3])]


@pytest.fixture
def parts(monkeypatch):
    """How many queries each attention by parts was given; short rows and small heads are taken, too."""
    quicken_attention()  # tries it, once
    monkeypatch.setattr(causal_attention, "_PART", 4)
    monkeypatch.setattr(causal_attention, "_ROWS", range(1, 20))
    monkeypatch.setattr(causal_attention, "_SIZE", 1)
    given: list[int] = []
    plain = _Causal.apply
    monkeypatch.setattr(_Causal, "apply", lambda q, *rest: (given.append(q.shape[2]), plain(q, *rest))[1])
    return given


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 13])
def test_values_and_gradients_are_those_of_transformers(parts, length, groups, scaling):
    args = [*heads(length, groups=groups), None]
    MODULE.num_key_value_groups = 4 // groups
    short = outcome(attention, *args, scaling=scaling)
    assert parts == [length]
    plain = outcome(sdpa_attention_forward, *args, scaling=scaling)
    torch.testing.assert_close(short, plain, rtol=1e-12, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences(parts):
    assert torch.autograd.gradcheck(lambda *x: _Causal.apply(*x, 0.7), heads(6))


def test_no_token_sees_a_later_one(parts):
    query, key, value = heads(9)
    seen = _Causal.apply(query, key, value, 1.0)
    for end in range(1, 9):
        later = [x.clone() for x in (key, value)]
        for x in later:
            x[:, :, end:] = 1e3
        torch.testing.assert_close(_Causal.apply(query, *later, 1.0)[:, :end], seen[:, :end])


def test_scores_too_large_for_exp_are_no_trouble():
    query, key, value = heads(7, dtype=torch.float32)
    y = _Causal.apply(query, key, value, 1e4)
    assert y.isfinite().all() and all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), (query, key)))


MASKED = "mask", "dropout", "all see all", "cached keys", "bias"
REASONS = *MASKED, "small heads", "short", "long", "16 bits", "autocast", "no gradient", "off"


@pytest.mark.parametrize("reason", REASONS)
def test_what_does_not_fit_goes_transformers_way(parts, monkeypatch, reason):
    """To the bit, all arguments handed on."""
    query, key, value = heads(9, wide=5, dtype=torch.bfloat16 if reason == "16 bits" else torch.float64)
    MODULE.num_key_value_groups = 2
    mask, settings = None, {}
    match reason:
        case "mask":
            mask = torch.ones(1, 1, 9, 9, dtype=torch.bool).tril(-1) | torch.eye(9, dtype=torch.bool)
        case "dropout":
            settings = {"dropout": 0.5}
        case "all see all":
            settings = {"is_causal": False}
        case "cached keys":
            query = query[:, :, :2]
        case "bias":
            settings = {"position_bias": torch.randn(1, 4, 9, 9, dtype=query.dtype)}
        case "no gradient":
            query, key, value = (x.detach() for x in (query, key, value))
        case "short" | "long":
            monkeypatch.setattr(causal_attention, "_ROWS", range(10, 20) if reason == "short" else range(9))
        case "small heads":
            monkeypatch.setattr(causal_attention, "_SIZE", 6)
    found = []
    for way in (attention, sdpa_attention_forward):
        torch.manual_seed(0)
        CAUSAL_PARTS.on = reason != "off"
        try:
            with torch.autocast("cpu", enabled=reason == "autocast"):
                found.append(way(MODULE, query, key, value, mask, scaling=0.4, **settings)[0])
        finally:
            CAUSAL_PARTS.on = True
    assert torch.equal(*found) and not parts


def test_a_gradient_of_the_values_alone_is_one():
    query, key, value = (x.detach() for x in heads(6))
    y, _ = attention(MODULE, query, key, value.requires_grad_(), None)
    expected = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(
        *(torch.autograd.grad(x.square().sum(), value) for x in (y, expected.transpose(1, 2)))
    )


def test_it_is_not_taken_where_transformers_gives_other_numbers(monkeypatch):
    assert causal_attention._is_known.__wrapped__()
    wrong = lambda *args, **settings: sdpa_attention_forward(*args, **settings | {"scaling": 0.51})  # noqa: E731
    monkeypatch.setattr(causal_attention, "sdpa_attention_forward", wrong)
    assert not causal_attention._is_known.__wrapped__()


def test_what_somebody_else_put_there_stays(monkeypatch):
    for there, then in ((print, print), (sdpa_attention_forward, attention)):
        monkeypatch.setitem(AttentionInterface._global_mapping, "sdpa", there)
        quicken_attention()
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is then


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("name", ["cohere", "gemma", "gpt2", "granite", "llama", "phi3", "qwen2", "qwen3"])
def test_networks_say_and_learn_the_same(parts, name, recompute):
    network = small_model(name).train()
    disable_dropout(network)
    check_same_either_way(network, CAUSAL_PARTS, recompute=recompute)
    assert set(parts) == {9}


def test_rows_with_adapters_go_this_way_in_training_and_only_there(parts):
    network = add_lora(small_model("llama"), TuneConfig(), seed=1).get_base_model()
    ids, places = torch.arange(24).reshape(2, 12), torch.arange(4, 10)
    with torch.no_grad():
        states = final_states(network, ids, places)
    assert not parts
    trained = final_states(network, ids, places)
    assert len(parts) == network.config.num_hidden_layers
    torch.testing.assert_close(trained, states, rtol=1e-5, atol=1e-5)
