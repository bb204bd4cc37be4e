"""One small row of every public set, after its published schema, and what each becomes or is refused as."""

import json

import pytest
from set_rows import (
    APPS_HUB,
    APPS_PLUS,
    CODECONTESTS,
    DEEPCODER_DICT,
    DEEPCODER_LIST,
    LIVECODEBENCH,
    OPEN_R1,
    OWN,
    TACO,
    V2,
    P,
)

from data import FUNCTION_CALL, NO_TESTS, TestCase
from data.fields import RowError
from data.formats.base import OTHER_LANGUAGE, READS_A_FILE
from data.formats.known import FORMATS, format_of, read_row

TESTS = (TestCase("1\n", "2\n"), TestCase("2\n", "3\n"))
EXAMPLE = (TestCase("1\n", "2\n", True), TestCase("2\n", "3\n"))


def changed(row: dict, **changes: object) -> dict:
    return {**row, **changes}


def with_cases(*cases: dict, language: str = "python") -> dict:
    return changed(OPEN_R1, verification_info={"language": language, "test_cases": list(cases)})


READ = {
    # row: name, id, tests, solutions, difficulty, source
    "APPS+": (APPS_PLUS, "rows of APPS", "41", TESTS, (P,), "introductory", None),
    "APPS+ without id": (
        {key: value for key, value in APPS_PLUS.items() if key != "id"},
        *("rows of APPS", "apps-9", TESTS, (P,), "introductory", None),
    ),
    "APPS of the hub": (APPS_HUB, "APPS", "12", TESTS, (P,), "interview", None),
    "TACO": (TACO, "TACO", "taco-9", TESTS, (P,), "EASY", "TACO, codechef"),
    "TACO without solutions": (
        changed(TACO, solutions="[]"),
        "TACO",
        "taco-9",
        TESTS,
        (),
        "EASY",
        "TACO, codechef",
    ),
    "CodeContests": (CODECONTESTS, "CodeContests", "1_A. Next", EXAMPLE, (P,), "7", "CodeContests"),
    "CodeContests, lists of structs": (
        changed(
            CODECONTESTS,
            public_tests=[{"input": "1\n", "output": "2\n"}],
            private_tests=[{"input": "2\n", "output": "3\n"}],
            generated_tests=None,
            solutions=[{"language": "PYTHON3", "solution": P}],
        ),
        *("CodeContests", "1_A. Next", EXAMPLE, (P,), "7", "CodeContests"),
    ),
    "CodeContests without Python 3": (
        changed(CODECONTESTS, solutions={"language": [1, 2], "solution": ["a", "b"]}),
        *("CodeContests", "1_A. Next", EXAMPLE, (), "7", "CodeContests"),
    ),
    "open-r1": (
        OPEN_R1,
        "verifiable-coding-problems",
        "vcp_1",
        TESTS,
        (P,),
        None,
        "verifiable-coding-problems",
    ),
    "open-r1 as text": (
        changed(OPEN_R1, verification_info=json.dumps(OPEN_R1["verification_info"])),
        *("verifiable-coding-problems", "vcp_1", TESTS, (P,), None, "verifiable-coding-problems"),
    ),
    "DeepCoder, a list": (
        DEEPCODER_LIST,
        "DeepCoder-Preview",
        "deepcoder-9",
        TESTS,
        (P,),
        None,
        "DeepCoder-Preview",
    ),
    "DeepCoder, lists": (
        DEEPCODER_DICT,
        "DeepCoder-Preview",
        "deepcoder-9",
        TESTS,
        (P,),
        None,
        "DeepCoder-Preview",
    ),
    "LiveCodeBench": (
        LIVECODEBENCH,
        *("LiveCodeBench, public tests", "abc_a", EXAMPLE[:1], (), "easy", "LiveCodeBench"),
    ),
    "v2.0": (V2, "prompt file v2.0", "3", TESTS, (), "x", None),
    "own": (OWN, "own", "a", EXAMPLE, (P,), None, None),
}


@pytest.mark.parametrize("case", READ.values(), ids=READ.keys())
def test_a_row_of_every_set_becomes_a_problem(case):
    row, *expected = case
    problem, form = read_row(row, "9")
    assert problem.prompt == "Print n + 1."
    assert [
        *(form.name, problem.id, problem.tests, problem.solutions, problem.difficulty, problem.source)
    ] == expected
    assert form.keys <= row.keys()
    if form.columns:  # what Parquet leaves out is not needed
        columns = form.columns | form.keys
        assert read_row({key: value for key, value in row.items() if key in columns}, "9") == (problem, form)


REFUSED = {
    # row, kind by which it may be left out (None: a defect), part of the message
    "APPS+ with arguments and no name": (
        changed(APPS_PLUS, inputs=[[1], [2]]),
        *(FUNCTION_CALL, "a function whose name the row does not tell"),
    ),
    "APPS+ with fewer outputs": (changed(APPS_PLUS, outputs=["2\n"]), None, "2 inputs but 1 outputs"),
    "hub without tests": (changed(APPS_HUB, input_output=""), NO_TESTS, "no tests"),
    "TACO with a broken field": (changed(TACO, input_output="{"), None, "malformed JSON"),
    "CodeContests with a file": (changed(CODECONTESTS, input_file="a.txt"), READS_A_FILE, "a.txt"),
    "CodeContests, uneven": (
        changed(CODECONTESTS, public_tests={"input": ["1"], "output": []}),
        *(None, "1 input, 0 output"),
    ),
    "CodeContests, uneven solutions": (
        changed(CODECONTESTS, solutions={"language": [3, 3], "solution": ["a"]}),
        *(None, "2 language, 1 solution"),
    ),
    "CodeContests without tests": (
        changed(CODECONTESTS, public_tests=None, private_tests={"input": [], "output": []}),
        *(NO_TESTS, "no tests"),
    ),
    "CodeContests with text for tests": (changed(CODECONTESTS, public_tests="x"), None, "a string where"),
    "open-r1, one of two a function": (
        with_cases(
            {"input": "1", "output": "2", "type": "stdin_stdout"}, {"fn_name": "f", "type": "function_call"}
        ),
        *(None, "others call a function; make two problems"),
    ),
    "open-r1 in C++": (with_cases(language="cpp"), OTHER_LANGUAGE, "cpp"),
    "open-r1 without tests": (with_cases(), NO_TESTS, "no tests"),
    "open-r1, no cases but text": (
        changed(OPEN_R1, verification_info={"language": "python", "test_cases": ["a"]}),
        *(None, "test_cases[0] is a string"),
    ),
    "open-r1 with a null": (
        with_cases({"input": None, "output": "1", "type": "stdin_stdout"}),
        None,
        "a null",
    ),
    "DeepCoder without tests": (changed(DEEPCODER_LIST, tests="[]"), NO_TESTS, "no tests"),
    "DeepCoder, uneven": (
        changed(DEEPCODER_LIST, tests='{"inputs": ["1"], "outputs": []}'),
        *(None, "1 inputs but 0 outputs"),
    ),
    "DeepCoder with a number": (changed(DEEPCODER_LIST, tests="3"), None, "'tests' holds a number"),
    "DeepCoder, functional without a name": (
        changed(DEEPCODER_LIST, tests='[{"testtype": "functional", "input": "[1]", "output": "2"}]'),
        *(FUNCTION_CALL, "nothing tells its name"),
    ),
    "an unknown row": ({"a": 1}, None, "its keys are a; known are LeetCodeDataset, "),
    "a row of TACO without a field": (
        {key: value for key, value in TACO.items() if key not in ("question", "time_limit")},
        *(None, "of TACO are missing question, time_limit"),
    ),
    "a row that is a list": ([], None, "is a list"),
}


@pytest.mark.parametrize(("row", "kind", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_problem_here_is_refused_by_its_kind(row, kind, message):
    with pytest.raises(RowError) as caught:
        read_row(row, "9")
    assert caught.value.skippable == kind
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


STARTER = "class Solution:\n    def twice(self, a: List[int], k: int) -> List[int]:\n        "
SOLUTION = f"{STARTER}return sorted(a) * k"
CALLS = {"fn_name": "twice", "inputs": [[[2, 1], 2], [[], 1]], "outputs": [[1, 2, 1, 2], []]}
TESTS_OF_CALLS = (TestCase("[[2, 1], 2]", "[1, 2, 1, 2]"), TestCase("[[], 1]", "[]"))
CASES = [
    {"type": "function_call", "fn_name": "twice", "input": given, "output": expected}
    for given, expected in zip(CALLS["inputs"], CALLS["outputs"], strict=True)
]
LINES = [
    {"testtype": "functional", "input": "[2, 1]\n2", "output": "[1, 2, 1, 2]"},
    {"testtype": "functional", "input": "[]\n1", "output": "[]"},
]
NAMED = {"func_name": "twice"}

CALLED = {
    # every set that states calls as JSON, each with the same two calls
    "APPS+": changed(APPS_PLUS, **CALLS, starter_code=STARTER, solution=SOLUTION),
    "APPS+, named by its code": changed(
        APPS_PLUS, **CALLS | {"fn_name": None}, starter_code=STARTER, solution=SOLUTION
    ),
    "APPS+, told by its solution": changed(APPS_PLUS, **CALLS, starter_code="", solution=SOLUTION),
    "APPS of the hub": changed(
        APPS_HUB, input_output=json.dumps(CALLS), starter_code=STARTER, solutions=json.dumps([SOLUTION])
    ),
    "TACO": changed(
        TACO, input_output=json.dumps(CALLS), starter_code=STARTER, solutions=json.dumps([SOLUTION])
    ),
    "open-r1": changed(with_cases(*CASES), gold_standard_solution=f"```python\n{SOLUTION}\n```"),
    "open-r1, cases as text": changed(
        with_cases(
            *(
                case
                | {
                    "input": json.dumps(case["input"][0]) + "\n" + json.dumps(case["input"][1]),
                    "output": json.dumps(case["output"]),
                }
                for case in CASES
            )
        ),
        gold_standard_solution=SOLUTION,
    ),
    "DeepCoder, lists": changed(
        DEEPCODER_DICT, tests=json.dumps(CALLS), starter_code=STARTER, solutions=[SOLUTION]
    ),
    "DeepCoder, cases": changed(
        DEEPCODER_LIST, tests=json.dumps(CASES), starter_code=STARTER, solutions=[SOLUTION]
    ),
    "DeepCoder, of LiveCodeBench": changed(
        DEEPCODER_LIST, tests=json.dumps(LINES), starter_code=STARTER, solutions=[SOLUTION], metadata=NAMED
    ),
    "DeepCoder, named in the case": changed(
        DEEPCODER_LIST,
        tests=json.dumps([case | {"metadata": NAMED} for case in LINES]),
        solutions=[SOLUTION],
    ),
    "LiveCodeBench": changed(
        LIVECODEBENCH,
        public_test_cases=json.dumps(LINES),
        starter_code=STARTER,
        metadata=json.dumps(NAMED),
    ),
}


@pytest.mark.parametrize("row", CALLED.values(), ids=CALLED.keys())
def test_calls_stated_as_json_become_tests(row):
    problem, form = read_row(row, "9")
    assert problem.entry_point == "Solution.twice"
    assert [(test.input, test.output) for test in problem.tests] == [
        (t.input, t.output) for t in TESTS_OF_CALLS
    ]
    assert problem.compare == "json"
    if row.get("starter_code"):  # the code that is shown runs: LeetCode's judge makes these imports
        assert problem.prompt.endswith(f"from typing import List\n\n{STARTER.rstrip()}")
    else:
        assert "twice" in problem.prompt
    assert all(text.rstrip() == f"from typing import List\n\n{SOLUTION}" for text in problem.solutions)
    columns = form.columns | form.keys
    assert read_row({key: value for key, value in row.items() if key in columns}, "9") == (problem, form)


def test_results_in_a_list_of_their_own_are_taken_out_of_it():
    """So APPS has them of codewars' tasks; of LeetCode's never."""
    row = changed(
        APPS_PLUS, fn_name="f", inputs=[[1], [2]], outputs=[[True], [[3]]], solution="def f(n): ..."
    )
    assert [test.output for test in read_row(row, "9")[0].tests] == ["true", "[3]"]
    leetcode = changed(row, starter_code="class Solution:\n    def f(self, n):")
    assert [test.output for test in read_row(leetcode, "9")[0].tests] == ["[true]", "[[3]]"]
    mixed = changed(row, outputs=[[1], [1, 2]])
    assert [test.output for test in read_row(mixed, "9")[0].tests] == ["[1]", "[1, 2]"]


@pytest.mark.parametrize(("outputs", "compare"), [([1, 2], "json"), ([0.5, 2], "json(1e-06, 1e-06)")])
def test_floats_may_differ_and_whole_numbers_may_not(outputs, compare):
    row = changed(APPS_PLUS, fn_name="f", inputs=[[1], [2]], outputs=outputs)
    assert read_row(row, "9")[0].compare == compare


def test_no_two_forms_have_the_same_keys_and_more_keys_come_first():
    for number, form in enumerate(FORMATS):
        assert format_of(form.keys) == form, form.name
        assert not any(earlier.keys < form.keys for earlier in FORMATS[:number])
