"""What the benchmark of padding counts."""

import pytest

from benchmarks.padding import count


def test_tokens_are_counted_against_those_that_are_needed():
    """Two long texts and two short ones: alike, none is padded; dealt by chance, some are."""
    one_iteration = [[(6, 3), (2, 3), (6, 3), (2, 3)]]
    found = count(one_iteration, 4, 2)
    assert found["and_sorted"] == 1.0 < found["closed_up"] < found["apart"] <= 36 / 24
    whole = count(one_iteration, 4, 4)
    assert whole["apart"] == 1.5
    assert whole["closed_up"] == whole["and_sorted"] == pytest.approx(32 / 24, abs=1e-3)
