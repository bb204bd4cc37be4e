"""The recorder's program and what is made of its output; tolerances in checks."""

import json

import pytest

from data.harness import RecordError, is_entry_point, recorded, recorder, tolerance
from data.problem import TestCase
from sandbox import Limits, Sandbox, Status


@pytest.fixture(scope="module")
def box():
    with Sandbox(Limits(cpu_seconds=5, wall_seconds=30), workers=1) as box:
        yield box


def record(box, reference: str, checks: str, entry_point: str = "f"):
    (run,) = box.run(recorder(reference, checks, entry_point), [""]).runs
    return run.status, run.stdout.decode()


DOUBLE = "def f(x):\n    return x + x\n"
CHECKS = {
    "asserts": ("assert f(2) == 4\nassert f('a') == 'aa'", [("[2]", "4"), ('["a"]', '"aa"')]),
    "asserts with what stands before them": ("n = 2\nassert f(n) == 4", [("[2]", "4")]),
    "check(candidate)": ("def check(candidate):\n    assert candidate(2) == 4", [("[2]", "4")]),
    "functions for pytest": (
        "from solution import f\ndef test_a():\n    assert f(2) == 4\ndef test_b():\n    assert f(3) == 6",
        [("[2]", "4"), ("[3]", "6")],
    ),
    "a call twice": ("assert f(2) == 4\nassert f(2) == 4", [("[2]", "4")]),
    "a keyword": ("assert f(x=2) == 4", [('{"$call": [[], {"x": 2}]}', "4")]),
    "a tuple": ("assert f((1,)) == (1, 1)", [('[{"$tuple": [1]}]', '{"$tuple": [1, 1]}')]),
    "a result looked at": ("assert len(f([1])) == 2", [("[[1]]", "[1, 1]")]),
    "a call in a loop": ("for n in (0, 1):\n    assert f(n) == 2 * n", [("[0]", "0"), ("[1]", "2")]),
    "an expected error": ("try:\n    f(None)\nexcept TypeError:\n    assert f(1) == 2", [("[1]", "2")]),
    "no assert": ("f(5)", [("[5]", "10")]),
}


@pytest.mark.parametrize("name", CHECKS)
def test_checks_become_calls_and_results(box, name):
    checks, pairs = CHECKS[name]
    status, stdout = record(box, DOUBLE, checks)
    assert status is Status.OK
    assert recorded(stdout) == tuple(TestCase(*pair) for pair in pairs)


REFERENCES = {
    "prints": "def f(x):\n    print('{}')\n    return x + x",
    "calls itself": "def f(x, n=1):\n    return f(x, 0) if n else x + x",
    "changes its argument": "def f(x):\n    y = [*x, *x]\n    x.clear()\n    return y",
    "has a main block": DOUBLE.replace("x + x", "[*x, *x]") + "if __name__ == '__main__':\n    input()",
    "has a future": '"""Doc."""\nfrom __future__ import annotations\ndef f(x: Nothing):\n    return x + x',
    "is a lambda": "f = lambda x: x + x",
}


@pytest.mark.parametrize("name", REFERENCES)
def test_arguments_are_those_before_the_call_and_only_the_checks_calls_count(box, name):
    status, stdout = record(box, REFERENCES[name], "assert f([1]) == [1, 1]")
    assert status is Status.OK
    assert recorded(stdout) == (TestCase("[[1]]", "[1, 1]"),)


@pytest.mark.parametrize("entry_point", ["check", "test_it"])
def test_a_function_may_be_called_as_checks_are(box, entry_point):
    status, stdout = record(
        box, DOUBLE.replace("f(", f"{entry_point}("), f"assert {entry_point}(1) == 2", entry_point
    )
    assert (status, recorded(stdout)) == (Status.OK, (TestCase("[1]", "2"),))


def test_a_method_is_recorded_on_any_object_of_its_class(box):
    reference = "class Solution:\n    def f(self, x):\n        return self.f(x - 1) + 2 if x else 0\n"
    checks = "s = Solution()\nassert s.f(3) == 6\nassert Solution().f(x=1) == 2"
    status, stdout = record(box, reference, checks, "Solution.f")
    assert status is Status.OK
    assert recorded(stdout) == (TestCase("[3]", "6"), TestCase('{"$call": [[], {"x": 1}]}', "2"))


FAILS = {
    "a check fails": (DOUBLE, "assert f(2) == 5"),
    "no such function": ("def g(x): return x", "assert f(2) == 4"),
    "checks that do not compile": (DOUBLE, "assert f(2"),
    "a reference that does not compile": ("def f(x:", "assert f(2) == 4"),
    "a reference that raises": (DOUBLE, "f(None)"),
    "checks for pytest that fail": (DOUBLE, "def test_it():\n    assert f(2) == 5"),
}


@pytest.mark.parametrize("name", FAILS)
def test_what_fails_ends_with_another_status(box, name):
    status, _ = record(box, *FAILS[name])
    assert status is Status.CRASH


LINE = json.dumps({"call": [1], "result": 2})
NO_RECORDS = {
    "nothing": ("", "no call was recorded"),
    "blank": ("\n", "call 1"),
    "no JSON": (f"{LINE}\n5 5\n", "call 2"),
    "no object": ("[]", "call 1: not the record"),
    "another key": ('{"call": [1], "result": 2, "x": 3}', "call 1: not the record"),
    "a call that is none": ('{"call": 1, "result": 2}', "call 1: a call is"),
    "an argument without JSON": ('{"call": [{"$object": "Pair"}], "result": 2}', "call 1"),
    "a result without JSON": ('{"call": [1], "result": {"$object": "generator"}}', "call 1"),
    "nested without end": ("[" * 100_000, "call 1"),
    "half a line": (f"{LINE}\n{LINE[:9]}", "call 2"),
}


@pytest.mark.parametrize("name", NO_RECORDS)
def test_what_is_no_record_makes_no_tests(name):
    stdout, words = NO_RECORDS[name]
    with pytest.raises(RecordError, match=words):
        recorded(stdout)


def test_arguments_and_results_that_json_cannot_say_are_told_by_their_call(box):
    for reference, checks in (
        ("class P: pass\ndef f(x): return 1", "f(P())"),
        ("def f(x):\n    yield x", "list(f(1))"),
    ):
        status, stdout = record(box, reference, checks)
        assert status is Status.OK
        with pytest.raises(RecordError, match="call 1"):
            recorded(stdout)


TOLERANCES = {
    "exact": ("assert f(1) == 2.0", (0.0, 0.0)),
    "a distance": ("def check(c):\n    assert abs(c(1) - 0.5) < 1e-6", (1e-6, 0.0)),
    "a power": ("assert abs(f(1) - 0.5) <= 10 ** -4", (1e-4, 0.0)),
    "math.fabs": ("assert math.fabs(f(1)) < 1e-4", (1e-4, 0.0)),
    "a comparison of results": ("assert f(1) < 5", (0.0, 0.0)),
    "isclose": ("assert math.isclose(f(1), 2, rel_tol=0.001)", (0.0, 0.001)),
    "isclose, both": ("assert isclose(f(1), 2, rel_tol=0, abs_tol=0.5)", (0.5, 0.0)),
    "isclose as it is": ("assert math.isclose(f(1), 2)", (0.0, 1e-9)),
    "allclose": ("assert np.allclose(f(1), [2], atol=1e-3)", (1e-3, 1e-5)),
    "approx": ("assert f(1) == pytest.approx(2, abs=0.1)", (0.1, 1e-6)),
    "the largest": ("assert abs(f(1) - 1) < 1e-6\nassert abs(f(2) - 1) < 1e-3", (1e-3, 0.0)),
    "a tolerance that is computed": ("assert math.isclose(f(1), 2, rel_tol=eps)", (0.0, 0.0)),
    "no Python": ("assert f(", (0.0, 0.0)),
}


@pytest.mark.parametrize("name", TOLERANCES)
def test_the_tolerance_of_checks(name):
    checks, expected = TOLERANCES[name]
    assert tolerance(checks) == expected


@pytest.mark.parametrize("name", ["f", "Solution.f", "ñ"])
def test_a_name_or_a_class_and_its_method_is_an_entry_point(name):
    assert is_entry_point(name)


@pytest.mark.parametrize("name", ["", ".", ".f", "f.", "a.b.c", "f()", "for", "a.if", "a b", "1a", "f\n"])
def test_nothing_else_is_an_entry_point(name):
    assert not is_entry_point(name)
