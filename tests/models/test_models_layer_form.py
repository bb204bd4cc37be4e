"""Layers as one function against their own way: values and gradients, who is let in, and what is kept."""

import logging
from contextlib import nullcontext

import pytest
import torch
from short_ways import check_same_either_way
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    GraniteConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    SmolLM3Config,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from models import causal_attention, layer_form
from models.adapter import TuneConfig, add_lora, checkpoint_layers, disable_dropout, disabled, merged
from models.causal_attention import CAUSAL_PARTS
from models.last_layer import reading
from models.layer_form import WHOLE_LAYER, _Quick, unknown_layers
from models.low_rank import LOW_RANK, kept_sums
from models.quicken import quicken
from models.rms_norm import RMS_NORM
from models.rotary import ROTARY
from models.short_steps import has_form
from models.swiglu import SWIGLU
from models.whole_layer import WholeLayer
from tests.architectures import WORKING, small_model

WIDE = {
    "vocab_size": 64,
    "hidden_size": 1024,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "pad_token_id": 0,
}
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(autouse=True)
def taken(monkeypatch):
    """Shapes of what went the short way; small heads are taken, too, and rows have several parts."""
    monkeypatch.setattr(causal_attention, "_PART", 4)
    monkeypatch.setattr(causal_attention, "_SIZE", 1)
    monkeypatch.setattr(causal_attention, "_ROWS", range(1, 20))
    monkeypatch.setattr(layer_form, "_FOUND", {})
    shapes: list[torch.Size] = []
    plain = WholeLayer.apply
    monkeypatch.setattr(WholeLayer, "apply", lambda x, *rest: (shapes.append(x.shape), plain(x, *rest))[1])
    return shapes


def adapted(name: str = "llama", targets=ALL, dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    network = small_model(name).to(dtype).train()
    disable_dropout(network)
    return with_adapters(network, targets)


def with_adapters(network: PreTrainedModel, targets) -> PreTrainedModel:
    """A quick network with adapters that do something; its biases, too."""
    quicken(network)
    add_lora(network, TuneConfig(lora_rank=3, lora_targets=targets), seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for n, p in network.named_parameters():
            if "lora_B" in n or n.endswith("bias"):
                p.normal_(0, 0.2, generator=generator)
    return network


def outcome(network: PreTrainedModel, length: int = 9, **settings) -> dict[str, Tensor]:
    """States, and the gradient of every adapter by a loss with many directions."""
    network.zero_grad()
    ids = (13 * torch.arange(3 * length) + 5).remainder(264).reshape(3, length)
    states = network.get_decoder()(ids, use_cache=False, **settings).last_hidden_state
    (
        states * torch.linspace(-1, 1, states.numel(), dtype=states.dtype).reshape(states.shape)
    ).sum().backward()
    gradients = {n: p.grad for n, p in network.named_parameters() if p.requires_grad}
    return {"states": states.detach()} | gradients


def check_same(network: PreTrainedModel, length: int = 9, **settings) -> None:
    short = outcome(network, length, **settings)
    with WHOLE_LAYER.off():
        plain = outcome(network, length, **settings)
    assert len(short) > 1
    for key, value in plain.items():
        torch.testing.assert_close(short[key], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("length", [1, 3, 4, 9])
@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("targets", [ALL, ALL[:4], ("k_proj",), ("down_proj", "v_proj")], ids=len)
@pytest.mark.parametrize("name", ["llama", "qwen2"])  # without and with a bias
def test_values_and_gradients_are_those_of_the_layer(taken, name, targets, summed, length):
    network = adapted(name, targets)
    if summed:
        with kept_sums():
            check_same(network, length)
    else:
        check_same(network, length)
    taken.remove(torch.Size([*layer_form._TRIAL, 32]))
    assert taken == [torch.Size([3, length, 32])] * network.config.num_hidden_layers


@pytest.mark.parametrize(("heads", "groups", "rows"), [(4, 4, 3), (4, 1, 3), (4, 2, 1), (4, 1, 1)])
def test_any_sharing_of_keys_and_any_number_of_rows(taken, heads, groups, rows):
    """Where heads share keys in other ways, or a row stands alone, what is turned may be a view."""
    config = LlamaConfig(
        vocab_size=264,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=groups,
    )
    network = with_adapters(LlamaForCausalLM(config).double().train(), ALL)
    ids = torch.arange(rows * 9).reshape(rows, 9)
    found = []
    for shortcut in (nullcontext(), WHOLE_LAYER.off()):
        network.zero_grad()
        with shortcut:
            states = network.model(ids, use_cache=False).last_hidden_state
        for _ in range(2):  # nothing that is kept may be written into
            states.sum().backward(retain_graph=True)  # an expanded gradient
        found.append([states, *(p.grad for p in network.parameters() if p.requires_grad)])
    assert len(taken) == 1 + 2
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("frozen", ["lora_A", "lora_B", "layers.0.", "layers.1."])
def test_adapters_that_are_frozen_in_part(taken, frozen):
    network = adapted()
    for name, p in network.named_parameters():
        p.requires_grad_("lora_" in name and frozen not in name)
    check_same(network)
    assert len([shape for shape in taken if shape[0] == 3]) == (1 if frozen == "layers.0." else 2)


@pytest.mark.parametrize("angles", ["own", "of each row"])
def test_rows_may_have_their_own_places(taken, angles):
    places = torch.arange(9)[None] if angles == "own" else torch.tensor([[0], [5], [2]]) + torch.arange(9)
    check_same(adapted(), position_ids=places)
    assert len(taken) == 3


def test_recomputed_activations_change_nothing(taken):
    network = adapted()
    kept = outcome(network)
    checkpoint_layers(network)
    again = outcome(network)
    assert taken.count(torch.Size([3, 9, 32])) == 2 + 2 * 2
    assert all(torch.equal(kept[key], value) for key, value in again.items())


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("name", sorted(WORKING))
def test_every_network_says_and_learns_the_same(taken, name, recompute):
    network = small_model(name).train()
    disable_dropout(network)
    quicken(network)
    if has_form(network):
        add_lora(network, TuneConfig(), seed=1)
        check_same_either_way(network, WHOLE_LAYER, recompute=recompute)
        layers = network.get_decoder().layers
        gone = {shape for shape in taken if shape[0] == 2 and shape[1] == 9}
        assert bool(gone) == (isinstance(layers[0], _Quick) and name not in ("mistral",))
    else:
        assert not any(isinstance(module, _Quick) for module in network.modules())


@pytest.mark.parametrize("targets", [("up_proj",), ALL], ids=len)
@pytest.mark.parametrize(
    ("config", "known"),
    [
        (SmolLM3Config(**WIDE, no_rope_layers=[1, 0]), [True, False]),  # positions in one layer alone
        (GraniteConfig(**WIDE, residual_multiplier=0.9), [False, False]),
        (GraniteConfig(**WIDE, attention_multiplier=0.1), [True, True]),  # it is the scale that is known
        (LlamaConfig(**WIDE, attention_bias=True, mlp_bias=True), [True, True]),
    ],
)
def test_a_layer_is_found_out_however_wide_and_whatever_is_trained(config, targets, known):
    """Where no gradient of queries is compared, positions show in what is seen alone."""
    network = AutoModelForCausalLM.from_config(config).train()
    quicken(network)
    add_lora(network, TuneConfig(lora_targets=targets), seed=1)
    assert [layer_form._is_known(layer) for layer in network.get_decoder().layers] == known


def test_a_trial_that_breaks_off_has_found_nothing(monkeypatch):
    network = adapted()

    def fails(layer: nn.Module) -> bool:
        raise MemoryError

    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(layer_form, "_try", fails)
        run(network)
    assert not layer_form._FOUND
    check_same(network)


SWITCHES = {
    "off": WHOLE_LAYER.off,
    "norms": RMS_NORM.off,
    "rotary": ROTARY.off,
    "gates": SWIGLU.off,
    "attention": CAUSAL_PARTS.off,
    "adapters": LOW_RANK.off,
    "no gradient": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_with_a_switch_of_its_own_or_of_a_part_off_a_layer_goes_its_own_way(taken, switch):
    network = adapted()
    with SWITCHES[switch]():
        run(network)
    assert not taken


@pytest.mark.parametrize("way", [disabled, merged])
def test_the_reference_and_rollouts_are_no_training(taken, way):
    model = small_model("llama")
    quicken(model)
    model = add_lora(model, TuneConfig(lora_targets=ALL), seed=1)
    with way(model):
        run(model.get_base_model())
    assert not taken


def train_all(network: PreTrainedModel) -> None:
    network.requires_grad_(True)


def train_nothing(network: PreTrainedModel) -> None:
    network.requires_grad_(False)


def attend_eagerly(network: PreTrainedModel) -> None:
    network.config._attn_implementation = "eager"


def listen(network: PreTrainedModel) -> None:
    for layer in network.get_decoder().layers:
        layer.mlp.register_forward_hook(lambda *_: None)


def go_around(network: PreTrainedModel) -> None:
    for layer in network.get_decoder().layers:
        layer.mlp.up_proj.forward = layer.mlp.up_proj.forward


def add_a_bias(network: PreTrainedModel) -> None:
    for layer in network.get_decoder().layers:
        layer.mlp.up_proj.lora_B["default"] = nn.Linear(3, 48).double()


CHANGES = train_all, train_nothing, attend_eagerly, listen, go_around, add_a_bias, nn.Module.bfloat16


@pytest.mark.parametrize("change", CHANGES)
def test_changed_layers_go_their_own_way(taken, change):
    network = adapted()
    change(network)
    run(network)
    assert not taken


@pytest.mark.parametrize(
    "settings", [{"attention_mask": torch.ones(3, 9).tril(5).flip(1)}, {"use_cache": True}]
)
def test_with_a_mask_or_a_cache_layers_go_their_own_way(taken, settings):
    run(adapted(), **settings)
    assert not taken


@pytest.mark.parametrize(("bound", "value"), [("_LONGEST", 8), ("_SIZE", 9)])
def test_long_rows_and_small_heads_go_the_layers_own_way(taken, monkeypatch, bound, value):
    monkeypatch.setattr(causal_attention, bound, value)
    run(adapted())
    assert not taken


def test_with_somebody_elses_attention_layers_go_their_own_way(taken, monkeypatch):
    network = adapted()
    monkeypatch.setitem(AttentionInterface._global_mapping, "sdpa", sdpa_attention_forward)
    run(network)
    assert not taken


def run(network: PreTrainedModel, **settings) -> None:
    network.get_decoder()(torch.arange(27).reshape(3, 9), **{"use_cache": False} | settings)


def test_of_the_last_layer_the_states_that_are_read_are_its_own_way(taken):
    network = adapted()
    with reading(network, torch.tensor([3, 12]), 27):
        run(network)
    assert taken.count(torch.Size([3, 9, 32])) == 1


class Doubled(LlamaDecoderLayer):
    def forward(self, hidden_states, **settings):
        return 2 * super().forward(hidden_states, **settings)


class Steps(LlamaDecoderLayer):
    def forward(self, hidden_states, **settings):
        return super().forward(hidden_states, **settings) * self.self_attn.step


@pytest.mark.parametrize("kind", [Doubled, Steps])
def test_a_layer_that_does_more_is_found_out_and_said_once(taken, caplog, kind):
    """By numbers, and for each setting of its own anew."""
    caplog.set_level(logging.INFO)
    network = small_model("llama")
    for step, layer in enumerate(network.get_decoder().layers, start=1):
        layer.__class__ = kind
        if kind is Steps:
            layer.self_attn.step = step
    quicken(network)
    add_lora(network, TuneConfig(), seed=1)
    check_same(network.double().train())
    layers = network.config.num_hidden_layers
    known = 1 if kind is Steps else 0
    assert sum(shape[0] == 3 for shape in taken) == known
    assert len(caplog.messages) == (layers - known if kind is Steps else 1)
    assert all("trains part by part" in said for said in caplog.messages)


def test_layers_with_more_parts_are_named():
    networks = {name: small_model(name) for name in ("llama", "qwen3", "gpt2")}
    for network in networks.values():
        quicken(network)
        quicken(network)  # a second time changes nothing
    named = {name: unknown_layers(network) for name, network in networks.items()}
    assert named == {"llama": [], "qwen3": ["Qwen3DecoderLayer"], "gpt2": []}
    assert all(isinstance(layer, _Quick) for layer in networks["llama"].get_decoder().layers)
    assert type(networks["llama"].get_decoder().layers[0]).__name__ == "LlamaDecoderLayer"


def test_a_change_of_weights_between_the_passes_is_an_error():
    network = adapted()
    states = network.get_decoder()(torch.arange(27).reshape(3, 9), use_cache=False).last_hidden_state
    with torch.no_grad():
        next(p for p in network.parameters() if p.requires_grad).add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        states.sum().backward()


def test_less_is_kept():
    """Of each token: neither the outputs of the norms (2 H) nor the product of gate and up (I)."""
    network = adapted()
    outcome(network)  # tried by now

    def kept() -> int:
        seen: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            run(network)
        return sum(seen.values())

    short = kept()
    with WHOLE_LAYER.off():
        assert kept() - short >= 2 * 27 * (2 * 32 + 48) * 8
