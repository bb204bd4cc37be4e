"""Sampling by blocks against the sum over the whole vocabulary, in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.sampling import sample_tokens


def distribution(logits: Tensor, temperature: float) -> Tensor:
    return torch.softmax(logits.double() / temperature, dim=-1)


@st.composite
def rows(draw) -> tuple[Tensor, float, Tensor]:
    """Logits with ties and -inf, blocks without any weight among them; draws of all sizes."""
    vocabulary = draw(st.sampled_from([1, 2, 255, 256, 257, 700, 3000]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logits = torch.randn(6, vocabulary, generator=generator) * draw(st.sampled_from([0.0, 1.0, 8.0, 40.0]))
    if draw(st.booleans()):
        logits = logits.round()
    hidden = torch.rand(6, vocabulary, generator=generator) < draw(st.sampled_from([0.0, 0.5, 0.99]))
    hidden[:, draw(st.integers(0, vocabulary - 1))] = False
    if draw(st.booleans()):
        hidden[:, : vocabulary // 2] = True
    logits = logits.masked_fill(hidden & ~hidden.all(dim=1, keepdim=True), float("-inf"))
    edges = torch.tensor([0.0, 1 - 2**-53, 2**-53], dtype=torch.float64)
    draws = torch.cat([edges, torch.rand(3, generator=generator, dtype=torch.float64)])
    return logits, draw(st.sampled_from([1.0, 0.7, 2.0])), draws


@given(rows())
def test_the_token_is_the_one_whose_interval_holds_the_draw(case):
    """Up to 1e-5 of a boundary; and what has probability 0 is never chosen, wherever the draw lies."""
    logits, temperature, draws = case
    choice = sample_tokens(logits, temperature, draws)
    assert torch.isfinite(logits.gather(1, choice.tokens[:, None])).all()
    probabilities = distribution(logits, temperature)
    upper = probabilities.cumsum(dim=-1).gather(1, choice.tokens[:, None])[:, 0]
    chosen = probabilities.gather(1, choice.tokens[:, None])[:, 0]
    assert (upper - chosen - 1e-5 <= draws).all() and (draws <= upper + 1e-5).all()
    torch.testing.assert_close(choice.logprobs.double(), chosen.log(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("vocabulary", [4096, 49_152, 151_936])
def test_ids_are_those_of_one_sum_over_the_vocabulary(vocabulary):
    """Sharp and flat rows: the same ids, or a draw within 1e-5 of the boundary between them."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.1, 6, 24)[:, None]
    logits = torch.randn(24, vocabulary, generator=generator) * scale
    draws = torch.rand(24, generator=generator, dtype=torch.float64)
    upto = distribution(logits, 0.7).cumsum(dim=-1)
    expected = torch.searchsorted(upto, draws[:, None], right=True)[:, 0]
    found = sample_tokens(logits, 0.7, draws).tokens
    boundary = upto.gather(1, torch.minimum(found, expected)[:, None])[:, 0]
    assert ((found == expected) | ((boundary - draws).abs() <= 1e-5)).all()
    assert (found == expected).sum() >= 20


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_entropy_and_logprobs_are_those_of_the_distribution(temperature):
    """At temperature 0 of the one at temperature 1, and the token is the likeliest."""
    logits = torch.randn(5, 700, generator=torch.Generator().manual_seed(1)) * 3
    choice = sample_tokens(logits, temperature, torch.full((5,), 0.3, dtype=torch.float64))
    plain = torch.distributions.Categorical(logits=logits / (temperature or 1.0))
    torch.testing.assert_close(choice.entropy, plain.entropy(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(choice.logprobs, plain.log_prob(choice.tokens), rtol=1e-5, atol=1e-5)
    if temperature == 0:
        assert torch.equal(choice.tokens, logits.argmax(dim=-1))


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_a_number_shows_in_its_own_row(broken):
    logits = torch.zeros(3, 600)
    logits[1, 400] = broken
    found = sample_tokens(logits, 1.0, torch.full((3,), 0.9, dtype=torch.float64)).logprobs.isnan()
    assert found.tolist() == [False, True, False]
