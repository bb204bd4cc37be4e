"""RMSNorm as one function against the norms as transformers writes them, values and gradients."""

import copy

import pytest
import torch
from short_ways import IDS, check_same_either_way
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.gemma4.modeling_gemma4 import Gemma4RMSNorm
from transformers.models.helium.modeling_helium import HeliumRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

from models.rms_norm import RMS_NORM, _Quick, _RMSNorm, _Way, quicken_norms, unknown_norms
from tests.architectures import WORKING, small_model

LLAMAS, GEMMAS = ("llama", "qwen2", "mistral", "phi3", "mixtral"), ("gemma", "gemma2")


def norm_of(name: str) -> nn.Module:
    """A norm of a model's last layer with a weight that is not all ones."""
    network = small_model(name)
    quicken_norms(network)
    norm = network.get_decoder().norm
    norm.weight.data = torch.linspace(-1.0, 2.0, norm.weight.numel())
    return norm


def outcome(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, and the gradients of a loss with many directions to input and weights."""
    module.zero_grad()
    entered = x.detach().requires_grad_()
    y = module(entered)
    (y.double() * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
    return [y.detach(), entered.grad, *(p.grad for p in module.parameters())]


@pytest.mark.parametrize("gain", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(6,), (1, 6), (0, 6), (2, 3, 6)])
def test_gradients_are_those_of_finite_differences(shape, gain):
    torch.manual_seed(0)
    x, w = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in (shape, (6,)))
    expected = (w + gain) * x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt()
    for late in {False, True} if not gain else {True}:
        way = _Way("", gain, late)
        torch.testing.assert_close(_RMSNorm.apply(x, w, 1e-3, way), expected)
        assert torch.autograd.gradcheck(lambda x, w, way=way: _RMSNorm.apply(x, w, 1e-3, way), (x, w))


@pytest.mark.parametrize("size", [1.0, 1e-4, 0.0])  # next to epsilon nothing, and nothing at all
@pytest.mark.parametrize("name", LLAMAS + GEMMAS)
def test_a_norm_says_what_it_said(name, size):
    norm = norm_of(name)
    assert isinstance(norm, _Quick)
    x = size * torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    short = outcome(norm, x)
    with RMS_NORM.off():
        plain = outcome(norm, x)
    torch.testing.assert_close(short, plain, rtol=1e-4, atol=1e-4 if size else 1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "gemma"])
@pytest.mark.parametrize("weights", ["rounded", "float32"])
def test_in_16_bits_formats_and_values_are_those_of_transformers(name, dtype, weights):
    norm = norm_of(name)
    if weights == "rounded":
        norm.to(dtype)
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
    short = outcome(norm, x)
    with RMS_NORM.off():
        plain = outcome(norm, x)
    assert [t.dtype for t in short] == [t.dtype for t in plain]
    torch.testing.assert_close(short[0], plain[0], rtol=1e-2, atol=1e-2)
    exact = outcome(copy.deepcopy(norm).double(), x.double())
    for found, theirs, right in zip(short, plain, exact, strict=True):
        error = (found.double() - right).norm() / right.norm()
        assert error <= 1.1 * (theirs.double() - right).norm() / right.norm() + 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", [LlamaRMSNorm, GemmaRMSNorm, Olmo2RMSNorm, HeliumRMSNorm])
def test_16_bits_are_rounded_where_the_class_rounds_them(kind, dtype):
    """Before the weight or behind it: the other way round a quarter of the numbers would be others."""
    norm = kind(64)
    norm.weight.data = torch.linspace(-1.0, 2.0, 64)
    norm.to(dtype)
    quicken_norms(nn.Sequential(norm))
    assert isinstance(norm, _Quick)
    x = torch.randn(50, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    with RMS_NORM.off():
        plain = norm(x)
    assert (norm(x) != plain).float().mean() < 0.01


@pytest.mark.parametrize("order", [1, -1])
def test_each_norm_of_a_class_is_looked_at(order):
    """Gemma 4 has norms without a weight among those with one."""
    norms = [Gemma4RMSNorm(16), Gemma4RMSNorm(16, with_scale=False)][::order]
    network = nn.Sequential(*norms)
    quicken_norms(network)
    assert [isinstance(norm, _Quick) for norm in norms] == [True, False][::order]
    x = torch.randn(3, 16)
    with RMS_NORM.off():
        plain = network(x)
    torch.testing.assert_close(network(x), plain)


def test_what_leaves_float16_s_range_is_left_to_the_loss_scaler():
    norm = norm_of("llama").half()
    x = torch.full((1, 32), 1e-3, dtype=torch.float16, requires_grad=True)
    (norm(x).float().sum() * 60000).backward()
    with RMS_NORM.off():
        y = x.detach().requires_grad_()
        (norm(y).float().sum() * 60000).backward()
    assert not x.grad.isfinite().all() and not y.grad.isfinite().all()


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2"])
def test_a_model_has_the_same_states_and_gradients(name, recompute):
    network = small_model(name).train()
    quicken_norms(network)
    check_same_either_way(network, RMS_NORM, recompute=recompute)


def test_a_frozen_norm_passes_the_gradient_on_and_gets_none():
    norm = norm_of("llama").requires_grad_(False)
    x = torch.randn(3, 32, requires_grad=True)
    norm(x).sum().backward()
    assert x.grad is not None and norm.weight.grad is None
    with torch.no_grad():
        assert not norm(x).requires_grad


@pytest.mark.parametrize("name", sorted(WORKING))
def test_every_norm_of_that_name_is_recognised(name):
    """And a norm of another kind, with a bias or a mean, is not taken for one."""
    network = small_model(name)
    quicken_norms(network)
    assert unknown_norms(network) == []
    assert not any(isinstance(m, _Quick) for m in network.modules() if isinstance(m, nn.LayerNorm))


class Base(nn.Module):
    """With a weight and an epsilon."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-5


class MeanRMSNorm(Base):
    """A LayerNorm by another name."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(x, (8,), self.weight, None, self.eps)


class TwiceRMSNorm(Base):
    """Twice as much."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * nn.functional.rms_norm(x, (8,), self.weight, self.eps)


class OutsideRMSNorm(Base):
    """Epsilon beside the root, which is felt where numbers are small."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x / (x.square().mean(-1, keepdim=True).sqrt() + self.eps)


class GatedRMSNorm(Base):
    """Called with more than states."""

    def forward(self, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        return nn.functional.rms_norm(x, (8,), self.weight, self.eps) * gate


@pytest.mark.parametrize("kind", [MeanRMSNorm, TwiceRMSNorm, OutsideRMSNorm, GatedRMSNorm])
def test_a_norm_that_only_has_the_name_stays_as_it_is(kind):
    network = nn.Sequential(kind())
    quicken_norms(network)
    assert type(network[0]) is kind and unknown_norms(network) == [kind.__name__]


def test_a_norm_called_with_more_than_states_is_called_as_it_was():
    class SometimesGatedRMSNorm(Base):
        def forward(self, x: torch.Tensor, gate: float = 1.0) -> torch.Tensor:
            return nn.functional.rms_norm(x, (8,), self.weight, self.eps) * gate

    network = nn.Sequential(SometimesGatedRMSNorm())
    quicken_norms(network)
    x = torch.randn(3, 8)
    torch.testing.assert_close(network[0](x, 2.0), 2 * network[0](x))


def test_a_model_keeps_its_class_names_and_files():
    network = small_model("llama")
    before = {name: type(m).__name__ for name, m in network.named_modules()}
    keys = list(network.state_dict())
    quicken_norms(network)
    quicken_norms(network)  # again changes nothing
    assert before == {name: type(m).__name__ for name, m in network.named_modules()}
    assert keys == list(network.state_dict())
    torch.testing.assert_close(copy.deepcopy(network)(IDS).logits, network(IDS).logits)
