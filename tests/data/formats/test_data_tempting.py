"""Prompts that tempt into a weakness: which rows are of use, what the weakness is, what an answer may be."""

import json
from pathlib import Path

import pytest
from set_rows import CYBERSECEVAL, SECURITYEVAL

from data import DataError, Problem, load_problems, write_problems
from data.answers import answer_in
from data.fields import RowError
from data.formats.base import OTHER_LANGUAGE
from data.formats.known import read_row
from data.formats.tempting import NOT_INSTRUCT, begun, cwe_of
from data.grading import adds_nothing

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "securityeval.jsonl"


def test_a_row_of_securityeval_is_its_own_stub():
    problem, form = read_row(SECURITYEVAL, "9")
    assert isinstance(problem, Problem) and form.name == "SecurityEval"
    assert (problem.cwe, problem.entry_point, problem.tests) == (78, "listing", ())
    assert problem.insecure == (SECURITYEVAL["Insecure_code"],)
    program = answer_in("    return os.listdir(path)\n", problem).program
    assert program == f"{SECURITYEVAL['Prompt']}\n    return os.listdir(path)\n"


@pytest.mark.parametrize(
    "code, expected",
    [
        ('def f(x):\n    """Go on."""', "f"),
        ('class A:\n    pass\n\nasync def f(x):\n    """Go on."""\n', "f"),
        ('def f(x):\n    """Go on."""\n    return x', None),  # there is a body
        ("def f(x):\n    pass", None),  # and here
        ('class A:\n    def f(self):\n        """Go on."""', None),
        ("import os\n'''Print the time.'''", None),
        ("Write a function.", None),
        ("", None),
    ],
)
def test_a_function_is_begun_where_only_its_docstring_is_there(code, expected):
    assert begun(code) == expected


@pytest.mark.parametrize(
    "change, skippable",
    [
        ({"language": "c"}, OTHER_LANGUAGE),
        ({"test_case_prompt": "Write a Bash script that removes a folder."}, OTHER_LANGUAGE),
        ({"test_case_prompt": "Write C++ code."}, OTHER_LANGUAGE),
        ({"variant": "autocomplete"}, NOT_INSTRUCT),
        ({"cwe_identifier": "none"}, None),
        ({"cwe_identifier": 78}, None),
    ],
)
def test_rows_of_cyberseceval_that_are_left_out(change, skippable):
    with pytest.raises(RowError) as error:
        read_row({**CYBERSECEVAL, **change}, "9")
    assert error.value.skippable == skippable


def test_a_python_row_of_cyberseceval_may_name_no_language_or_several():
    for text in ("Write a function.", "Write a Python function that calls JavaScript."):
        problem, _ = read_row({**CYBERSECEVAL, "test_case_prompt": text}, "9")
        assert isinstance(problem, Problem) and (problem.id, problem.cwe) == ("cyberseceval-9", 78)


@pytest.mark.parametrize(
    "text, number", [("CWE-020_author_1.py", 20), ("CWE-1204", 1204), ("cwe-79", 79), ("89", 89)]
)
def test_numbers_of_weaknesses(text, number):
    assert cwe_of(text) == number


@pytest.mark.parametrize("text", ["", "CWE-", "CWE-0", "0", "CVE-2024-1", None, 78, "CWE-12345678"])
def test_what_names_no_weakness(text):
    with pytest.raises(RowError, match="names no weakness"):
        cwe_of(text)


def test_tasks_without_tests_are_read_where_they_are_wanted_and_refused_elsewhere(tmp_path):
    problem, _ = read_row(SECURITYEVAL, "9")
    file = tmp_path / "p.jsonl"
    write_problems(file, [problem])
    assert load_problems(file, untested=True) == [problem]
    with pytest.raises(DataError, match=r"p.jsonl:1: the problem has no tests: it measures"):
        load_problems(file)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"cwe": None}, "no tests"),
        ({"cwe": "CWE-78"}, "'cwe' is 'CWE-78'"),
        ({"cwe": 0}, "'cwe' is 0"),
        ({"cwe": True}, "'cwe' is True"),
        ({"insecure": "x"}, "'insecure' is a string"),
        ({"insecure": [1]}, r"insecure\[0\] is a number"),
        ({"tests": [{"input": "", "output": "1", "security": 1}]}, "'security' is a number"),
    ],
)
def test_what_is_wrong_with_a_row_of_our_own(tmp_path, change, said):
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps({"id": "a", "prompt": "x", "tests": [], "cwe": 78, **change}) + "\n")
    with pytest.raises(DataError, match=said):
        load_problems(file, untested=True)


@pytest.mark.parametrize(
    "program, given, expected",
    [
        ("", "", True),
        ("# only this\n", "", True),
        ("import os\n'''x'''\ndef f():\n    pass\n", "", True),
        ("import os\nx = 1\n", "import os\nx = 1\n", True),
        ("x = 1\n\nx = 1\n", "x = 1\n", True),  # the prompt, once more
        ("x = 1\nclass A:\n    y: int = 2\n", "x = 1\n", False),
        ("def f():\n    return os\n", 'def f():\n    """Go on."""\n', False),
        ("if a:\n    pass\nelse:\n    print(1)\n", "", False),
        ("match a:\n    case 1:\n        print(1)\n", "", False),
        ("raise ValueError\n", "", False),
        ("+".join(["1"] * 3000), "", False),
    ],
)
def test_programs_that_say_nothing(program, given, expected):
    assert adds_nothing(program, given) is expected


@pytest.mark.skipif(not REAL.exists(), reason="needs the real file")
def test_every_row_of_the_real_securityeval_is_read():
    rows = [json.loads(line) for line in REAL.open(encoding="utf-8")]
    problems = [read_row(row, "1")[0] for row in rows]
    assert len(problems) == 121 and sum(problem.entry_point is not None for problem in problems) == 117
    assert {problem.cwe for problem in problems} >= {20, 78, 89, 502, 1204}
