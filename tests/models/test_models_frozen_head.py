"""Log-probabilities without kept logits against all logits at once in float64, values and gradients."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.adapter import TuneConfig, add_lora
from models.frozen_head import FROZEN_HEAD, fits
from models.head import Head, find_head
from models.logprobs import token_logprobs
from tests.architectures import small_model


def frozen(vocabulary: int, width: int, seed: int = 0, sharpness: float = 0.4) -> nn.Linear:
    layer = nn.Linear(width, vocabulary, bias=False).requires_grad_(False)
    layer.weight.copy_(sharpness * normal((vocabulary, width), seed))
    return layer


def normal(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def all_at_once(hidden: Tensor, weight: Tensor, targets: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    everything = torch.log_softmax(factor * hidden @ weight.T, dim=-1)
    return everything.gather(-1, targets[:, None]).squeeze(-1), -(everything.exp() * everything).sum(-1)


@settings(max_examples=40, deadline=None)
@given(
    tokens=st.integers(0, 300),
    vocabulary=st.integers(2, 70),
    width=st.integers(1, 9),
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    scale=st.sampled_from([1.0, 0.25, 3.0]),
    sharpness=st.sampled_from([0.1, 1.0, 8.0]),
)
def test_values_and_gradients_are_those_of_all_logits_at_once(
    tokens, vocabulary, width, temperature, scale, sharpness
):
    """From flat distributions to tokens that are all but certain; of no token, of a piece and of several."""
    project = frozen(vocabulary, width, tokens, sharpness)
    hidden = normal((tokens, width), 1).requires_grad_()
    targets = torch.randint(vocabulary, (tokens,), generator=torch.Generator().manual_seed(2))
    upstream = normal((tokens,), 3)
    logprobs, entropy = token_logprobs(hidden, Head(project, scale), targets, temperature)
    (found,) = torch.autograd.grad((upstream * logprobs).sum(), hidden)

    exact = hidden.detach().double().requires_grad_()
    expected, spread = all_at_once(exact, project.weight.double(), targets, scale / temperature)
    (gradient,) = torch.autograd.grad((upstream * expected).sum(), exact)
    steep = scale / temperature * project.weight.abs().max().item()
    rounding = 1e-6 * (1 + width * steep)  # of the logits, and so of their exponentials
    for ours, theirs, unit in ((logprobs, expected, 1), (entropy, spread, 1), (found, gradient, steep)):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=10 * rounding * unit)
    assert not entropy.requires_grad
    with torch.no_grad():
        assert torch.equal(token_logprobs(hidden, Head(project, scale), targets, temperature)[0], logprobs)


def test_the_switch_leaves_the_numbers():
    project, hidden = frozen(50, 8), normal((20, 8), 1)
    targets = torch.arange(20)
    short = token_logprobs(hidden, project, targets, 0.7)
    with FROZEN_HEAD.off():
        assert not fits(project, hidden, entropy_grad=False)
        plain = token_logprobs(hidden, project, targets, 0.7)
    assert fits(project, hidden, entropy_grad=False)
    torch.testing.assert_close(short, plain, rtol=1e-6, atol=1e-6)


class _Counted(nn.Linear):
    """Another layer than nn.Linear, whatever it does."""


@pytest.mark.parametrize(
    "name", ["trained", "adapted", "bias", "cap", "entropy gradient", "other class", "other format"]
)
def test_what_it_does_not_know_goes_the_plain_way(name):
    """With gradients and values of the plain form still."""
    project: Any = frozen(30, 8)
    cap = 2.0 if name == "cap" else math.inf
    if name == "trained":
        project.requires_grad_(True)
    elif name == "bias":
        project.bias = nn.Parameter(torch.ones(30), requires_grad=False)
    elif name == "other class":
        project = _Counted(8, 30, bias=False).requires_grad_(False)
    elif name == "other format":
        project = project.double()
    elif name == "adapted":
        network = small_model("llama")
        add_lora(network, TuneConfig(lora_targets=("lm_head",)), seed=0)
        project = find_head(network).project
    wanted = name == "entropy gradient"
    hidden = normal((5, project.weight.shape[1]), 1).requires_grad_()
    assert not fits(Head(project, cap=cap), hidden, entropy_grad=wanted)
    if name != "other format":
        targets = torch.arange(5)
        logprobs, entropy = token_logprobs(hidden, Head(project, cap=cap), targets, 1.0, entropy_grad=wanted)
        expected = torch.log_softmax(Head(project, cap=cap)(hidden), -1)[torch.arange(5), targets]
        torch.testing.assert_close(logprobs, expected)
        assert entropy.requires_grad == wanted
    with torch.no_grad():  # without gradients, a trained layer is as good as a frozen one
        scoring = fits(Head(project, cap=cap), hidden, entropy_grad=wanted)
        assert scoring == (name in ("trained", "entropy gradient"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_in_float32_and_keeps_the_way_of_a_certain_token(dtype):
    """W[y] − Σ p·W, each rounded to 16 bits, would be noise where p[y] is close to 1."""
    project, width = frozen(400, 16, sharpness=0.1).to(dtype), 16
    targets = torch.arange(300) % 400
    hidden = (120.0 * project.weight[targets].float() + normal((300, width), 4)).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        assert fits(project, hidden, entropy_grad=False)
        logprobs, entropy = token_logprobs(hidden, project, targets, 1.0)
    assert logprobs.dtype == entropy.dtype == torch.float32
    (found,) = torch.autograd.grad(logprobs.sum(), hidden)
    assert found.dtype == dtype

    logits = (hidden @ project.weight.T).double().detach()  # as the layer rounds them
    p = logits.softmax(-1)
    expected = logits.log_softmax(-1)[torch.arange(300), targets]
    torch.testing.assert_close(logprobs.double(), expected, rtol=0, atol=1e-5)
    way = (torch.nn.functional.one_hot(targets, 400).double() - p) @ project.weight.double()
    rounded = project.weight[targets] - p.to(dtype) @ project.weight

    def error(x: Tensor) -> Tensor:
        return (x.double() - way).norm(dim=-1) / way.norm(dim=-1).clamp(min=1e-4)

    certain = (p.amax(-1) > 0.99) & (p.amax(-1) < 0.9999)
    assert certain.sum() > 10
    assert error(found).max() < (0.03 if dtype == torch.bfloat16 else 0.005)
    assert error(rounded)[certain].median() > 5 * error(found)[certain].median()


def test_what_float16_cannot_hold_is_seen_by_the_loss_scaler():
    """Nothing is clamped: an overflow in the backward pass is an inf, in the forward pass no number."""
    project = frozen(40, 8, sharpness=1.0).half()
    hidden = normal((6, 8), 1).half().requires_grad_()
    targets = torch.arange(6)
    logprobs, _ = token_logprobs(hidden, project, targets, 1.0)
    (gradient,) = torch.autograd.grad((1e6 * logprobs).sum(), hidden)
    assert gradient.isinf().any()
    logprobs, _ = token_logprobs(hidden * 3e4, project, targets, 1.0)
    assert logprobs.isnan().any()
