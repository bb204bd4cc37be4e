"""Checks are run on references, and what they call becomes tests; what cannot be one is told by its cause."""

from dataclasses import replace

import pytest

from data import Problem
from data.formats.base import Unrecorded
from data.formats.pytest_source import without_pytest
from reward.recording import DISAGREE, NOT_HELD, record, recording_limits
from reward.references import NO_REFERENCE
from sandbox import Limits, Sandbox

ADD = "def f(n):\n    return n + 1\n"
LIMITS = Limits(cpu_seconds=0.5)


@pytest.fixture(scope="module")
def box():
    with Sandbox(replace(recording_limits(LIMITS), cpu_seconds=1), workers=2) as box:
        yield box


def task(checks: str, *references: str, entry_point: str = "f", compare: str = "python") -> Unrecorded:
    problem = Problem("a", "p", (), references or (ADD,), compare=compare, entry_point=entry_point)
    return Unrecorded(problem, checks)


SAME = 'def f(*a, **k):\n    return "".join(map(str, a)) or k'
PYTEST = """
import pytest
from pytest import approx
from solution import f

@pytest.mark.parametrize("n, more", [(1, 2), (2, 3)])
@pytest.mark.parametrize("k", [0, 10])
def test_both(n, more, k):
    assert f(n + k) == more + k

def test_near():
    assert f(0.2) == approx(1.2)
    assert [f(1)] == approx([2])
    with pytest.raises(TypeError, match="str"):
        f("a")

def testWithoutLine():
    assert f(7) == 8

class TestMore:
    def test_one(self, n=100):
        assert f(n) == 101
"""

RECORDED = {
    # checks -> [(call, result)]
    "asserts": (
        task("assert f(1) == 2\nassert f(1) == 2\nassert set([f(3)]) == {4}"),
        [("[1]", "2"), ("[3]", "4")],
    ),
    "a check": (task("def check(candidate):\n    assert candidate(1) == 2"), [("[1]", "2")]),
    "a keyword": (task("assert f(n=1) == 2"), [('{"$call": [[], {"n": 1}]}', "2")]),
    "types": (task("f((1, {2}))", SAME), [('[{"$tuple": [1, {"$set": [2]}]}]', '"(1, {2})"')]),
    "what a call changes": (
        *(task("a = [2, 1]\nf(a)", "def f(a):\n    a.sort()\n    return a"), [("[[2, 1]]", "[1, 2]")]),
    ),
    "calls of itself": (
        task("f(3)", "def f(n):\n    return n and n + f(n - 1)"),
        [("[3]", "6")],
    ),
    "a method": (
        task(
            "assert Solution().f(1) == 2",
            "class Solution:\n    def f(self, n):\n        return n + 1",
            entry_point="Solution.f",
        ),
        [("[1]", "2")],
    ),
    "a reference that prints": (
        task("f(1)", "print(1)\ndef f(n):\n    print(n)\n    return n"),
        [("[1]", "1")],
    ),
    "a function called check": (
        task("assert check(1) == 2", "def check(n):\n    return n + 1", entry_point="check"),
        [("[1]", "2")],
    ),
    "a function called like a test": (
        task("assert test_one(1) == 2", "def test_one(n):\n    return n + 1", entry_point="test_one"),
        [("[1]", "2")],
    ),
    "the second reference": (task("assert f(1) == 2", "def f(n):\n    return n", ADD), [("[1]", "2")]),
    "pytest": (
        task(without_pytest(PYTEST)),
        [
            *(("[1]", "2"), ("[2]", "3"), ("[11]", "12"), ("[12]", "13")),
            *(("[0.2]", "1.2"), ("[7]", "8"), ("[100]", "101")),
        ],
    ),
}


@pytest.mark.parametrize(("asked", "expected"), RECORDED.values(), ids=RECORDED.keys())
def test_what_checks_call_becomes_tests(box, asked, expected):
    ((problem, failure, detail),) = record(box, [asked], 3)
    assert (failure, detail) == (None, "")
    assert sorted((test.input, test.output) for test in problem.tests) == sorted(expected)
    assert problem.entry_point == asked.problem.entry_point


LOST = {
    # checks, cause, part of the detail
    "a check that fails": (task("assert f(1) == 3"), DISAGREE, "AssertionError"),
    "a check that fails late": (task("assert f(1) == 2\nassert f(1) == 3"), DISAGREE, "AssertionError"),
    "no reference passes": (task("assert f(1) == 3", ADD, ADD), DISAGREE, "AssertionError"),
    "a reference that raises": (task("f('a')"), "crash", "TypeError"),
    "a reference that is no Python": (task("f(1)", "def f(n) return"), "does not compile", "SyntaxError"),
    "a reference without the function": (task("f(1)", "g = 1"), "crash", "no f"),
    "a reference that never ends": (task("f(1)", "def f(n):\n    while True: pass"), "timeout", ""),
    "no call": (task("assert True"), NOT_HELD, "no call"),
    "an argument of a class": (task("class A: pass\nf(A())", "def f(a):\n    return 1"), NOT_HELD, "$object"),
    "a result that is an iterator": (task("list(f(1))", "def f(n):\n    yield n"), NOT_HELD, "$object"),
    "no value is expected": (
        task("f(1)", "def f(n):\n    pass"),
        "no result is expected",
        "nothing to compute",
    ),
    "no reference": (Unrecorded(replace(task("").problem, solutions=()), "f(1)"), NO_REFERENCE, ""),
}


@pytest.mark.parametrize(("asked", "cause", "said"), LOST.values(), ids=LOST.keys())
def test_what_cannot_become_tests_is_told_by_its_cause(box, asked, cause, said):
    ((problem, failure, detail),) = record(box, [asked], 3)
    assert failure == cause
    assert said in detail and "\n" not in detail
    assert problem.tests == ()


def test_random_arguments_are_the_same_each_time_and_order_is_kept(box):
    drawn = task("from random import randint\nf(randint(0, 10 ** 9))")
    tasks = [drawn, task("assert f(1) == 3"), drawn, task("f(1)")]
    first, *rest = [(each.problem.tests, each.failure) for each in record(box, tasks, 3)]
    assert rest[0] == ((), DISAGREE) and rest[1] == first and rest[2][0][0].input == "[1]"
    assert len(first[0]) == 1


def test_a_tolerance_stays_where_a_result_is_a_float(box):
    near = task("f(1)\nf(2.5)", compare="python(1e-06, 0)")
    whole = task("f(1)", compare="python(1e-06, 0)")
    compared = [each.problem.compare for each in record(box, [near, whole], 3)]
    assert compared == ["python(1e-06, 0)", "python"]
