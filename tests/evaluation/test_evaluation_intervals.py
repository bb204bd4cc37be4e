"""Rates and means with intervals, problems being the unit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evaluation.intervals import bootstrap_interval, interval, problem_means, rate_interval, wilson

TABLES = st.tuples(st.integers(1, 12), st.integers(1, 4)).flatmap(
    lambda shape: arrays(float, shape, elements=st.sampled_from([0.0, 1.0, np.nan]))
)


def test_the_bootstrap_has_the_width_that_theory_gives():
    rng = np.random.default_rng(0)
    values = (rng.random((400, 1)) < 0.3).astype(float)
    result = bootstrap_interval(values, seed=1)
    p = values.mean()
    expected = 2 * 1.96 * np.sqrt(p * (1 - p) / 400)
    assert result["mean"] == pytest.approx(p)
    assert result["high"] - result["low"] == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("rate", [False, True])
def test_problems_are_the_unit_not_samples(rate):
    """Copies of the same answer to a problem are no new evidence."""
    values = (np.random.default_rng(0).random((100, 1)) < 0.5).astype(float)
    once = interval(values, 1, rate=rate)
    assert interval(np.repeat(values, 10, axis=1), 1, rate=rate) == pytest.approx(once, abs=2e-3)


def test_independent_samples_are_worth_their_number():
    """Samples that have nothing to do with their problem are worth as much as problems."""
    values = (np.random.default_rng(0).random((300, 8)) < 0.2).astype(float)
    low, high = wilson(values.mean(), 2400)
    found = rate_interval(values)
    assert found["high"] - found["low"] == pytest.approx(high - low, rel=0.1)


@pytest.mark.parametrize(
    "hits, n, low, high",
    [(0, 300, 0.0, 0.0126), (300, 300, 0.9874, 1.0), (1, 10, 0.0179, 0.4042), (15, 300, 0.0305, 0.0808)],
)
def test_a_rate_of_single_samples_has_wilsons_interval(hits, n, low, high):
    """Textbook values; 0 of 300 is not known to be 0."""
    found = rate_interval(np.array([1.0] * hits + [0.0] * (n - hits))[:, None])
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize("rate", [False, True])
def test_missing_values_are_in_no_mean(rate):
    values = np.array([[1.0, np.nan], [0.0, 0.0], [np.nan, np.nan]])
    assert interval(values, 1, rate=rate)["mean"] == pytest.approx(1 / 3)
    assert interval(values, 1, rate=rate) == interval(values[:2], 1, rate=rate)


def test_where_there_is_no_value_there_is_no_interval():
    with pytest.raises(ValueError, match="no problem has a value"):
        rate_interval(np.full((3, 2), np.nan))


@settings(max_examples=60)
@given(TABLES, st.booleans())
def test_the_mean_lies_in_its_interval_and_the_interval_between_0_and_1(values, rate):
    if np.isnan(values).all():
        return
    found = interval(values, 1, rate=rate)
    assert -1e-12 <= found["low"] <= found["mean"] + 1e-12 and found["mean"] <= found["high"] + 1e-12
    assert found["high"] <= 1 + 1e-12
    assert found["mean"] == pytest.approx(np.nanmean(values))


def test_one_seed_gives_one_interval():
    values = np.random.default_rng(3).random((50, 2))
    assert bootstrap_interval(values, 7) == bootstrap_interval(values, 7)
    assert bootstrap_interval(values, 7) != bootstrap_interval(values, 8)


def test_means_of_problems_leave_out_what_is_missing():
    found = problem_means(np.array([[1.0, np.nan], [1.0, 0.0], [np.nan, np.nan]]))
    assert found[:2].tolist() == [1.0, 0.5] and np.isnan(found[2])
