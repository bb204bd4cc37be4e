"""pass@k and flips against counting."""

from itertools import combinations

import numpy as np
import pytest

from evaluation.passes import flip_rate, ks, pass_at_k


@pytest.mark.parametrize("n", range(1, 9))
def test_pass_at_k_is_what_counting_all_choices_gives(n):
    """Every c of n passed, every k: the share of choices of k samples in which one passes."""
    for c in range(n + 1):
        passed = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            choices = list(combinations(passed, k))
            expected = sum(map(any, choices)) / len(choices)
            assert pass_at_k(np.array([c]), np.array([n]), k)[0] == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_is_finite_and_exact_where_binomials_overflow():
    """C(2000, 1000) has 601 digits. With one passed of n it is k / n."""
    found = pass_at_k(np.array([0, 1, 1000, 2000]), np.full(4, 2000), 1000)
    assert found[0] == 0 and found[1] == pytest.approx(0.5, rel=1e-9) and found[3] == 1
    assert 1 - found[2] < 1e-300


def test_problems_may_have_other_numbers_of_samples():
    assert pass_at_k(np.array([1, 1]), np.array([2, 4]), 2).tolist() == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize("c, n, k", [(0, 1, 2), (3, 2, 1), (-1, 2, 1), (0, 2, 0)])
def test_what_cannot_be_is_refused(c, n, k):
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(np.array([c]), np.array([n]), k)


@pytest.mark.parametrize("values", [[0, 0, 0], [1, 0], [1, 1, 0, 0, 1], [1, 1]])
def test_flips_are_the_pairs_that_disagree(values):
    pairs = list(combinations(values, 2))
    expected = sum(a != b for a, b in pairs) / len(pairs)
    assert flip_rate(np.array([values], dtype=float))[0] == pytest.approx(expected)


def test_one_sample_has_no_pair():
    assert np.isnan(flip_rate(np.array([[1.0, np.nan]]))[0])


def test_the_ks_end_with_all_samples():
    assert ks(1) == [1] and ks(2) == [1, 2] and ks(16) == [1, 2, 5, 10, 16]
