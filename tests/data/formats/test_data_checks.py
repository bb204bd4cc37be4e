"""One small row of every set whose tests are Python, after its published schema; and what its checks ask."""

import json

import pytest
from set_rows import (
    ACECODE,
    BODY,
    CODE,
    HUMANEVAL,
    HUMANEVAL_PLUS,
    KODCODE,
    KODCODE_FIRST,
    LEETCODE,
    MBPP,
    MBPP_PLUS,
    MBPP_PLUS_HUB,
    MBPP_SANITIZED,
    SHOWN,
    STUB,
    TEXT,
)

from data.fields import RowError
from data.formats.acecode import NO_ANSWER
from data.formats.base import Unrecorded
from data.formats.checks import NO_FUNCTION, asked, function_called
from data.formats.evalplus import with_types
from data.formats.known import read_row
from data.formats.pytest_source import NEEDS_PYTEST

ROWS = {
    # row: form, id, prompt, solution, split, entry point, stub
    "MBPP": (MBPP, "MBPP", "Mbpp/601", SHOWN, CODE, "train", "add_one", ""),
    "MBPP, sanitized": (
        *(MBPP_SANITIZED, "MBPP, sanitized", "Mbpp/2", SHOWN, CODE, "prompt", "add_one", ""),
    ),
    "MBPP+ of the hub": (
        *(MBPP_PLUS_HUB, "MBPP+ of the hub", "Mbpp/2", SHOWN, CODE, "heldout", "add_one", ""),
    ),
    "MBPP+": (MBPP_PLUS, "EvalPlus", "Mbpp/2", SHOWN, f"\n{CODE}", "heldout", "add_one", ""),
    "HumanEval": (*(HUMANEVAL, "HumanEval", "HumanEval/0", STUB, STUB + BODY, "heldout", "add_one", STUB),),
    "HumanEval+": (
        *(HUMANEVAL_PLUS, "EvalPlus", "HumanEval/0", STUB, STUB + BODY, "heldout", "add_one", STUB),
    ),
    "LeetCodeDataset": (
        LEETCODE,
        "LeetCodeDataset",
        "add-one",
        f"{LEETCODE['problem_description']}\n\nBegin with this code:\n{LEETCODE['starter_code'].rstrip()}",
        f"{LEETCODE['prompt']}\n{LEETCODE['completion']}",
        *(None, "Solution.addOne", ""),
    ),
    "KodCode": (
        KODCODE,
        "KodCode-V1",
        "kodcode-Prefill_1_I",
        f"{TEXT}\n\nBegin with this code:\ndef add_one(n):",
        *(CODE, None, "add_one", ""),
    ),
    "KodCode, first form": (
        KODCODE_FIRST,
        "KodCode-V1, first form",
        "kodcode-Prefill_1_I",
        f"{TEXT}\n\nBegin with this code:\ndef add_one(n):",
        *(CODE, None, "add_one", ""),
    ),
    "AceCode": (ACECODE, "AceCode-87K", "oss_1", ACECODE["question"], CODE, None, "add_one", ""),
}


@pytest.mark.parametrize("case", ROWS.values(), ids=ROWS.keys())
def test_a_row_of_every_set_becomes_a_task(case):
    row, *expected = case
    (problem, checks), form = read_row(row, "9")
    (solution,) = problem.solutions
    assert [
        *(form.name, problem.id, problem.prompt, solution, problem.split, problem.entry_point, problem.stub)
    ] == expected
    assert problem.tests == ()
    compile(checks, "checks", "exec")
    assert form.keys <= row.keys()
    columns = form.columns | form.keys  # what Parquet leaves out is not needed
    kept = {key: value for key, value in row.items() if key in columns}
    assert read_row(kept, "9") == (Unrecorded(problem, checks), form)


@pytest.mark.parametrize(
    ("number", "split"),
    [
        *((1, "prompt"), (10, "prompt"), (11, "heldout"), (510, "heldout")),
        *((511, "validation"), (600, "validation"), (601, "train"), (974, "train")),
    ],
)
def test_the_number_of_a_task_of_mbpp_tells_its_split(number, split):
    (problem, _), _ = read_row({**MBPP, "task_id": number}, "9")
    assert problem.split == split


def with_test(source: str) -> dict:
    return {**KODCODE, "test": source}


REFUSED = {
    # row, kind by which it may be left out (None: a defect), part of the message
    "MBPP, a task without a number": ({**MBPP, "task_id": "a"}, None, "whole number"),
    "MBPP, no tests": ({**MBPP, "test_list": []}, NO_FUNCTION, "nothing that calls"),
    "MBPP, a test that is no Python": ({**MBPP, "test_list": ["assert ("]}, None, "no Python"),
    "MBPP, a test that is no text": ({**MBPP, "test_list": [1]}, None, "test_list[0] is a number"),
    "MBPP, tests of two functions": (
        *({**MBPP, "test_list": ["assert f(1)", "assert g(1)"]}, NO_FUNCTION, "each of the 2"),
    ),
    "EvalPlus, inputs that are no lists": ({**HUMANEVAL_PLUS, "base_input": [1]}, None, "base_input[0]"),
    "EvalPlus, a tolerance that is no number": ({**HUMANEVAL_PLUS, "atol": "a"}, None, "'atol'"),
    "HumanEval without a solution": ({**HUMANEVAL, "canonical_solution": ""}, None, "canonical_solution"),
    "KodCode, two functions": (
        {**KODCODE, "test_info": [*KODCODE["test_info"], {"function_name": "g"}]},
        *(NO_FUNCTION, "2 functions"),
    ),
    "KodCode, a fixture": (with_test("def test_a(tmp_path): pass"), NEEDS_PYTEST, "fixture tmp_path"),
    "KodCode, a class with setup": (
        with_test("class TestA:\n    def setup_method(self): pass\n    def test_a(self): pass"),
        *(NEEDS_PYTEST, "setup_method"),
    ),
    "KodCode, no test": (with_test("x = 1"), NO_FUNCTION, "no test_"),
    "AceCode, no answer passed": (
        {**ACECODE, "inferences": ACECODE["inferences"][:1]},
        NO_ANSWER,
        "none of 1",
    ),
}


@pytest.mark.parametrize(("row", "kind", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_task_is_refused_by_its_kind(row, kind, message):
    with pytest.raises(RowError) as caught:
        read_row(row, "9")
    assert caught.value.skippable == kind
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("checks", "reference", "function"),
    [
        (["assert f(1) == 2"], "def f(x): ...", "f"),
        (["assert set(f(1)) == set([2])", "assert set(f(2)) == set([3])"], "def f(x): ...", "f"),
        (["assert abs(f(g(1)) - 2) < 1e-6"], "def g(x): ...\ndef f(x): ...", "f"),
        (["assert f(Pair(1, 2)) == 2"], "class Pair: ...\ndef f(x): ...", "f"),
        (["assert f(1) == 2"], "this is no Python", "f"),
        (["import math", "assert f(1) == 2"], "def f(x): ...", None),
    ],
)
def test_the_function_that_checks_are_of_is_found(checks, reference, function):
    if function is None:
        with pytest.raises(RowError, match="no function"):
            function_called(checks, [reference])
    else:
        assert function_called(checks, [reference]) == function


def test_a_text_tells_the_name_once():
    assert asked("Add one.", "f") == "Add one.\n\nThe function is to be called f."
    assert asked("Write f.", "f") == "Write f."
    assert asked("Write f.", "f", starter="def f(n):\n    ") == "Write f.\n\nBegin with this code:\ndef f(n):"
    assert asked("Begin: def f(n):", "f", starter="def f(n):") == "Begin: def f(n):"


@pytest.mark.parametrize(
    ("value", "example", "expected"),
    [
        ([[1, 2], 3], [(5, 6), 7], [(1, 2), 3]),
        ([[1, 2, 3], 3], [(5, 6), 7], [(1, 2, 3), 3]),
        ([[[1, "a"], [2, "b"], [3, "c"]]], [[(1, "a")]], [[(1, "a"), (2, "b"), (3, "c")]]),
        ([[1, 2]], [{1}], [{1, 2}]),
        ([{"a": [1]}], [{"b": (1,)}], [{"a": (1,)}]),
        (["1+2j"], [1j], [1 + 2j]),
        ([[], 1], [(1,), 1], [(), 1]),
        ([[1], [2]], [[]], [[1], [2]]),
        ([None, True, "a"], [1, 2, 3], [None, True, "a"]),
    ],
)
def test_arguments_get_the_types_that_an_example_has(value, example, expected):
    converted = with_types(json.loads(json.dumps(value)), example)
    assert repr(converted) == repr(expected)
