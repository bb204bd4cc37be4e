"""Rows of function-call tasks in our own JSONL: what is read, what is written, what is refused."""

import json
from collections import Counter

import pytest

from data.problems import DataError, Problem, TestCase, load_problems, write_problems

ROW = {
    "id": "p1",
    "prompt": "Write add.",
    "tests": [{"input": "[1, 2]", "output": "3"}],
    "entry_point": "add",
}
PROBLEM = Problem("p1", "Write add.", (TestCase("[1, 2]", "3"),), compare="json", entry_point="add")


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_row_with_an_entry_point_is_compared_as_json(tmp_path):
    assert load_problems(write(tmp_path / "p.jsonl", ROW)) == [PROBLEM]


@pytest.mark.parametrize("compare", ["json", "python", "json(1e-6, 0)", "python(0, 1e-9)"])
@pytest.mark.parametrize("stub", ["", "def add(a, b):\n"])
@pytest.mark.parametrize("entry_point", ["add", "Solution.add"])
def test_what_is_written_reads_back_equal(tmp_path, compare, stub, entry_point):
    tests = (TestCase('[1, {"$tuple": [2]}]', '{"$set": [3]}', public=True), TestCase("[]", "null"))
    problem = Problem("p", "x", tests, ("y",), compare=compare, entry_point=entry_point, stub=stub)
    write_problems(tmp_path / "p.jsonl", [problem])
    assert load_problems(tmp_path / "p.jsonl") == [problem]


def test_values_on_standard_output_may_be_compared_too(tmp_path):
    row = {key: value for key, value in ROW.items() if key != "entry_point"}
    (problem,) = load_problems(write(tmp_path / "p.jsonl", {**row, "compare": "json"}))
    assert (problem.entry_point, problem.compare) == (None, "json")


BAD = {
    "a name of two words": ({"entry_point": "add it"}, "'entry_point' is 'add it'; write a function's name"),
    "a keyword": ({"entry_point": "lambda"}, "'entry_point' is 'lambda'"),
    "a number": ({"entry_point": 5}, "'entry_point' is a number"),
    "an empty name": ({"entry_point": ""}, "'entry_point' is empty"),
    "compared by lines": ({"compare": "lines"}, "compared as json or python"),
    "compared by float": ({"compare": "float(1, 1)"}, "compared as json or python"),
    "an input as for standard input": ({"tests": [{"input": "1 2", "output": "3"}]}, "test 0"),
    "an argument alone": ({"tests": [{"input": "1", "output": "3"}]}, "a JSON list of"),
    "an output as printed": ({"tests": [{"input": "[1]", "output": "yes"}]}, "the JSON of the result"),
    "an output of Python": ({"tests": [{"input": "[1]", "output": "None"}]}, "the JSON of the result"),
    "an unknown tag": ({"tests": [{"input": "[1]", "output": '{"$date": 1}'}]}, "test 0"),
    "a stub that is no text": ({"stub": 5}, "'stub' is a number"),
    "nothing to compute": ({"tests": [{"input": "[1]", "output": "null"}]}, "no test expects a value"),
    "a tolerance below 0": ({"compare": "json(-1, 0)"}, "finite numbers >= 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_is_no_function_call_task_is_refused_with_its_line(tmp_path, name):
    change, words = BAD[name]
    with pytest.raises(DataError, match=r"p\.jsonl:1: ") as caught:
        load_problems(write(tmp_path / "p.jsonl", {**ROW, **change}))
    assert words in str(caught.value)


def test_a_stub_without_an_entry_point_is_refused(tmp_path):
    row = {"id": "p", "prompt": "x", "tests": [{"input": "", "output": ""}], "stub": "def f():\n"}
    with pytest.raises(DataError, match="'stub' goes with 'entry_point'"):
        load_problems(write(tmp_path / "p.jsonl", row))


def test_tasks_of_which_no_result_is_expected_can_be_left_out_by_count(tmp_path):
    nothing = {**ROW, "id": "p2", "tests": [{"input": "[1]", "output": "null"}]}
    skipped: Counter[str] = Counter()
    assert load_problems(write(tmp_path / "p.jsonl", ROW, nothing), skipped=skipped) == [PROBLEM]
    assert skipped == {"no result is expected": 1}
