"""One small row of every public set, after its published schema, and what each becomes or is refused as."""

import json

import pytest

from data import FUNCTION_CALL, NO_TESTS, TestCase
from data.fields import RowError
from data.formats.base import OTHER_LANGUAGE, READS_A_FILE
from data.formats.known import FORMATS, format_of, read_row

P = "print(int(input()) + 1)\n"
IN_OUT = {"inputs": ["1\n", "2\n"], "outputs": ["2\n", "3\n"]}
TESTS = (TestCase("1\n", "2\n"), TestCase("2\n", "3\n"))
EXAMPLE = (TestCase("1\n", "2\n", True), TestCase("2\n", "3\n"))

APPS_PLUS = {
    "id": 41,
    "question": "Print n + 1.",
    **IN_OUT,
    "fn_name": None,
    "starter_code": "",
    "scope": [],
    "solution": P,
    "difficulty": "introductory",
}
APPS_HUB = {
    "problem_id": 12,
    "question": "Print n + 1.",
    "solutions": json.dumps([P]),
    "input_output": json.dumps(IN_OUT),
    "difficulty": "interview",
    "url": "https://example.org",
    "starter_code": "",
}
TACO = {
    "question": "Print n + 1.",
    "solutions": json.dumps([P]),
    "starter_code": "",
    "input_output": json.dumps(IN_OUT),
    "difficulty": "EASY",
    "raw_tags": "[]",
    "name": None,
    "source": "codechef",
    "tags": "[]",
    "skill_types": "[]",
    "url": None,
    "Expected Auxiliary Space": None,
    "time_limit": "2 seconds",
    "date": None,
    "picture_num": "0",
    "memory_limit": None,
    "Expected Time Complexity": None,
}
CODECONTESTS = {
    "name": "1_A. Next",
    "description": "Print n + 1.",
    "public_tests": {"input": ["1\n"], "output": ["2\n"]},
    "private_tests": {"input": ["2\n"], "output": ["3\n"]},
    "generated_tests": {"input": [], "output": []},
    "source": 2,
    "difficulty": 7,
    "solutions": {"language": [2, 1, 3], "solution": ["int main() {}", "print input() + 1", P]},
    "incorrect_solutions": {"language": [3], "solution": ["print(1)"]},
    "input_file": "",
    "output_file": "",
    "time_limit": {"seconds": 2, "nanos": 0},
}
OPEN_R1 = {
    "source": "apps",
    "task_type": "verifiable_code",
    "in_source_id": "41",
    "problem_statement": "Print n + 1.",
    "gold_standard_solution": f"```python\n{P}```",
    "problem_id": "vcp_1",
    "metadata": {},
    "verification_info": {
        "language": "python",
        "test_cases": [
            {"fn_name": None, "input": "1\n", "output": "2\n", "type": "stdin_stdout"},
            {"fn_name": None, "input": "2\n", "output": "3\n", "type": "stdin_stdout"},
        ],
    },
}
DEEPCODER_LIST = {
    "problem": "Print n + 1.",
    "solutions": [f"```python\n{P}```"],
    "tests": json.dumps(
        [
            {"type": "stdin_stdout", "input": "1\n", "output": "2\n", "fn_name": None},
            {"type": "stdin_stdout", "input": "2\n", "output": "3\n"},
        ]
    ),
}
DEEPCODER_DICT = {**DEEPCODER_LIST, "tests": json.dumps(IN_OUT)}
LIVECODEBENCH = {
    "question_title": "Next",
    "question_content": "Print n + 1.",
    "platform": "atcoder",
    "question_id": "abc_a",
    "contest_date": "2024-01-01",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}]),
    "private_test_cases": "eJxrYJmaz8gABhHVQIZSUEp...",
    "metadata": "{}",
}
V2 = {"problem_id": 3, "prompt": "Print n + 1.", "test_cases": IN_OUT, "num_tests": 2, "difficulty": "x"}
OWN = {
    "id": "a",
    "prompt": "Print n + 1.",
    "tests": [{"input": "1\n", "output": "2\n", "public": True}, {"input": "2\n", "output": "3\n"}],
    "solutions": [P],
}


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


FN = json.dumps({"fn_name": "f", "inputs": [[1]], "outputs": [2]})
REFUSED = {
    # row, kind by which it may be left out (None: a defect), part of the message
    "APPS+ with a function": (changed(APPS_PLUS, fn_name="f"), FUNCTION_CALL, "fn_name"),
    "APPS+ with arguments": (changed(APPS_PLUS, inputs=[[1], [2]]), FUNCTION_CALL, "input of test 0"),
    "APPS+ with fewer outputs": (changed(APPS_PLUS, outputs=["2\n"]), None, "2 inputs but 1 outputs"),
    "hub with a function": (changed(APPS_HUB, input_output=FN), FUNCTION_CALL, "fn_name"),
    "hub without tests": (changed(APPS_HUB, input_output=""), NO_TESTS, "no tests"),
    "TACO with a function": (changed(TACO, input_output=FN), FUNCTION_CALL, "fn_name"),
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
    "open-r1 with a function": (
        with_cases({"fn_name": "f", "input": "[1]", "output": "2", "type": "function_call"}),
        *(FUNCTION_CALL, "'function_call'"),
    ),
    "open-r1, one of two a function": (
        with_cases(
            {"input": "1", "output": "2", "type": "stdin_stdout"}, {"fn_name": "f", "type": "function_call"}
        ),
        *(FUNCTION_CALL, "'function_call'"),
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
    "DeepCoder with a function": (changed(DEEPCODER_LIST, tests=FN), FUNCTION_CALL, "fn_name"),
    "DeepCoder, functional": (
        changed(DEEPCODER_LIST, tests='[{"testtype": "functional", "input": "[1]", "output": "2"}]'),
        *(FUNCTION_CALL, "'functional'"),
    ),
    "DeepCoder without tests": (changed(DEEPCODER_LIST, tests="[]"), NO_TESTS, "no tests"),
    "DeepCoder, uneven": (
        changed(DEEPCODER_LIST, tests='{"inputs": ["1"], "outputs": []}'),
        *(None, "1 inputs but 0 outputs"),
    ),
    "DeepCoder with a number": (changed(DEEPCODER_LIST, tests="3"), None, "'tests' holds a number"),
    "LiveCodeBench, functional": (
        changed(LIVECODEBENCH, public_test_cases='[{"testtype": "functional", "input": "1", "output": "2"}]'),
        *(FUNCTION_CALL, "'functional'"),
    ),
    "HumanEval": (
        {"task_id": "HumanEval/0", "prompt": "p", "entry_point": "f", "canonical_solution": "s", "test": "t"},
        *(FUNCTION_CALL, "HumanEval"),
    ),
    "MBPP": ({"task_id": 1, "text": "t", "code": "c", "test_list": ["assert f(1)"]}, FUNCTION_CALL, "MBPP"),
    "MBPP+": (
        {"task_id": "Mbpp/1", "prompt": "p", "entry_point": "f", "base_input": []},
        FUNCTION_CALL,
        "EvalPlus",
    ),
    "AceCode": (
        {"id": 1, "question": "q", "test_cases": ["assert f(1)"], "inferences": []},
        FUNCTION_CALL,
        "AceCode",
    ),
    "KodCode": (
        {"question_id": 1, "question": "q", "solution": "s", "test": "t", "test_info": []},
        *(FUNCTION_CALL, "KodCode"),
    ),
    "an unknown row": ({"a": 1}, None, "known are"),
    "a row that is a list": ([], None, "is a list"),
}


@pytest.mark.parametrize(("row", "kind", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_problem_here_is_refused_by_its_kind(row, kind, message):
    with pytest.raises(RowError) as caught:
        read_row(row, "9")
    assert caught.value.skippable == kind
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_two_forms_have_the_same_keys_and_more_keys_come_first():
    for number, form in enumerate(FORMATS):
        assert format_of(form.keys) == form, form.name
        assert not any(earlier.keys < form.keys for earlier in FORMATS[:number])
