"""Gates as one function: the numbers and gradients of torch's own, less that is kept, and who is let in."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import silu
from transformers import LlamaConfig, PreTrainedModel
from transformers.activations import SiLUActivation
from transformers.models.llama.modeling_llama import LlamaMLP

from models.adapter import TuneConfig, add_lora
from models.swiglu import SWIGLU, _Quick, _SwiGLU, quicken_gates, unknown_gates
from tests.architectures import small_model

LET_IN = ("cohere", "granite", "llama", "mistral", "qwen2", "qwen3", "smollm3")


def gradients(network: nn.Module, ids: torch.Tensor) -> list[torch.Tensor]:
    network.zero_grad()
    logits = network(input_ids=ids).logits
    logits.float().logsumexp(-1).sum().backward()
    return [logits, *(p.grad for p in network.parameters() if p.grad is not None)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LET_IN)
def test_values_and_gradients_are_the_networks_own(name: str, dtype: torch.dtype) -> None:
    """To the bit, in every format; with adapters on the gate alone, and with all weights trained."""
    whole: PreTrainedModel = small_model(name)
    adapted = add_lora(small_model(name), TuneConfig(lora_targets=("gate_proj",)), 0)
    for _, p in (each for each in adapted.named_parameters() if "lora_B" in each[0]):
        nn.init.normal_(p, std=0.1)
    for network in (whole, adapted):
        quicken_gates(network.to(dtype))
        assert any(isinstance(module, _Quick) for module in network.modules()) and not unknown_gates(network)
        ids = torch.arange(24).reshape(2, 12)
        found = gradients(network, ids)
        with SWIGLU.off():
            expected = gradients(network, ids)
        assert len(found) == len(expected) > 1
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_gradient_is_that_of_the_formula() -> None:
    gate, up = (torch.randn(3, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(_SwiGLU.apply, (gate, up))


def test_the_gate_itself_is_not_kept() -> None:
    part, x = LlamaMLP(LlamaConfig(hidden_size=32, intermediate_size=512)), torch.randn(1, 64, 32)

    def kept() -> int:
        seen: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            seen[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            part(x)
        return sum(seen.values())

    plain = kept()
    quicken_gates(nn.Sequential(part))
    assert plain - kept() == 64 * 512 * 4


class Odd(LlamaMLP):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * (1 + self.up_proj(x)))


class Asks(LlamaMLP):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * self.config.mlp_scale


@pytest.mark.parametrize("kind", [Odd, Asks])
def test_what_does_more_goes_its_own_way(kind: type[LlamaMLP]) -> None:
    network = nn.Sequential(kind(LlamaConfig(hidden_size=32, intermediate_size=16)))
    quicken_gates(network)
    assert type(network[0]) is kind and unknown_gates(network) == [kind.__name__]


def test_another_activation_goes_its_own_way() -> None:
    network = nn.Sequential(LlamaMLP(LlamaConfig(hidden_size=32, intermediate_size=16, hidden_act="gelu")))
    quicken_gates(network)
    assert type(network[0]) is LlamaMLP and unknown_gates(network) == ["LlamaMLP"]


def test_formats_that_differ_are_multiplied_in_the_wider() -> None:
    part = LlamaMLP(LlamaConfig(hidden_size=32, intermediate_size=16))
    part.gate_proj.bfloat16()
    part.gate_proj.forward = lambda x: nn.functional.linear(x.bfloat16(), part.gate_proj.weight)  # type: ignore[method-assign]
    x = torch.randn(2, 32)
    expected = part.down_proj(silu(part.gate_proj(x)) * part.up_proj(x))
    quicken_gates(nn.Sequential(part))
    assert isinstance(part, _Quick) and torch.equal(part(x), expected)


def test_the_class_is_what_it_was_to_others_and_a_copy_works() -> None:
    part = LlamaMLP(LlamaConfig(hidden_size=32, intermediate_size=16))
    names = [name for name, _ in part.named_parameters()]
    quicken_gates(nn.Sequential(part))
    quicken_gates(nn.Sequential(part))  # again changes nothing
    assert isinstance(part, LlamaMLP) and type(part).__name__ == "LlamaMLP"
    assert type(part).__mro__.count(_Quick) == 1 and type(part.act_fn) is SiLUActivation
    assert [name for name, _ in part.named_parameters()] == names
    x = torch.randn(2, 32)
    assert torch.equal(copy.deepcopy(part)(x), part(x))
