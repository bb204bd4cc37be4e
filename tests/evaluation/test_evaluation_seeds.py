"""Training seeds apart from sampling."""

import numpy as np
import pytest

from evaluation.seeds import mean_squares, recipe, t_cdf, t_quantile


def table(training: float, seeds: int, problems: int, rng: np.random.Generator) -> np.ndarray:
    """(seeds, problems, 1): problems of all kinds, a shift for each seed, noise."""
    shift = training * rng.standard_normal((seeds, 1))
    return (rng.standard_normal(problems) + shift + rng.standard_normal((seeds, problems)))[:, :, None]


@pytest.mark.parametrize(
    "p, freedom, t", [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 30, 2.0423), (0.95, 5, 2.0150)]
)
def test_students_quantiles_are_those_of_the_tables(p, freedom, t):
    assert t_quantile(p, freedom) == pytest.approx(t, abs=1e-3)
    assert t_cdf(t, freedom) == pytest.approx(p, abs=1e-4)


def test_the_mean_squares_split_all_that_varies():
    values = np.random.default_rng(0).random((4, 30))
    squares = mean_squares(values)
    total = squares.seeds * 3 + squares.problems * 29 + squares.rest * 3 * 29
    assert total == pytest.approx(((values - values.mean()) ** 2).sum())


def test_a_shift_of_each_seed_is_found_and_sampling_alone_is_none():
    rng = np.random.default_rng(0)
    shifted = recipe(table(0.5, seeds=200, problems=100, rng=rng))
    alike = recipe(table(0.0, seeds=200, problems=100, rng=rng))
    assert shifted["training"] == pytest.approx(0.5, rel=0.15) and alike["training"] < 0.05
    assert [one["sampling"] for one in (shifted, alike)] == pytest.approx([0.1, 0.1], rel=0.1)
    assert shifted["spread"] ** 2 == pytest.approx(shifted["training"] ** 2 + shifted["sampling"] ** 2)


def test_the_interval_holds_for_new_seeds():
    """Three seeds that differ: 95 % of such studies hold the truth; with problems alone far fewer would."""
    rng = np.random.default_rng(0)
    found = [recipe(table(0.3, seeds=3, problems=50, rng=rng)) for _ in range(200)]
    assert 0.92 <= np.mean([one["low"] <= 0 <= one["high"] for one in found]) <= 0.99
    assert np.mean([one["p"] < 0.05 for one in found]) <= 0.08


def test_the_same_answers_of_all_seeds_are_worth_one_seed():
    values = np.random.default_rng(0).random((1, 40, 1))
    found = recipe(np.repeat(values, 3, axis=0))
    assert [found["spread"], found["training"]] == pytest.approx([0, 0], abs=1e-12)
    half = 2.0227 * values.std(ddof=1) / np.sqrt(40)  # Student's t, 39 degrees of freedom
    assert found["high"] - found["low"] == pytest.approx(2 * half, rel=1e-3)


def test_no_difference_at_all_has_p_1():
    found = recipe(np.zeros((3, 10, 1)))
    assert (found["mean"], found["low"], found["high"], found["p"]) == (0, 0, 0, 1)


@pytest.mark.parametrize("shape", [(1, 5, 1), (3, 1, 1)])
def test_one_seed_or_one_problem_says_nothing_about_seeds(shape):
    with pytest.raises(ValueError, match="at least two"):
        recipe(np.zeros(shape))
