"""Steps of decoding as one function, against the model's own: states, rows that leave, and who is let in."""

import pytest
import torch
import transformers as t
from decoding_helpers import PROMPTS, assert_same, run
from torch import nn
from transformers import AutoModelForCausalLM

from models.adapter import TuneConfig, add_lora, merged
from models.decoding import Decoding, why_not_short
from models.precision import Precision
from models.quick_layers import quick_layers
from models.reader import Reader
from models.rms_norm import quicken_norms
from models.sampling import sample_tokens
from models.short_steps import SHORT_STEPS, ShortReader, has_form
from tests.architectures import WINDOW, WORKING, small_model

CPU = Precision(torch.device("cpu"), torch.float32)
FIT = ("gemma", "llama", "qwen2", "qwen3", "smollm3")
ALIKE = [[*range(k, k + 20)] for k in (40, 60, 80)]  # of one length: no row is padded

_SHAPE = {"vocab_size": 264, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48}
VARIANTS = {
    "biases": t.LlamaConfig(**_SHAPE, num_attention_heads=4, attention_bias=True, mlp_bias=True),
    "wide heads": t.LlamaConfig(**_SHAPE, num_attention_heads=4, num_key_value_heads=1, head_dim=24),
    "another activation": t.LlamaConfig(**_SHAPE, num_attention_heads=4, hidden_act="gelu_pytorch_tanh"),
    "stretched positions": t.LlamaConfig(
        **_SHAPE,
        num_attention_heads=4,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0},
    ),
    "its own scale": t.LlamaConfig(**_SHAPE, num_attention_heads=4),
    "a wide window": t.MistralConfig(
        **_SHAPE, num_attention_heads=4, num_key_value_heads=2, sliding_window=90
    ),
}


def variant(name: str) -> t.PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(VARIANTS[name], dtype=torch.float32).eval()
        for p in model.parameters():
            nn.init.normal_(p, std=0.2)
    if name == "its own scale":
        for layer in model.model.layers:
            layer.self_attn.scaling = 0.2
    return model


@pytest.mark.parametrize("prompts", [PROMPTS, ALIKE], ids=["padded", "alike"])
@pytest.mark.parametrize("name", [*FIT, *VARIANTS])
def test_short_steps_are_the_models_own(name, prompts):
    """With rows that leave from any place, prompts that repeat, and a head that is read apart."""
    network = (small_model(name) if name in FIT else variant(name)).eval()
    assert why_not_short(network, CPU) == ""
    for settings in ({"share_head": True}, {"stop_ids": range(0, 264, 5), "keep_states": True}):
        share_head = settings.get("share_head", False)
        plain = run(network, prompts, **settings)
        short = run(network, prompts, reader=ShortReader(network, 9, share_head=share_head), **settings)
        assert_same(short, plain)
        if plain.states is not None:
            torch.testing.assert_close(short.states, plain.states, rtol=1e-4, atol=1e-4)


def test_of_a_prompt_the_last_token_alone_goes_through_the_last_layer():
    network, rows = small_model("llama").eval(), []
    network.model.layers[-1].mlp.down_proj.register_forward_pre_hook(
        lambda _, args: rows.append(args[0].numel() // args[0].shape[-1])
    )
    run(network, ALIKE, tokens=1, reader=ShortReader(network, 1))
    assert rows[1:] == [len(ALIKE)]  # the first pass was to find the head


def test_short_steps_of_layers_by_layout_and_norms_as_one_function():
    """As a rollout has them: adapters folded in; and beside the layers, as `Policy.folds` may ask for."""
    adapted = add_lora(small_model("llama"), TuneConfig(lora_targets=("q_proj", "down_proj")), 0)
    network = adapted.get_base_model().eval()
    for name, p in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(p, std=0.02)
    plain = run(network)
    quicken_norms(network)
    assert_same(run(network, reader=ShortReader(network, 9)), plain)
    with merged(adapted), quick_layers(adapted):
        assert_same(run(network, reader=ShortReader(network, 9)), plain)


def test_the_same_ids_or_a_draw_at_a_boundary():
    """Of every token up to the first that differs: its draw is within 1e-5 of where the two part."""
    network = variant("biases")
    prompts = [[(7 * i + k) % 264 for k in range(5 + i % 3)] for i in range(16)]
    plain = run(network, prompts, tokens=40, keep_states=True)
    short = run(network, prompts, tokens=40, reader=ShortReader(network, 40))
    draws = torch.rand(16, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    states = plain.states.view(16, 40, -1)
    for row in range(16):
        for at in (plain.response_ids[row] != short.response_ids[row]).nonzero()[:1, 0].tolist():
            logits = network.get_output_embeddings()(states[row, at])[None]
            near = [sample_tokens(logits, 0.7, draws[row, at][None] + d).tokens for d in (-1e-5, 1e-5)]
            assert near[0] != near[1]
    assert (plain.response_ids == short.response_ids).float().mean() > 0.9


@pytest.mark.parametrize("name", sorted(set(WORKING) - set(FIT)))
def test_what_does_not_fit_goes_its_own_way(name, caplog):
    """And it is said, once; never a wrong number."""
    caplog.set_level("INFO")
    network = small_model(name).eval()
    made = Decoding(network, CPU, lasting=True)
    assert type(made.reader(2, 4, 4, share_head=False)) is Reader
    assert made.plain_because
    assert caplog.text.count(f"{type(network).__name__} decodes its own way") == 1


def _later(network, part, change):
    """Let a part of the last layer do something to what it returns."""
    network.model.layers[-1].get_submodule(part).register_forward_hook(lambda module, args, out: change(out))


def _alter(network: t.PreTrainedModel, how: str) -> None:
    layer, attention = network.model.layers[-1], network.model.layers[-1].self_attn
    match how:
        case "a layer that scales what it adds":
            _later(network, "mlp", lambda x: 1.1 * x)
        case "a norm behind the attention":
            _later(network, "self_attn", lambda out: (nn.functional.rms_norm(out[0], (32,)), None))
        case "another part":
            layer.add_module("gate", nn.Linear(32, 1))
        case "one norm of two":
            attention.q_norm = nn.RMSNorm(8)
        case "a bound on queries and keys":
            network.config.clip_qkv = 8.0
        case "a bound on scores":
            network.config.attn_logit_softcapping = 50.0
        case "no positions in a layer":
            plain = attention.forward
            attention.forward = lambda position_embeddings, **rest: plain(
                position_embeddings=(torch.ones_like(position_embeddings[0]), position_embeddings[1] * 0),
                **rest,
            )
        case "scores that grow with the place":
            plain = attention.forward

            def forward(position_ids, position_embeddings, **rest):
                grown = 1 + 0.1 * torch.log1p(position_ids.div(100, rounding_mode="floor"))[..., None]
                turned = tuple(x * grown for x in position_embeddings)
                return plain(position_ids=position_ids, position_embeddings=turned, **rest)

            attention.forward = forward
        case "numbers that are none":
            nn.init.constant_(layer.mlp.down_proj.weight, float("nan"))


@pytest.mark.parametrize(
    "how",
    [
        "a layer that scales what it adds",
        "a norm behind the attention",
        "another part",
        "one norm of two",
        "a bound on queries and keys",
        "a bound on scores",
        "no positions in a layer",
        "scores that grow with the place",
        "numbers that are none",
    ],
)
def test_what_looks_like_llama_and_is_not(how):
    network = small_model("llama").eval()
    assert why_not_short(network, CPU) == ""
    _alter(network, how)
    assert why_not_short(network, CPU)


def test_who_gets_short_steps():
    """On the CPU in float32, with the switch on, and up to the width of a window."""
    network = small_model("llama").eval()
    made = Decoding(network, CPU, lasting=True)
    assert type(made.reader(2, 40, 400, share_head=True)) is ShortReader and made.plain_because == ""
    with SHORT_STEPS.off():
        assert type(made.reader(2, 40, 400, share_head=True)) is Reader
    half = Decoding(network, Precision(torch.device("cpu"), torch.bfloat16), lasting=True)
    assert type(half.reader(2, 4, 4, share_head=False)) is Reader and half.plain_because == ""
    windowed = Decoding(variant("a wide window"), CPU, lasting=True)
    assert type(windowed.reader(2, 80, 10, share_head=False)) is ShortReader
    assert type(windowed.reader(2, 80, 11, share_head=False)) is Reader


def test_a_trial_leaves_the_model_as_it_was():
    network = small_model("llama").train()
    assert has_form(network)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    with torch.random.fork_rng(devices=[]):
        state = torch.random.get_rng_state()
        assert why_not_short(network, CPU) == ""
        assert torch.equal(state, torch.random.get_rng_state())
    assert network.training
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    assert why_not_short(small_model("mistral").eval(), CPU)  # of WINDOW places: shorter than the trial
    assert WINDOW < 12
