"""States that are read, without the work for others behind the last attention, against a pass over all."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from models.adapter import TuneConfig, add_lora, checkpoint_layers, disable_dropout
from models.last_layer import LAST_LAYER, _parts, reading
from models.logprobs import final_states
from models.quick_layers import quick_layers
from tests.architectures import WORKING, small_model

IDS = (13 * torch.arange(3 * 14) + 5).remainder(264).reshape(3, 14)
WANTED = torch.zeros_like(IDS, dtype=torch.bool)
WANTED[0, 6:10] = WANTED[1, 6:13] = WANTED[2, 13:] = True
PLACES = WANTED.flatten().nonzero()[:, 0]
NOT_IN_FLOAT64 = {"bloom", "deepseek-v2", "gemma2", "mixtral", "mpt", "qwen3-moe"}  # of transformers' making
CLOSE = {False: 1e-9, True: 1e-4}
FEW = "llama", "qwen2", "qwen3", "gemma2", "phi3"


def outcome(network: nn.Module) -> list[torch.Tensor]:
    """The states (N, H), and the gradients of a loss with many directions."""
    network.zero_grad()
    states = final_states(network, IDS, PLACES)
    (states * torch.linspace(-1, 1, states.numel()).reshape(states.shape)).sum().backward()
    return [states.detach(), *(p.grad for p in network.parameters() if p.requires_grad)]


@pytest.mark.parametrize("name", sorted(WORKING))
def test_states_and_gradients_are_those_of_a_pass_over_all(name):
    close = CLOSE[name in NOT_IN_FLOAT64]
    network = small_model(name).to(torch.float32 if name in NOT_IN_FLOAT64 else torch.float64)
    disable_dropout(network.train())
    short = outcome(network)
    with LAST_LAYER.off():
        plain = outcome(network)
    assert len(short[0]) == WANTED.sum()
    torch.testing.assert_close(short, plain, rtol=close, atol=close)


@pytest.mark.parametrize("name", FEW)
def test_only_what_is_read_is_worked_on(name):
    network = small_model(name).eval()
    widths = []
    mlp = network.get_decoder().layers[-1].mlp
    mlp.down_proj.register_forward_pre_hook(lambda _, args: widths.append(args[0].shape))
    final_states(network, IDS, PLACES)
    assert [width.numel() // width[-1] for width in widths] == [WANTED.sum()]
    assert "forward" not in mlp.__dict__


def test_layers_with_a_way_of_their_own_keep_it():
    """As those of decoding have, by their layouts."""
    network = small_model("llama").eval()
    plain = final_states(network, IDS, PLACES)
    with quick_layers(network):
        layer = network.model.layers[-1].self_attn.q_proj
        own = layer.forward
        torch.testing.assert_close(final_states(network, IDS, PLACES), plain, rtol=1e-4, atol=1e-4)
        assert layer.forward is own
    assert "forward" not in vars(layer)


def test_with_adapters():
    model = add_lora(small_model("llama"), TuneConfig(lora_targets=("q_proj", "o_proj", "up_proj")), seed=1)
    network = model.get_base_model().double().train()
    for name, p in network.named_parameters():
        if "lora_B" in name:
            p.data.normal_(0, 0.2)
    assert len(_parts(network)) == 3
    short = outcome(network)
    with LAST_LAYER.off():
        torch.testing.assert_close(short, outcome(network), rtol=1e-9, atol=1e-11)


def test_states_that_are_read_twice_count_twice():
    """As where several responses follow one prompt in packed texts."""
    network = small_model("llama").double().train()
    twice = torch.tensor([3, 5, 3])
    gradients = []
    for way in (nullcontext(), LAST_LAYER.off()):
        network.zero_grad()
        with way, reading(network, twice, total=14):
            states = network.get_decoder()(IDS[:1], use_cache=False).last_hidden_state[0]
        states[twice].square().sum().backward()
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-11)


def test_recomputed_activations_go_the_plain_way():
    """They are computed again when the block is over."""
    network = small_model("llama").double().train()
    plain = outcome(network)
    checkpoint_layers(network)
    assert not _parts(network)
    torch.testing.assert_close(outcome(network), plain, rtol=1e-9, atol=1e-11)


def test_experts_are_left_alone():
    assert len(_parts(small_model("mixtral"))) == 2


def test_a_part_that_is_told_more_than_its_tokens_works_on_all():
    """Moshi's layers say which codebook they are of."""
    network = small_model("llama")
    part = network.get_decoder().layers[-1].mlp
    whole = part.forward
    part.forward = lambda x, scale=1.0: scale * whole(x)
    x = torch.randn(2, 3, 32)
    with reading(network, torch.tensor([2]), 6):
        found = part(x, 2.0), part(x, scale=2.0), part(x)
    assert torch.equal(found[0], 2 * whole(x)) and torch.equal(found[1], 2 * whole(x))
    assert not found[2].flatten(0, 1)[:2].any()


def test_another_pass_inside_the_block_is_an_error():
    network = small_model("llama").eval()
    with reading(network, torch.tensor([3]), total=14), pytest.raises(ValueError, match="other texts"):
        network(IDS)


def test_nothing_is_gathered_where_nearly_all_is_read():
    network = small_model("llama").eval()
    seen = []
    network.get_decoder().layers[-1].mlp.register_forward_pre_hook(
        lambda module, _: seen.append("forward" in module.__dict__)
    )
    final_states(network, IDS, torch.arange(IDS.numel()))
    assert seen == [False]
