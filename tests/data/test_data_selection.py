"""Which problems and tests are kept: copies, held-out texts, draws that a seed decides."""

from hypothesis import given, settings
from hypothesis import strategies as st

from data import Problem, TestCase
from data.selection import (
    text_hash,
    with_max_tests,
    with_public,
    with_split,
    without_copies,
    without_large_tests,
)


def problem(prompt: str, *tests: TestCase, split: str | None = None, name: str = "p") -> Problem:
    return Problem(name, prompt, tests or (TestCase("1", "1"),), split=split)


def test_copies_of_a_text_have_one_hash_and_others_have_not():
    same = ["Print  n + 1.", "print n + 1", "PRINT\tn\n+\n1!", "“Print” n + 1", "Print n ＋ 1."]
    other = ["Print n - 1.", "Print n + 2.", "Print n1.", "n + 1 print", "Print m + 1."]
    assert len({text_hash(text) for text in same}) == 1
    assert len({text_hash(text) for text in [same[0], *other]}) == 6


SPLITS = ["heldout", "validation", "train"]  # the first that has a text keeps it


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(SPLITS)), max_size=12))
@settings(max_examples=100, deadline=None)
def test_no_text_is_kept_twice_nor_in_training_and_held_out(drawn):
    problems = [problem(text, split=split, name=str(n)) for n, (text, split) in enumerate(drawn)]
    kept, copies, overlap = without_copies(problems)
    texts = [p.prompt for p in kept]
    assert len(texts) == len(set(texts))
    assert sorted(p.id for p in [*kept, *copies, *overlap]) == sorted(p.id for p in problems)
    assert set(texts) == {p.prompt for p in problems}  # of every text one is left
    for p in kept:
        assert p.split == min((q.split for q in problems if q.prompt == p.prompt), key=SPLITS.index)
    assert all(p.split != "heldout" for p in overlap)


def test_what_is_held_out_elsewhere_is_left_out():
    kept, copies, overlap = without_copies([problem("Print n."), problem("Print m.")], [text_hash("print N")])
    assert ([p.prompt for p in kept], copies) == (["Print m."], [])
    assert [p.prompt for p in overlap] == ["Print n."]


tests = st.lists(
    st.builds(TestCase, st.sampled_from("abcdefgh"), st.just("1"), st.booleans()), min_size=1, max_size=12
)


@given(tests, st.integers(0, 8), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_tests_are_drawn_by_seed_public_ones_first_in_order(tests, most, seed):
    before = problem("x", *tests)
    after = with_max_tests(before, most, seed)
    assert after == with_max_tests(before, most, seed)
    pairs = [(test.input, test.output) for test in after.tests]
    different = list(dict.fromkeys((test.input, test.output) for test in tests))
    assert len(pairs) == (min(most, len(different)) if most else len(different))
    assert pairs == [pair for pair in different if pair in pairs]
    public = {t.input for t in tests if t.public}
    assert {t.input for t in after.tests if t.public} == public & {t.input for t in after.tests}
    if public - {t.input for t in after.tests}:
        assert all(test.public for test in after.tests)


def test_another_seed_draws_other_tests():
    many = problem("x", *(TestCase(str(n), "1") for n in range(40)))
    drawn = {with_max_tests(many, 5, seed).tests for seed in range(10)}
    assert len(drawn) == 10


def test_the_public_tests_are_those_of_the_text():
    text = "Example:\n3\n1 2\n\nOutput:\n 6"
    found = with_public(problem(text, TestCase("3\n1 2\n", "6\n"), TestCase("4\n", "6\n"), TestCase("", "6")))
    assert [test.public for test in found.tests] == [True, False, False]
    said = problem(text, TestCase("4\n", "6\n", True), TestCase("3\n1 2\n", "6\n"))
    assert with_public(said) == said


def test_the_share_held_out_is_about_the_one_asked_for_and_goes_by_text():
    drawn = [with_split(problem(f"Print {n}."), 0.3, seed=1) for n in range(2000)]
    assert 520 <= sum(p.split == "heldout" for p in drawn) <= 680
    assert with_split(problem("print  5!"), 0.3, 1).split == with_split(problem("Print 5."), 0.3, 1).split
    assert {with_split(problem(f"{n}"), 0.0, 1).split for n in range(50)} == {"train"}


def test_tests_over_the_limits_are_left_out():
    kept = without_large_tests(
        problem("x", TestCase("é" * 5, "1"), TestCase("1", "1" * 9), TestCase("1", "1")), 9, 8
    )
    assert kept.tests == (TestCase("1", "1"),)
