"""One input and two outputs: refused where the problem's own comparison tells the outputs apart."""

import pytest

from data import Problem, TestCase
from reward.contradictions import contradiction


def problem(compare: str, *tests: tuple[str, str]) -> Problem:
    return Problem("p", "Print.", tuple(TestCase(*test) for test in tests), compare=compare)


CASES = [
    ("lines", [("1", "1\n"), ("2", "1\n")], None),
    ("lines", [("1", "1\n"), ("1", "1\n")], None),
    ("lines", [("1", "1\n"), ("1", "1  \n\n")], None),
    ("lines", [("1", "1\n"), ("1", "2\n")], (0, 1)),
    ("lines", [("1", "a b"), ("1", "a  b")], (0, 1)),
    ("tokens", [("1", "a b"), ("1", "a  b\n")], None),
    ("tokens", [("1", "a b"), ("1", "b a")], (0, 1)),
    ("exact", [("1", "1"), ("1", "1\n")], (0, 1)),
    ("float", [("1", "0.1"), ("1", "0.10000001")], None),
    ("float", [("1", "0.1"), ("1", "0.2")], (0, 1)),
    ("float(0.5, 0)", [("1", "0.1"), ("1", "0.2")], None),
    ("lines", [("1", "1"), ("2", "2"), ("3", "3"), ("2", "4")], (1, 3)),
    ("lines", [("1", "1"), ("1 ", "2")], None),
]


@pytest.mark.parametrize(("compare", "tests", "pair"), CASES)
def test_contradictions_are_those_of_the_comparison(compare, tests, pair):
    reason = contradiction(problem(compare, *tests))
    if pair is None:
        assert reason is None
    else:
        assert reason == f"tests {pair[0]} and {pair[1]} have the same input and different outputs"
