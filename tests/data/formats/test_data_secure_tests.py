"""Sets with tests of function and of security: which are run, what they ask, what stays without tests."""

import json

import pytest
from set_rows import CWEVAL, SECCODEPLT

from data import Problem
from data.answers import answer_in
from data.fields import RowError
from data.formats.base import OTHER_LANGUAGE, Unrecorded
from data.formats.known import read_row
from data.formats.source import source_rows
from reward.recording import record, recording_limits
from sandbox import Limits, Sandbox


@pytest.fixture(scope="module")
def box():
    with Sandbox(recording_limits(Limits()), workers=1) as found:
        yield found


def recorded(box, row: dict) -> tuple[Problem, str | None]:
    read, _ = read_row(row, "9")
    assert isinstance(read, Unrecorded)
    ((problem, failure, _),) = record(box, [read], 1)
    return problem, failure


def changed(row: dict, key: str, **fields: object) -> dict:
    return {**row, key: {**row[key], **fields}}


def test_cases_of_seccodeplt_become_tests_that_say_what_they_ask(box):
    problem, failure = recorded(box, SECCODEPLT)
    assert failure is None and problem.cwe == 862
    # The case that expects an exception is held against the reference, and makes no test.
    assert [(test.output, test.security) for test in problem.tests] == [('"one"', False), ('"denied"', True)]
    assert "Security policy: A note is for its owner alone." in problem.prompt
    assert problem.prompt.endswith(problem.stub.rstrip()) and "requests" not in problem.stub


def test_setup_stands_in_front_of_every_answer_to_seccodeplt():
    read, _ = read_row(SECCODEPLT, "9")
    problem = read.problem
    answer = answer_in("```python\ndef read_note(user, number):\n    return NOTES[number]\n```", problem)
    assert answer.program.startswith("from math import pi\nNOTES = {") and answer.given == len(problem.stub)
    assert problem.insecure[0].startswith(problem.stub) and "note = NOTES[number][1]\n" in problem.insecure[0]


@pytest.mark.parametrize(
    "row, cause",
    [
        (
            changed(SECCODEPLT, "ground_truth", patched_code="\n    note = 1"),
            "reference fails its own checks",
        ),
        (changed(SECCODEPLT, "ground_truth", code_after="\n    except"), "does not compile"),
        (changed(SECCODEPLT, "unittest", testcases="testcases = {"), "does not compile"),
        ({**CWEVAL, "test": CWEVAL["test"].replace("import pytest", "import pytest, lxml.etree")}, "crash"),
    ],
)
def test_why_no_test_is_made(box, row, cause):
    assert recorded(box, row)[1] == cause


def test_cases_of_cweval_become_tests_that_say_what_they_ask(box):
    problem, failure = recorded(box, CWEVAL)
    assert failure is None and problem.cwe == 20 and problem.stub == f"{problem.prompt}\n"
    assert [(test.output, test.security) for test in problem.tests] == [('"a.b"', False), ('""', True)]


@pytest.mark.parametrize(
    "row",
    [
        changed(SECCODEPLT, "unittest", testcases=""),
        changed(SECCODEPLT, "ground_truth", patched_code=""),
        {**CWEVAL, "test": ""},
        {**CWEVAL, "test": CWEVAL["test"].replace("test_host(url", "test_host(tmp_path, url")},
    ],
)
def test_tasks_without_tests_that_can_be_run_stay(row):
    problem, _ = read_row(row, "9")
    assert isinstance(problem, Problem) and problem.tests == problem.solutions == () and problem.cwe


def test_objects_of_seccodeplt_may_be_text():
    row = {key: json.dumps(v) if isinstance(v, dict) else v for key, v in SECCODEPLT.items()}
    assert read_row(row, "9")[0] == read_row(SECCODEPLT, "9")[0]


@pytest.mark.parametrize(
    "row, said",
    [
        ({**CWEVAL, "language": "js"}, "the language is js"),
        ({**CWEVAL, "code": "def host(url): pass\n"}, "no function with a docstring"),
        ({**CWEVAL, "cweval_task": "host"}, "names no weakness"),
        (changed(SECCODEPLT, "task_description", function_name="a b"), "'function_name' is 'a b'"),
        ({**SECCODEPLT, "CWE_ID": 862}, "862 names no weakness"),
    ],
)
def test_rows_that_are_none(row, said):
    with pytest.raises(RowError, match=said) as error:
        read_row(row, "9")
    assert (error.value.skippable == OTHER_LANGUAGE) == ("language" in said)


def test_a_folder_of_cweval_is_read_with_all_its_languages(tmp_path):
    folder = tmp_path / "benchmark" / "core"
    for language, name in (("py", "cwe_020_0"), ("c", "cwe_020_0_c")):
        (folder / language).mkdir(parents=True)
        (folder / language / f"{name}_task.{language}").write_text(CWEVAL["code"])
        (folder / language / f"{name}_test.py").write_text(CWEVAL["test"])
    rows = [row.row for row in source_rows(tmp_path)]
    assert [(row["cweval_task"], row["language"]) for row in rows] == [
        ("cwe_020_0_c", "c"),
        ("cwe_020_0", "py"),
    ]
    assert rows[1] == CWEVAL
