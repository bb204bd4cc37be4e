"""Shares and their intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.measure import bootstrap_interval


def test_the_interval_has_the_width_that_theory_gives():
    rng = np.random.default_rng(0)
    values = (rng.random((400, 1)) < 0.3).astype(float)
    result = bootstrap_interval(values, seed=1)
    p = values.mean()
    expected = 2 * 1.96 * np.sqrt(p * (1 - p) / 400)
    assert result["mean"] == pytest.approx(p)
    assert result["high"] - result["low"] == pytest.approx(expected, rel=0.1)


def test_problems_are_the_unit_not_samples():
    """Copies of the same answer to a problem are no new evidence."""
    values = (np.random.default_rng(0).random((100, 1)) < 0.5).astype(float)
    once = bootstrap_interval(values, seed=1)
    copied = bootstrap_interval(np.repeat(values, 10, axis=1), seed=1)
    assert copied == pytest.approx(once)


def test_missing_scores_are_in_no_mean():
    values = np.array([[1.0, np.nan], [0.0, 0.0], [np.nan, np.nan]])
    assert bootstrap_interval(values, seed=1)["mean"] == pytest.approx(1 / 3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 5))
def test_the_mean_lies_in_its_interval_and_the_interval_in_the_data(values, seed):
    result = bootstrap_interval(np.array(values)[:, None], seed)
    assert min(values) - 1e-9 <= result["low"] <= result["high"] <= max(values) + 1e-9
    assert result["mean"] == pytest.approx(np.mean(values))


def test_one_seed_gives_one_interval():
    values = np.random.default_rng(3).random((50, 2))
    assert bootstrap_interval(values, 7) == bootstrap_interval(values, 7)
    assert bootstrap_interval(values, 7) != bootstrap_interval(values, 8)
