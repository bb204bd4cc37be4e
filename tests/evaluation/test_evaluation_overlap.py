"""Texts that are the same problem."""

import pytest

from evaluation.overlap import fingerprint, overlapping


@pytest.mark.parametrize(
    "a, b",
    [
        ("Print n.", "print N"),
        ("Read n.\n\nPrint  it!", "read n. print it"),
        ("Print `n`", 'Print "n"'),
        ("ﬁnd é", "find e\u0301"),
    ],
)
def test_the_same_words_are_the_same_problem(a, b):
    assert fingerprint(a) == fingerprint(b)


@pytest.mark.parametrize(
    "a, b",
    [
        ("Print a + b.", "Print a - b."),
        ("Print a * b.", "Print a b."),
        ("Print 1.5", "Print 15"),
        ("Print n plus 7.", "Print n plus 8."),
        ("!", "?"),
        ("Print !", "Print"),
    ],
)
def test_other_problems_stay_apart(a, b):
    assert fingerprint(a) != fingerprint(b)


def test_what_stood_among_the_texts_of_training_is_marked():
    assert overlapping(["a b", "c", "\ud800"], ["A  B.", "d"]).tolist() == [True, False, False]
    assert overlapping([], ["a"]).shape == (0,)
