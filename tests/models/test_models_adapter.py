"""Folding adapters in and out, and dropout that is really off."""

import copy
import json
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    OPTConfig,
    Starcoder2Config,
)

from models.adapter import TuneConfig, add_lora, disable_dropout, disabled, merged
from models.sft import save_model

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]])


@torch.no_grad()
def logprobs(model: torch.nn.Module) -> torch.Tensor:
    return model(IDS).logits.float().log_softmax(-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_merging_changes_the_speed_only(make_model, dtype):
    """Check 28: merged == unmerged (1e-5 in fp32); the base is restored bit for bit, a hundred times."""
    model = add_lora(make_model().to(dtype), TuneConfig(lora_rank=4), seed=1)
    generator = torch.Generator().manual_seed(0)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            p.data = 0.1 * torch.randn(p.shape, generator=generator)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    expected = logprobs(model)
    with disabled(model):
        base = logprobs(model)
    assert (expected - base).abs().max() > 0.1  # the adapters do something
    for _ in range(100):
        with merged(model):
            inside = {name: p.detach().clone() for name, p in model.named_parameters()}
    with merged(model):
        torch.testing.assert_close(
            logprobs(model), expected, rtol=0, atol=1e-5 if dtype.itemsize == 4 else 0.1
        )
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    changed = {name for name in inside if not torch.equal(inside[name], before[name])}
    assert len(changed) == 4 and all("base_layer" in name for name in changed)
    assert torch.equal(logprobs(model), expected)


def test_adapters_off_is_the_model_itself(make_model):
    """Check 14: bitwise, and on again afterwards; adapters are trained in float32 whatever the base is."""
    expected = logprobs(make_model())
    model = add_lora(make_model(), TuneConfig(lora_rank=4), seed=1)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            p.data.fill_(0.3)
    on = logprobs(model)
    with disabled(model):
        assert torch.equal(logprobs(model), expected)
    assert torch.equal(logprobs(model), on) and not torch.equal(on, expected)
    half = add_lora(make_model().half(), TuneConfig(), seed=1)
    assert {p.dtype for p in half.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in half.parameters() if not p.requires_grad} == {torch.float16}


def test_alpha_over_rank_is_the_scale(make_model):
    """The folded weight is W + alpha/rank · B·A."""
    model = add_lora(make_model(), TuneConfig(lora_rank=4, lora_alpha=12), seed=1)
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    layer.lora_B["default"].weight.data.normal_(generator=torch.Generator().manual_seed(0))
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = layer.base_layer.weight + 3.0 * b @ a
    with merged(model):
        torch.testing.assert_close(layer.base_layer.weight, expected)


SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
WITH_DROPOUT = {
    "llama": LlamaConfig(**SMALL, intermediate_size=32, attention_dropout=0.5),
    "gpt2": GPT2Config(
        vocab_size=64, n_embd=32, n_layer=1, n_head=2, attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5
    ),
    "starcoder2": Starcoder2Config(
        **SMALL,
        num_key_value_heads=2,
        intermediate_size=32,
        attention_dropout=0.5,
        residual_dropout=0.5,
        embedding_dropout=0.5,
    ),
    "mixtral": MixtralConfig(
        **SMALL, num_key_value_heads=2, intermediate_size=32, num_local_experts=2, router_jitter_noise=0.5
    ),
    "opt": OPTConfig(**SMALL, ffn_dim=32, word_embed_proj_dim=32, dropout=0.5, attention_dropout=0.5),
}


@pytest.mark.parametrize("family", WITH_DROPOUT)
def test_two_passes_in_training_mode_are_equal(family):
    """Check 16, trap A8: no dropout is left, as module or as number, in several families of models; nor the
    noise of a router."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(WITH_DROPOUT[family])).train()
    assert not torch.equal(logprobs(model), logprobs(model))  # it was on
    disable_dropout(model)
    assert torch.equal(logprobs(model), logprobs(model))


@pytest.mark.parametrize("family", WITH_DROPOUT)
def test_a_model_is_written_with_the_dropout_it_came_with(family, tmp_path, tokenizer):
    """And none is on before or after; switching it off twice forgets nothing."""
    model = AutoModelForCausalLM.from_config(copy.deepcopy(WITH_DROPOUT[family]))
    before = dropout(model.config.to_dict())
    disable_dropout(model)
    disable_dropout(model)
    save_model(tmp_path / "model", model, tokenizer)
    assert dropout(json.loads((tmp_path / "model" / "config.json").read_text())) == before
    assert any(before.values()) and not any(dropout(model.config.to_dict()).values())


def dropout(config: dict[str, Any]) -> dict[str, float]:
    """And the noise of routers."""
    named = {name: value for name, value in config.items() if "drop" in name or "jitter" in name}
    return {name: value for name, value in named.items() if isinstance(value, float)}
