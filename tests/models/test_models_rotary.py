"""Rotary positions as one function against transformers' own, values and gradients."""

import sys

import pytest
import torch
from short_ways import check_same_either_way
from transformers.models.llama import modeling_llama

from models.rotary import ROTARY, _is_known, _modules, _Rotary, _Turn, quicken_rotary, unknown_rotary
from tests.architectures import small_model


def plain(q, k, cos, sin, unsqueeze_dim=1):
    """As in Llama, of whichever way stands there now."""
    function = modeling_llama.apply_rotary_pos_emb
    return getattr(function, "plain", function)(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim)


def numbers(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def both(q, k, cos, sin, unsqueeze_dim: int, short: bool) -> list[torch.Tensor]:
    """Turned queries and keys, and the gradients of a loss with many directions."""
    q, k = q.detach().requires_grad_(), k.detach().requires_grad_()
    way = _Rotary(plain)
    with ROTARY.off() if not short else torch.enable_grad():
        turned = way(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim)
    sum((y.double() * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum() for y in turned).backward()
    return [*(y.detach() for y in turned), q.grad, k.grad]


@pytest.mark.parametrize("alone", [False, True], ids=["angles of each row", "of one for all"])
@pytest.mark.parametrize("layout", ["heads first", "tokens first", "a view"])
def test_values_and_gradients_are_those_of_transformers(layout, alone):
    rows = 1 if alone else 2
    cos, sin = numbers(rows, 5, 8, seed=2), numbers(rows, 5, 8, seed=3)  # its halves need not be alike
    if layout == "a view":
        q, k = (numbers(2, 5, 8 * heads, seed=heads).view(2, 5, heads, 8).transpose(1, 2) for heads in (4, 2))
    else:
        q, k = (numbers(2, heads, 5, 8, seed=heads) for heads in (4, 2))
    dimension = 1
    if layout == "tokens first":
        q, k, dimension = q.transpose(1, 2).contiguous(), k.transpose(1, 2).contiguous(), 2
    short = both(q, k, cos, sin, dimension, short=True)
    torch.testing.assert_close(short, both(q, k, cos, sin, dimension, short=False), rtol=1e-12, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences():
    cos, sin = numbers(2, 1, 3, 4, seed=1), numbers(2, 1, 3, 4, seed=2)
    x = numbers(2, 2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: _Turn.apply(x, cos, sin), (x,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_16_bits_numbers_are_those_of_transformers_to_the_bit(dtype):
    """Another model of the same class, that is not ours, goes through the same function."""
    q, k = numbers(2, 4, 5, 8, dtype=dtype), numbers(2, 2, 5, 8, dtype=dtype)
    cos, sin = numbers(2, 5, 8, seed=2, dtype=dtype), numbers(2, 5, 8, seed=3, dtype=dtype)
    short, theirs = (both(q, k, cos, sin, 1, short=short) for short in (True, False))
    assert all(torch.equal(a, b) for a, b in zip(short, theirs, strict=True))


@pytest.mark.parametrize(
    "case", ["angles in another format", "angles that are trained", "half of each head", "more arguments"]
)
def test_other_arguments_go_to_transformers(case):
    q, k, cos, sin = (numbers(2, 2, 3, 8) for _ in range(4))
    args = [q, k, cos[:, 0], sin[:, 0]]
    if case == "angles in another format":
        args[2:] = [x.float() for x in args[2:]]
    elif case == "angles that are trained":
        args[2].requires_grad_()
    elif case == "half of each head":
        args[2:] = [x[..., :4] for x in args[2:]]
    else:
        args.append(1)
    came = []

    def theirs(*given: object) -> tuple[torch.Tensor, torch.Tensor]:
        came.append(given)
        return q, k

    assert _Rotary(theirs)(*args) == (q, k) and len(came) == 1


def interleaved(q, k, cos, sin):
    """Pairs side by side, as in GPT-J: another function of the same name."""

    def turn(x: torch.Tensor) -> torch.Tensor:
        turned = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
        return x * cos[:, None] + turned * sin[:, None]

    return turn(q), turn(k)


@pytest.mark.parametrize(
    "other",
    [
        interleaved,
        lambda q, k, cos, sin: plain(k, q, cos, sin),
        lambda q, k, cos, sin: (q, k),
        lambda q, k, cos, sin: plain(q, k, cos, sin)[0],
        lambda q, k: (q, k),
    ],
    ids=["interleaved", "exchanged", "nothing", "queries alone", "without angles"],
)
def test_another_function_is_not_taken_for_it(other):
    assert _is_known(plain) and not _is_known(other)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma2", "phi3"])
def test_a_model_has_the_same_states_and_gradients(name, recompute):
    network = small_model(name).train()
    quicken_rotary(network)
    assert _modules(network) and unknown_rotary(network) == []
    check_same_either_way(network, ROTARY, recompute=recompute)


def test_it_is_put_there_once():
    network = small_model("llama")
    quicken_rotary(network)
    first = modeling_llama.apply_rotary_pos_emb
    quicken_rotary(network)
    assert sys.modules[type(network).__module__].apply_rotary_pos_emb is first
    assert not isinstance(first.plain, _Rotary)


def test_a_model_without_rotary_positions_has_nothing_to_say():
    network = small_model("gpt2")
    quicken_rotary(network)
    assert unknown_rotary(network) == []
