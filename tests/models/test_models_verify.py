"""The look at load sees what differs from the model, and touches nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import EXPERTS, linear_layers, small_model
from safetensors.torch import load_file, save_file
from transformers import Phi3Config

import models.logprobs
import models.verify
from models.adapter import TuneConfig, add_lora, disable_dropout, fold_in, merged
from models.errors import ModelError
from models.head import Head, find_head
from models.sft import prepare_sft, save_model
from models.sft_config import SFTConfig
from models.storage import frequency_limit, load_model, position_limit
from models.verify import verify, verify_adapters


def test_looking_changes_nothing(cpu):
    """Neither weights, adapters and mode nor torch's generator."""
    model = add_lora(small_model("qwen3"), TuneConfig(lora_rank=2), seed=1).train()
    before, state = {n: p.clone() for n, p in model.named_parameters()}, torch.get_rng_state()
    head = find_head(model.get_base_model())
    verify(model.get_base_model(), head, cpu)
    verify_adapters(model, head, cpu)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


@pytest.mark.parametrize("head", [{"scale": 0.5}, {"cap": 2.0}, {"scale": 1.01}])
def test_another_head_is_seen(cpu, head):
    model = small_model("llama")
    with pytest.raises(ModelError, match=r"LlamaForCausalLM: log-probabilities of a padded batch .* nats"):
        verify(model, Head(model.get_output_embeddings(), **head), cpu)


@pytest.mark.parametrize("name", ["gpt2", "opt", "gpt-neo"])
def test_positions_that_count_padding_are_seen(cpu, monkeypatch, name):
    """Where positions are learned; rotary ones are relative and forgive a shift."""
    model = small_model(name)
    disable_dropout(model)
    verify(model, find_head(model), cpu)
    monkeypatch.setattr(
        models.logprobs, "position_ids", lambda mask: torch.arange(mask.shape[1]).expand(mask.shape)
    )
    with pytest.raises(ModelError, match="decoding"):
        verify(model, find_head(model), cpu)


def test_decoding_that_differs_is_seen(cpu, monkeypatch):
    """A cache that forgets what was read."""
    model = small_model("llama")
    generate = models.verify.generate

    def forgetful(*args: Any, **settings: Any) -> Any:
        made = generate(*args, **settings)
        made.logprobs[:, 1:] -= 0.01
        return made

    monkeypatch.setattr(models.verify, "generate", forgetful)
    with pytest.raises(ModelError, match=r"decoding and the model's own logits differ by 0\.01"):
        verify(model, find_head(model), cpu)


def test_noise_in_training_mode_is_seen(cpu):
    """Noise that training mode adds, in whatever module, makes two passes over one text two policies."""
    model = small_model("gpt2")
    model.config.resid_pdrop = 0.1
    model.transformer.drop.p = 0.2
    with pytest.raises(ModelError, match="padded batch"):
        verify(model, find_head(model), cpu)
    disable_dropout(model)
    verify(model, find_head(model), cpu)


@pytest.mark.parametrize("name", ["qwen2", "gemma", "gpt2", "opt", "bloom"])
@pytest.mark.parametrize("which", ["get_output_embeddings", "get_input_embeddings"])
def test_an_adapter_on_a_tied_weight_is_refused(name, which):
    """Embeddings and output layer are one there: an adapter of either would move both when it is merged."""
    model = small_model(name)
    layer = next(n for n, m in model.named_modules() if m is getattr(model, which)()).rpartition(".")[2]
    targets = (*linear_layers(model)[:1], layer)
    with pytest.raises(ModelError, match=rf"weight of \S*{layer} is that of .* too, .*leave {layer} out"):
        add_lora(model, TuneConfig(lora_targets=targets), seed=1)


def test_an_adapter_on_memory_that_is_another_weights_too_is_refused():
    """By what lies where, not by names; slices of one tensor that lie apart are no trouble."""
    model = small_model("llama")
    attention = model.model.layers[0].self_attn
    both = torch.randn(64, 32)
    attention.k_proj.weight.data, attention.v_proj.weight.data = both[:16], both[16:32]
    add_lora(model, TuneConfig(lora_targets=("k_proj",)), seed=1)
    model = small_model("llama")
    attention = model.model.layers[0].self_attn
    attention.k_proj.weight.data, attention.v_proj.weight.data = both[:16], both[15:31]
    with pytest.raises(ModelError, match=r"k_proj is that of model.layers.0.self_attn.v_proj too"):
        add_lora(model, TuneConfig(lora_targets=("k_proj",)), seed=1)


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_adapters_of_embeddings_and_output_layer_that_are_two(cpu, name):
    """Folded in they are what they are beside the weights; the base comes back bit for bit."""
    targets = ("q_proj", "embed_tokens", "lm_head")
    model = prepare_sft(
        small_model(name), SFTConfig(), TuneConfig(lora_rank=2, lora_targets=targets), cpu
    ).eval()
    ids, base = torch.arange(40, 60)[None], model.get_base_model()
    for number, p in enumerate(p for p in model.parameters() if p.requires_grad):
        p.data.normal_(std=0.3, generator=torch.Generator().manual_seed(number))
    before = {n: p.clone() for n, p in base.named_parameters()}
    with torch.no_grad():
        beside = base(input_ids=ids).logits
        with merged(model):
            torch.testing.assert_close(base(input_ids=ids).logits, beside, rtol=1e-4, atol=1e-3)
        assert all(torch.equal(p, before[n]) for n, p in base.named_parameters())
        torch.testing.assert_close(fold_in(model)(input_ids=ids).logits, beside, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "target"),
    [("llama", "mlp"), ("llama", "input_layernorm"), ("llama", "layers"), ("qwen3-moe", "experts")],
)
def test_a_target_that_cannot_have_an_adapter_is_refused(name, target):
    with pytest.raises(ModelError, match=r"^--lora-targets: .*not supported") as error:
        add_lora(small_model(name), TuneConfig(lora_targets=(target,)), seed=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["qwen3-moe", "mixtral"])
def test_experts_in_one_tensor_are_adapted_by_the_names_of_a_checkpoint(cpu, name):
    """All of them, and nothing else; `prepare_sft` compares them beside the weights and folded in."""
    model = small_model(name)
    targets = EXPERTS[model.config.model_type]
    adapted = prepare_sft(model, SFTConfig(), TuneConfig(lora_rank=2, lora_targets=targets), cpu)
    found = {n.partition("mlp.")[2] for n, p in adapted.named_parameters() if p.requires_grad}
    parts = ("experts.lora_A", "experts.lora_B", "experts.base_layer.lora_A", "experts.base_layer.lora_B")
    assert found == {f"{part}.default.weight" for part in parts}


@pytest.mark.parametrize(
    ("name", "targets", "idle"),
    [
        ("llama", ("q_proj", "w1", "gate"), "gate, w1"),  # the others would be trained without a word
        ("llama", ("c_attn",), "c_attn"),
        ("qwen3-moe", ("gate_proj", "up_proj", "w1"), "w1"),
        ("mixtral", ("w1", "w3", "gate_proj"), "gate_proj"),
    ],
)
def test_a_target_that_adapts_nothing_is_refused(name, targets, idle):
    with pytest.raises(ModelError, match=f"the model has no layer named {idle}; its linear layers are "):
        add_lora(small_model(name), TuneConfig(lora_targets=targets), seed=1)


def test_a_part_of_what_is_one_tensor_is_refused():
    with pytest.raises(ModelError, match=r"^--lora-targets: .*gate_proj without also targeting up_proj"):
        add_lora(small_model("qwen3-moe"), TuneConfig(lora_targets=("q_proj", "gate_proj")), seed=1)


@pytest.mark.parametrize(
    "entry",
    [
        {"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        {"compression_config": {"quant_method": "compressed-tensors"}},
    ],
)
def test_a_quantised_model_is_refused(tmp_path: Path, tokenizer: Any, entry: dict):
    """Before its weights are read: adapters are merged into float weights."""
    save_model(tmp_path, small_model("llama"), tokenizer)
    (tmp_path / "model.safetensors").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | entry))
    method = next(iter(entry.values()))["quant_method"]
    with pytest.raises(ModelError, match=rf"quantised \({method}\).*float weights"):
        load_model(tmp_path, torch.float32)


def test_missing_weights_are_not_made_up(tmp_path: Path, tokenizer: Any):
    """transformers would draw them at random and go on."""
    save_model(tmp_path, small_model("llama"), tokenizer)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"weights are missing \(model.layers.1.mlp.up_proj.weight"):
        load_model(tmp_path, torch.float32)


@pytest.mark.parametrize(
    ("name", "limit"),
    [("llama", 512), ("gpt2", 512), ("opt", 512), ("codegen", 512), ("mpt", 512), ("bloom", None)],
)
def test_position_limits(name, limit):
    """Under whatever name the configuration has them; ALiBi without a table has none."""
    assert position_limit(small_model(name).config) == limit


LONG = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
AT_96 = {**LONG, "factor": 4.0, "original_max_position_embeddings": 96}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("rope", "limit"),
    [
        (None, None),
        (YARN, None),  # one set of frequencies for all lengths
        (AT_96, 96),
        ({"full_attention": AT_96, "sliding_attention": YARN}, 96),
        (
            {"full_attention": YARN, "sliding_attention": {**AT_96, "original_max_position_embeddings": 40}},
            40,
        ),
    ],
)
def test_where_frequencies_change(rope, limit):
    config = small_model("llama").config
    config.rope_parameters = rope
    assert frequency_limit(config) == limit
    assert frequency_limit(small_model("gpt2").config) is None


def test_phi3_names_the_length_beside_its_factors():
    """As its folders on the hub do."""
    kind = {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
    shape = {"hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 512}
    content = {**shape, "rope_scaling": kind, "original_max_position_embeddings": 128, "pad_token_id": 0}
    assert frequency_limit(Phi3Config.from_dict(content)) == 128
