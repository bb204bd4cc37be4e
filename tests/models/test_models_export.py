"""What is exported is the policy: for transformers as a whole model, for peft as an adapter on its base."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import WORKING, linear_layers, small_model
from peft import AutoPeftModelForCausalLM
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from models.adapter import TuneConfig
from models.errors import ModelError
from models.export import base_of, export_adapter, export_whole, generation_settings, stored_dtype
from models.policy import Policy, build_policy
from models.sft import save_model
from models.storage import load_model

IDS = torch.tensor([list(range(2, 22)), [9, 40, 77, 100, 3] * 4])
FAST = {
    "lora": "llama gemma2 gpt-neox gpt2 mixtral".split(),
    "full": ["gpt2", "mixtral"],
}
"""The others are slow."""
CASES = [
    pytest.param(name, tune, marks=() if name in FAST[tune] else pytest.mark.slow)
    for name in WORKING
    for tune in FAST
]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits.float()


def trained(folder: Path, name: str, tokenizer: Any, cpu: Any, tune: str = "lora") -> Policy:
    """A policy whose trained weights are not those it began with."""
    model = small_model(name)
    save_model(folder, model, tokenizer)
    layers = linear_layers(model)
    policy = build_policy(folder, TuneConfig(tune=tune, lora_rank=2, lora_targets=layers), cpu, seed=1)
    with torch.no_grad():
        for number, parameter in enumerate(policy.trainable().values()):
            wave = torch.arange(parameter.numel()).add(number).cos().reshape(parameter.shape)
            parameter += 0.02 * wave
    return policy


def test_a_full_disk_is_an_oserror(tmp_path, tokenizer, cpu, monkeypatch):
    """What tokenizers raises for one is a bare Exception."""
    policy = trained(tmp_path / "base", "llama", tokenizer, cpu)

    def full_disk(*args: Any, **kwargs: Any) -> None:
        policy.tokenizer.backend_tokenizer.save("/dev/full")

    monkeypatch.setattr(type(policy.tokenizer), "save_pretrained", full_disk)
    for export in (export_adapter, partial(export_whole, dtype=torch.float32)):
        with pytest.raises(OSError, match="No space left"):
            export(tmp_path / "out", policy)


@pytest.mark.parametrize("name, tune", CASES)
def test_what_transformers_and_peft_load_is_the_policy(name, tune, tmp_path, tokenizer, cpu):
    """Within rounding it has the policy's logits, which are not those of the model it was trained from."""
    policy = trained(tmp_path / "base", name, tokenizer, cpu, tune)
    said, before = logits(policy.adapted), logits(AutoModelForCausalLM.from_pretrained(tmp_path / "base"))
    assert not torch.allclose(said, before, atol=0.01)
    if tune == "lora":
        read = export_adapter(tmp_path / "adapter", policy)
        torch.testing.assert_close(logits(policy.adapted), said, rtol=0, atol=0)
        loaded = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
        torch.testing.assert_close(logits(loaded), said, rtol=1e-4, atol=1e-4)
        assert read.rounding < 1e-5 and read.training > 1e-3
    read = export_whole(tmp_path / "whole", policy, torch.float32, temperature=0.7)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    torch.testing.assert_close(logits(loaded), said, rtol=1e-4, atol=1e-4)
    assert read.rounding < 1e-5 and read.training > 1e-3
    assert (
        type(loaded).__name__
        == json.loads((tmp_path / "whole" / "config.json").read_text())["architectures"][0]
    )
    text = "for i in range(3):\n    print(i)\n"
    assert AutoTokenizer.from_pretrained(tmp_path / "whole")(text) == policy.tokenizer(text)


def test_a_whole_model_is_in_the_format_asked_for(tmp_path, tokenizer, cpu):
    """Merged in float32 and rounded once: what rounding hides is told."""
    policy = trained(tmp_path / "base", "llama", tokenizer, cpu)
    said = logits(policy.adapted)
    expected = {n: p.detach().clone() for n, p in policy.network.named_parameters() if ".lora_" not in n}
    read = export_whole(tmp_path / "whole", policy, torch.bfloat16)
    assert stored_dtype(tmp_path / "whole") == torch.bfloat16
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype="auto")
    assert loaded.dtype == torch.bfloat16
    unchanged = loaded.model.embed_tokens.weight
    assert torch.equal(unchanged, expected["model.embed_tokens.weight"].bfloat16())
    assert 1e-5 < read.rounding < 1.0 and read.training > 1e-3
    assert (logits(loaded) - said).abs().mean() < 1.0


def test_an_adapter_in_another_format(tmp_path, tokenizer, cpu):
    policy = trained(tmp_path / "base", "qwen2", tokenizer, cpu)
    read = export_adapter(tmp_path / "adapter", policy, torch.float16)
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "pt") as tensors:
        assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"F16"}
    assert 0 < read.rounding < 1e-2


def test_numbers_too_large_for_a_format_are_refused(tmp_path, tokenizer, cpu):
    policy = trained(tmp_path / "base", "llama", tokenizer, cpu, "full")
    with torch.no_grad():
        policy.network.model.embed_tokens.weight[5, 5] = 1e6
    with pytest.raises(ModelError, match="too large for float16; take bfloat16"):
        export_whole(tmp_path / "whole", policy, torch.float16)


def test_what_does_not_read_back_is_refused(tmp_path, tokenizer, cpu, monkeypatch):
    """A weight that is lost on the way, in either form."""

    def load(path: Path, dtype: torch.dtype) -> Any:
        model = load_model(path, dtype)
        with torch.no_grad():
            model.model.layers[0].mlp.up_proj.weight[0] += 1.0
        return model

    policy = trained(tmp_path / "base", "llama", tokenizer, cpu)
    monkeypatch.setattr("models.export.load_model", load)
    with pytest.raises(ModelError, match="the adapter on its base differs from the policy by"):
        export_adapter(tmp_path / "adapter", policy)
    with pytest.raises(ModelError, match="the model read back differs from the policy by"):
        export_whole(tmp_path / "whole", policy, torch.float32)


def test_dropout_is_that_of_the_base(tmp_path, tokenizer, cpu):
    """It is switched off for training, which is no property of the model."""
    model = small_model("gpt2")
    model.config.resid_pdrop = 0.1
    save_model(tmp_path / "base", model, tokenizer)
    policy = build_policy(tmp_path / "base", TuneConfig(lora_targets=("c_attn",)), cpu, seed=1)
    assert policy.network.config.resid_pdrop == 0.0
    export_whole(tmp_path / "whole", policy, torch.float32)
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["resid_pdrop"] == 0.1


def test_generation_settings_are_those_of_training(tmp_path, tokenizer, cpu):
    """Not what the base had; every id that ends a response is an EOS id, whether trained here or not."""
    model = small_model("llama")
    model.generation_config = GenerationConfig(eos_token_id=[1, 7], do_sample=True, top_k=20, temperature=0.3)
    save_model(tmp_path, model, tokenizer)
    policy = build_policy(tmp_path, TuneConfig(), cpu, seed=1)
    ours = generation_settings(policy, 0.7)
    assert (ours.do_sample, ours.temperature, ours.top_k, ours.top_p) == (True, 0.7, 0, 1.0)
    theirs = generation_settings(policy, None)
    assert (theirs.do_sample, theirs.temperature, theirs.top_k) == (True, 0.3, 20)
    for settings in (ours, theirs):
        assert settings.eos_token_id == policy.stop_ids and set(policy.stop_ids) >= {1, 7}
        settings.validate()


def test_a_base_from_the_hub_goes_by_its_name(tmp_path):
    snapshot = tmp_path / "hub" / "models--some-owner--a-model-0.5B" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    assert (base_of(snapshot).name, base_of(snapshot).revision) == ("some-owner/a-model-0.5B", "0123abc")
    assert (base_of(tmp_path).name, base_of(tmp_path).revision) == (str(tmp_path.resolve()), None)


def test_the_stored_format_is_that_of_most_weights(tmp_path, tokenizer):
    model = small_model("llama").half()
    model.model.norm.float()
    model.save_pretrained(tmp_path)
    assert stored_dtype(tmp_path) == torch.float16
