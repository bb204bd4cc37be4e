"""Where the score goes, what a cut response is, and the running scale."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ppo_helpers import lengths, normal, ragged, seeds, small_config

from ppo.rewards import RunningScale, ended, shape_scores, token_rewards

EOS, OTHER_EOS = 1, 7


@given(lengths, seeds, st.floats(0, 2))
def test_score_once_and_kl_at_every_token(row_lengths, seed, kl_coef):
    """Check 7: the rewards of a response sum to score − kl_coef·Σkl, and the score sits at its last token."""
    mask = ragged(row_lengths, max(row_lengths) + 1)
    kl, scores = normal(mask.shape, seed), normal((len(mask),), seed + 1)
    rewards = token_rewards(scores, kl, mask, kl_coef)
    for row, end in enumerate(row_lengths):
        expected = [-kl_coef * kl[row, t].item() for t in range(end)] + [0.0] * (mask.shape[1] - end)
        if end:
            expected[end - 1] += scores[row].item()
        assert rewards[row].tolist() == pytest.approx(expected, abs=1e-12)


def test_score_of_full_length_and_single_tokens():
    """Check 7: by hand, for the longest response, one of length 1, and a fault (nothing at all)."""
    rewards = token_rewards(torch.tensor([5.0, 6.0, 7.0]), torch.zeros(3, 3), ragged([3, 1, 0]), 0.1)
    assert rewards.tolist() == [[0.0, 0.0, 5.0], [6.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_junk_in_the_padding_of_the_kl_is_ignored():
    """Check 7: NaN where there is no token stays out of the rewards."""
    kl = torch.tensor([[1.0, float("nan")]])
    assert token_rewards(torch.tensor([2.0]), kl, ragged([1], 2), 0.5).tolist() == [[1.5, 0.0]]


def test_ended_looks_at_the_response_alone_and_knows_every_stop_token():
    """Check 20: a response ends with any stop id; a stop id before its end or outside the mask is none."""
    ids = torch.tensor(
        [
            [5, 5, EOS],
            [5, OTHER_EOS, 0],
            [5, 5, 5],
            [EOS, 5, 5],  # not reachable by sampling, and not an end
            [5, 5, EOS],  # the stop token lies outside the mask
            [EOS, 0, 0],  # a fault: no token is left
        ]
    )
    mask = ragged([3, 2, 3, 3, 2, 0])
    assert ended(ids, mask, [EOS, OTHER_EOS]).tolist() == [True, True, False, False, False, False]
    assert ended(ids, mask, [EOS]).tolist() == [True, False, False, False, False, False]


def test_missing_eos_penalty():
    """Check 20: subtracted from the score of cut responses only."""
    raw = torch.tensor([1.0, 1.0])
    everything = torch.tensor([True, True])
    scores = shape_scores(
        raw, everything, torch.tensor([True, False]), small_config(missing_eos_penalty=0.25), RunningScale()
    )
    assert scores.tolist() == [1.0, 0.75]


def test_the_penalty_is_in_the_unit_of_the_scores():
    """Check 20: subtracted before the running scale, which takes in what is left."""
    raw, everything = torch.tensor([1.0, 3.0, 3.0]), torch.ones(3, dtype=torch.bool)
    config = small_config(missing_eos_penalty=2.0, scale_rewards=True, reward_clip=2.5)
    scores = shape_scores(raw, everything, torch.tensor([True, True, False]), config, RunningScale())
    spread = np.std([1.0, 3.0, 1.0])
    assert scores.tolist() == pytest.approx([1 / spread, 2.5, 1 / spread])  # and clipped last


def test_running_scale_is_numpys_over_a_thousand_draws():
    """Check 21: Welford in uneven pieces equals numpy's standard deviation of everything so far."""
    draws = np.random.default_rng(0).normal(1e4, 3.0, size=1000)  # a large mean: naive sums would lose digits
    scale, start = RunningScale(), 0
    for end in (1, 2, 5, 64, 65, 500, 1000):
        scale.update(draws[start:end].tolist())
        start = end
        expected = draws[:end].std() if end > 1 else 1.0
        assert scale.std == pytest.approx(expected, rel=1e-10)


@given(st.lists(st.floats(-1e3, 1e3), max_size=40), st.integers(0, 40))
def test_running_scale_goes_on_from_a_checkpoint(scores, cut):
    """Check 21: its state, saved in the middle, leads to the same numbers; a constant scale is 1."""
    straight, first, second = RunningScale(), RunningScale(), RunningScale()
    straight.update(scores)
    first.update(scores[:cut])
    second.load_state_dict(first.state_dict())
    second.update(scores[cut:])
    assert second.state_dict() == straight.state_dict()
    if len(set(scores)) <= 1:
        assert straight.std == 1.0


def test_scaling_divides_and_shifts_nothing():
    """Check 21: scores / std, mean untouched; then the clip; faults do not enter the statistics."""
    raw = torch.tensor([2.0, 4.0, 1000.0, 6.0], dtype=torch.float64)
    scored = torch.tensor([True, True, False, True])
    stopped = torch.ones(4, dtype=torch.bool)
    std = np.std([2.0, 4.0, 6.0])
    scale = RunningScale()
    scores = shape_scores(raw, scored, stopped, small_config(scale_rewards=True), scale)
    assert scores[scored].tolist() == pytest.approx([2 / std, 4 / std, 6 / std])
    assert scale.count == 3
    clipped = shape_scores(
        raw, scored, stopped, small_config(scale_rewards=True, reward_clip=3.0), RunningScale()
    )
    assert clipped[scored].tolist() == pytest.approx([2 / std, 4 / std if 4 / std < 3 else 3, 3.0])
    plain = shape_scores(raw, scored, stopped, small_config(), RunningScale())
    assert torch.equal(plain, raw)
