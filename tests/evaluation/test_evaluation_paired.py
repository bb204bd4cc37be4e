"""Differences of two models on the same problems."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.paired import holm, is_different, mcnemar, paired_difference, sign_test, smallest_difference


def rates(n: int, gained: int, lost: int, both: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two models, one sample of each of n problems."""
    a = np.array([0.0] * gained + [1.0] * (lost + both) + [0.0] * (n - gained - lost - both))
    b = np.array([1.0] * gained + [0.0] * lost + [1.0] * both + [0.0] * (n - gained - lost - both))
    return a[:, None], b[:, None]


@pytest.mark.parametrize("gained, lost", [(0, 0), (5, 0), (6, 0), (1, 8), (10, 10), (700, 800)])
def test_mcnemar_is_the_two_sided_test_of_a_fair_coin(gained, lost):
    n = gained + lost
    far = abs(gained - lost)
    expected = sum(math.comb(n, i) for i in range(n + 1) if abs(2 * i - n) >= far) / 2**n
    assert mcnemar(gained, lost) == pytest.approx(expected)


@pytest.mark.parametrize("gaps", [[1.0, 1, -1, 1], [0.5, -1, 1, 1, 0.5, 0.5], [0.3, 0.2, 0.7, -0.1, 0.4]])
def test_drawn_signs_come_to_what_all_signs_give(gaps):
    sums = [np.dot(signs, gaps) for signs in product((1, -1), repeat=len(gaps))]
    expected = np.mean([abs(s) >= abs(sum(gaps)) - 1e-9 for s in sums])
    assert sign_test(np.array(gaps), seed=1) == pytest.approx(expected, abs=0.02)


def test_problems_that_do_not_differ_do_not_matter_to_the_test():
    assert sign_test(np.array([1.0] * 7 + [0.0] * 200), 1) == sign_test(np.array([1.0] * 7), 1) == 2 / 2**7


def test_a_gain_is_found_and_counted():
    found = paired_difference(*rates(300, gained=40, lost=10, both=50), seed=1)
    assert (found["higher"], found["lower"], found["problems"]) == (40, 10, 300)
    assert found["mean"] == pytest.approx(0.1) and found["p"] == mcnemar(40, 10)
    assert found["low"] > 0 and is_different(found)


def test_what_chance_explains_is_no_difference():
    assert not is_different(paired_difference(*rates(300, gained=30, lost=22), seed=1))


def test_few_disagreements_are_no_difference_though_the_bootstrap_says_so():
    """Five of five: the bootstrap interval leaves out 0, a fair coin does it once in sixteen times."""
    found = paired_difference(*rates(300, gained=5, lost=0), seed=1)
    assert found["low"] > 0 and found["p"] == 2 / 2**5 and not is_different(found)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 3))
def test_a_model_beside_itself_differs_by_nothing(seed, problems, samples):
    values = np.random.default_rng(seed).random((problems, samples))
    found = paired_difference(values, values, 1)
    assert (found["mean"], found["low"], found["high"], found["p"]) == (0, 0, 0, 1)
    assert not is_different(found) and "smallest" not in found


@settings(max_examples=30)
@given(st.integers(0, 1000))
def test_the_other_way_round_it_is_the_same_with_the_other_sign(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.random((20, 2)), rng.random((20, 2))
    there, back = paired_difference(a, b, 1), paired_difference(b, a, 1)
    assert back["mean"] == pytest.approx(-there["mean"]) and back["p"] == there["p"]
    assert (back["low"], back["high"]) == (pytest.approx(-there["high"]), pytest.approx(-there["low"]))


def test_what_makes_problems_hard_cancels():
    """The same answers but for a fifth of them: far narrower than two separate samples of problems."""
    rng = np.random.default_rng(0)
    a = (rng.random((300, 1)) < 0.5).astype(float)
    b = np.where(rng.random((300, 1)) < 0.2, 1 - a, a)
    paired = paired_difference(a, b, 1)
    apart = paired_difference(a, rng.permutation(b), 1)
    assert paired["high"] - paired["low"] < 0.8 * (apart["high"] - apart["low"])


def test_a_problem_counts_only_with_a_value_on_both_sides():
    a = np.array([[np.nan, np.nan], [0.0, np.nan], [1.0, 1.0]])
    b = np.array([[1.0, 1.0], [1.0, 0.0], [np.nan, np.nan]])
    found = paired_difference(a, b, 1)
    assert found["problems"] == 1 and found["mean"] == 0.5


def test_problems_that_are_not_the_same_are_refused():
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference(np.zeros((3, 1)), np.zeros((4, 1)), 1)


def test_the_smallest_difference_of_many_problems_is_2_8_standard_errors():
    """Where it is small, the differences that make it add nothing to their variance."""
    gaps = np.repeat([1.0, -1.0, 0.0], [30_000, 30_000, 240_000])
    assert smallest_difference(gaps) == pytest.approx(2.8016 * gaps.std() / math.sqrt(300_000), rel=0.02)


def test_a_difference_as_small_as_that_is_found_four_times_in_five():
    rng = np.random.default_rng(0)
    smallest = smallest_difference(rates(300, gained=20, lost=20)[1][:, 0] - rates(300, 20, 20)[0][:, 0])
    found = 0
    for _ in range(400):  # 40 of 300 disagree by chance, and as many gains more as make the difference
        gained, lost, _ = rng.multinomial(300, [20 / 300 + smallest, 20 / 300, 260 / 300 - smallest])
        found += mcnemar(gained, lost) < 0.05
    assert 0.72 <= found / 400 <= 0.88


def test_holm_raises_the_least_by_the_number_of_pairs_and_keeps_their_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == [] and holm([0.2]) == [0.2]
