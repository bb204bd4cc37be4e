"""Sampling against brute force: the model called on every prefix anew, and transformers' own generate."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.generation import Generation, generate
from models.head import find_head
from models.reader import Reader
from models.sampling import sample_tokens
from models.stopping import StopStrings
from models.tokens import TextCodec

EOS, PAD = 1, 0
T = 12


def pad(prompts: list[list[int]], extra: int = 0, fill: int = PAD) -> tuple[Tensor, Tensor]:
    width = max(map(len, prompts)) + extra
    ids = torch.tensor([[fill] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts])
    return ids, mask


PROMPTS = [[9, 40, 77], [5], [30, 31, 32, 33, 34, 35], [100, 200, 17, 3], [60, 61]]


@pytest.fixture(scope="module")
def model(make_model):
    """With a second token that ends some of the rows."""
    model = make_model()
    with torch.no_grad():
        model.model.embed_tokens.weight[7] *= 3.0
    return model


def run(
    model,
    prompts,
    temperature=1.5,
    seed=4,
    stop_ids=(EOS,),
    max_new_tokens=T,
    stop_strings=None,
    **padding,
) -> Generation:
    ids, mask = pad(prompts, **padding)
    return generate(
        Reader(model, max_new_tokens),
        find_head(model),
        ids,
        mask,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        stop_ids=list(stop_ids),
        pad_id=PAD,
        generator=torch.Generator().manual_seed(seed),
        stop_strings=stop_strings,
    )


@torch.no_grad()
def by_prefixes(
    model, prompts, temperature=1.5, seed=4, stop_ids=(EOS,)
) -> list[tuple[list[int], list[float]]]:
    """Each row alone, no cache, no padding: the token where the sum of probabilities passes the draw."""
    draws = torch.rand((len(prompts), T), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows = []
    for prompt, row_draws in zip(prompts, draws.tolist(), strict=True):
        ids: list[int] = []
        logprobs: list[float] = []
        for draw in row_draws:
            logits = model(torch.tensor([prompt + ids])).logits[0, -1].double().numpy()
            weights = np.exp((logits - logits.max()) / temperature)
            probabilities = weights / weights.sum()
            token = int(np.searchsorted(np.cumsum(probabilities), draw, side="right"))
            ids.append(token)
            logprobs.append(float(np.log(probabilities[token])))
            if token in stop_ids:
                break
        rows.append((ids, logprobs))
    return rows


@pytest.mark.parametrize(
    ("seed", "stop_ids"),
    [
        (5, (EOS, 7)),
        *(pytest.param(*row, marks=pytest.mark.slow) for row in ((4, (EOS,)), (5, (EOS,)), (4, (EOS, 7)))),
    ],
)
def test_responses_equal_those_of_a_loop_over_prefixes(model, seed, stop_ids):
    """Checks 3, 4, 18, 20: cache, left padding and leaving rows change no token; log-probabilities at T."""
    result = run(model, PROMPTS * 6, seed=seed, stop_ids=stop_ids)
    expected = by_prefixes(model, PROMPTS * 6, seed=seed, stop_ids=stop_ids)
    lengths = {len(ids) for ids, _ in expected}
    assert len(lengths) > 3 and min(lengths) < T  # some end early, or nothing was tested
    for row, (ids, logprobs) in enumerate(expected):
        assert result.response_ids[row][result.response_mask[row]].tolist() == ids
        kept = result.logprobs[row][result.response_mask[row]]
        torch.testing.assert_close(kept, torch.tensor(logprobs), rtol=0, atol=1e-5)


def test_logprobs_without_the_temperature_would_be_seen(model):
    """Check 2: at T = .7 the raw distribution's log-probabilities differ by far more than rounding."""
    result = run(model, PROMPTS, temperature=0.7)
    ids, mask = pad(PROMPTS)
    first = model(ids, attention_mask=mask.long(), position_ids=(mask.cumsum(1) - 1).clamp(min=0)).logits[
        :, -1
    ]
    chosen = result.response_ids[:, :1]
    right = torch.log_softmax(first / 0.7, -1).gather(1, chosen).squeeze(1)
    wrong = torch.log_softmax(first, -1).gather(1, chosen).squeeze(1)
    torch.testing.assert_close(result.logprobs[:, 0], right, rtol=0, atol=1e-5)
    assert (result.logprobs[:, 0] - wrong).abs().max() > 0.05


def test_responses_end_at_the_first_stop_token(model):
    """Check 18: the stop token is in the mask, nothing after it is; the rest is padding, logprob 0."""
    result = run(model, PROMPTS * 6, stop_ids=(EOS, 7), max_new_tokens=4)
    ended = 0
    for ids, mask, logprobs in zip(result.response_ids, result.response_mask, result.logprobs, strict=True):
        length = int(mask.sum())
        assert mask[:length].all()
        stops = torch.isin(ids[:length], torch.tensor([EOS, 7]))
        assert not stops[:-1].any() and (stops[-1] or length == 4)
        assert (ids[length:] == PAD).all() and (logprobs[length:] == 0).all()
        ended += bool(stops[-1])
    assert 5 < ended < 30
    assert result.response_mask.any(dim=0).all()  # no column that nobody uses


@pytest.mark.parametrize(("look_every", "drops"), [(1, True), (3, True), (3, False), (99, False)])
def test_responses_end_where_a_stop_string_is_complete(model, tokenizer, monkeypatch, look_every, drops):
    """The ids are those of a run without, up to the token that completes one; whoever ended says how. So also
    where one looks after some tokens, and where rows that have ended are read on."""
    codec = TextCodec(tokenizer)
    plain = run(model, PROMPTS * 6)
    rows = zip(plain.response_ids, plain.response_mask, strict=True)
    texts = [codec.decode(ids[mask].tolist()) for ids, mask in rows]
    strings = [text[i : i + 2] for text, i in ((texts[0], 1), (texts[3], 2), (texts[7], 0))]
    monkeypatch.setattr(Reader, "look_every", look_every)
    monkeypatch.setattr(Reader, "drops", lambda self, staying: drops)
    stopped = run(model, PROMPTS * 6, stop_strings=StopStrings(strings, codec))
    assert (stopped.response_ids[~stopped.response_mask] == PAD).all()
    assert (stopped.entropy[~stopped.response_mask] == 0).all()
    for row in range(len(texts)):
        whole = plain.response_ids[row][plain.response_mask[row]].tolist()
        ids = stopped.response_ids[row][stopped.response_mask[row]].tolist()
        complete = [n for n in range(1, len(whole) + 1) if any(s in codec.decode(whole[:n]) for s in strings)]
        assert ids == (whole[: complete[0]] if complete else whole)
        assert stopped.completed[row] == bool(complete) and not plain.completed[row]
        torch.testing.assert_close(
            stopped.logprobs[row][: len(ids)], plain.logprobs[row][: len(ids)], rtol=0, atol=1e-5
        )
    assert 3 <= stopped.completed.sum() < len(texts)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_row_does_not_depend_on_its_neighbours(model, seed):
    """Check 4: the draws of a row given, neighbours and their endings change nothing (1e-5)."""
    together = run(model, PROMPTS * 2, seed=seed)
    draws = torch.Generator().manual_seed(seed)
    for row, prompt in enumerate(PROMPTS * 2):
        ids, mask = pad([prompt])
        alone = generate(
            Reader(model, T),
            find_head(model),
            ids,
            mask,
            max_new_tokens=T,
            temperature=1.5,
            stop_ids=[EOS],
            pad_id=PAD,
            generator=draws,
        )
        kept = together.response_mask[row]
        assert alone.response_ids[0].tolist() == together.response_ids[row][kept].tolist()
        torch.testing.assert_close(alone.logprobs[0], together.logprobs[row][kept], rtol=0, atol=1e-5)


@pytest.mark.parametrize("extra", [7, 50])
def test_left_padding_changes_nothing(model, extra):
    """Check 3: 0, 7 or 50 more columns of padding, with any id in them."""
    plain, padded = run(model, PROMPTS), run(model, PROMPTS, extra=extra, fill=42)
    assert torch.equal(plain.response_ids, padded.response_ids)
    torch.testing.assert_close(plain.logprobs, padded.logprobs, rtol=0, atol=1e-5)


def test_greedy_equals_transformers(model):
    """Temperature 0 gives what transformers' generate(do_sample=False) gives, padding included."""
    ids, mask = pad(PROMPTS)
    theirs = model.generate(
        ids, attention_mask=mask.long(), do_sample=False, max_new_tokens=T, eos_token_id=EOS, pad_token_id=PAD
    )[:, ids.shape[1] :]
    ours = run(model, PROMPTS, temperature=0)
    assert torch.equal(ours.response_ids, theirs)


def test_one_token_at_most(model):
    """max_new_tokens 1 is one token per row, ended or not."""
    result = run(model, PROMPTS, max_new_tokens=1)
    assert result.response_ids.shape == (5, 1) and result.response_mask.all()


def test_all_rows_may_end_at_once(model):
    """When every id is a stop token, each response is that one token."""
    result = run(model, PROMPTS, stop_ids=range(262))
    assert result.response_mask.sum(1).tolist() == [1] * 5 and result.response_ids.shape == (5, 1)


def test_no_gradient_and_no_global_randomness(model):
    """Decoding leaves torch's own generator alone and builds no graph."""
    before = torch.get_rng_state()
    assert not run(model, PROMPTS).logprobs.requires_grad
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_distribution(temperature):
    """Check 2: 40,000 tokens against softmax(logits / T) by chi-square (99.9 % quantile, 7 degrees)."""
    logits = torch.tensor([2.0, -1.0, 0.5, 0.0, 1.0, -2.0, 0.2, -0.5])
    count = 40_000
    draws = torch.rand(count, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tokens, _, _ = sample_tokens(logits.expand(count, -1), temperature, draws)

    def chi_square(t: float) -> float:
        expected = torch.softmax(logits.double() / t, -1) * count
        return float(((torch.bincount(tokens, minlength=8) - expected) ** 2 / expected).sum())

    assert chi_square(temperature) < 24.3
    assert chi_square(temperature * 1.1) > 24.3  # and the test would notice another temperature


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=12), st.floats(0, 1, exclude_max=True))
def test_a_draw_picks_the_token_whose_interval_holds_it(logits, draw):
    """Inversion: the token is the first whose cumulative probability exceeds the draw."""
    token, logprob, _ = sample_tokens(torch.tensor([logits]), 0.7, torch.tensor([draw], dtype=torch.float64))
    scaled = np.asarray(logits, dtype=np.float32).astype(np.float64) / 0.7
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    upper = np.cumsum(probabilities)
    lower = upper - probabilities
    assert lower[token] - 1e-6 <= draw <= upper[token] + 1e-6
    assert logprob.item() == pytest.approx(np.log(probabilities[token.item()]), abs=1e-5)


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_ends_of_the_unit_interval_are_tokens_too(draw, dtype):
    """The smallest and the largest draw give ids inside the vocabulary that have a probability."""
    logits = torch.full((1, 32_000), -3.0, dtype=dtype)
    logits[0, 0] = logits[0, -1] = float("-inf")  # neither can be sampled
    token, logprob, _ = sample_tokens(logits, 1.0, torch.tensor([draw], dtype=torch.float64))
    assert 0 < token.item() < 31_999 and torch.isfinite(logprob).all()


def test_greedy_reports_the_distribution_at_temperature_one():
    """Temperature 0 has no distribution of its own."""
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    token, logprob, _ = sample_tokens(logits, 0.0, torch.tensor([0.99], dtype=torch.float64))
    assert token.item() == 1
    assert logprob.item() == pytest.approx(torch.log_softmax(logits, -1)[0, 1].item())


def test_samples_of_one_prompt_are_those_of_prompts_one_by_one(model):
    """Their prompt is read once; where rows stand between, twice."""
    repeated = [PROMPTS[0]] * 3 + [PROMPTS[2]] * 2 + [PROMPTS[0], PROMPTS[1]]
    together = run(model, repeated)
    draws = torch.rand((len(repeated), T), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    for row, prompt in enumerate(repeated):
        read = torch.tensor([prompt])
        for t, token in enumerate(together.response_ids[row][together.response_mask[row]]):
            with torch.no_grad():
                logits = model(input_ids=read).logits[:, -1]
            expected, logprob, _ = sample_tokens(logits, 1.5, draws[row, t : t + 1])
            assert token == expected
            torch.testing.assert_close(together.logprobs[row, t], logprob[0], rtol=1e-4, atol=1e-4)
            read = torch.cat([read, token[None, None]], dim=1)
