"""What `train.py sample` says of a program: true with tests and without."""

import io
import sys

import pytest
from test_bad_input import refused

from cli.errors import UsageError
from cli.sample import SampleCommand, _kind_of, _told, _visible
from data import Problem, TestCase
from reward import RewardConfig, Scorer

INPUT_PLUS_ONE = "print(int(input()) + 1)\n"
UNJUDGED = "not judged: there is no test to pass; add --test 'INPUT=OUTPUT'"

# program -> what is said where there is no test
WITHOUT = {
    INPUT_PLUS_ONE: [
        "run without input: it waits for input, which a test would give it, output ''",
        "security: no finding",
    ],
    "": ["run without input: ok, output ''", "security: no finding"],
    "print('n?')\nint(input())": [
        "run without input: it waits for input, which a test would give it, output 'n?\\n'",
        "security: no finding",
    ],
    "print(7)": ["run without input: ok, output '7\\n'", "security: no finding"],
    "eval(input())": None,
    "print(": None,
}


@pytest.fixture(scope="module")
def scorer():
    with Scorer(RewardConfig(), workers=1) as made:
        yield made


def told(scorer: Scorer, program: str, *tests: TestCase) -> list[str]:
    problem = Problem(id="typed", prompt="p", tests=tests or (TestCase("", ""),))
    return _told(scorer.score([(problem, program)])[0], bool(tests))


@pytest.mark.parametrize("program", WITHOUT)
def test_without_tests_a_program_is_run_and_not_judged(scorer, program):
    lines = told(scorer, program)
    if WITHOUT[program] is not None:
        assert lines == [*WITHOUT[program], UNJUDGED]
    assert lines[-1] == UNJUDGED
    shown = "\n".join(lines)
    assert "stage" not in shown and "passed" not in shown and "R =" not in shown


def test_findings_need_no_test(scorer):
    assert "security: B307 MEDIUM, line 1" in told(scorer, "eval(input())")


def test_what_does_not_parse_is_told_with_the_compilers_words(scorer):
    first, last = told(scorer, "print(")
    assert first.startswith("does not parse: SyntaxError") and last == UNJUDGED


def test_with_tests_the_reward_is_told(scorer):
    right, wrong = TestCase("1\n", "2"), TestCase("1\n", "3")
    lines = told(scorer, INPUT_PLUS_ONE, right, wrong)
    assert lines[0] == "test 1: ok, passed, output '2\\n'"
    assert lines[1] == "test 2: ok, not passed, output '2\\n'"
    assert "stage: passes, 1 of 2 passed" in lines
    assert lines[-1] == "R = 0.800 (functional 0.80, security 0.80)"


def test_what_is_not_utf8_is_one_line(ppo_run, capsys, monkeypatch):
    """Whether it is typed or a flag; a tokenizer raises TypeError for it."""
    common = ["--checkpoint", ppo_run, "--max-new-tokens", 4, "--threads", 1]
    for errors in ("strict", "surrogateescape"):
        typed = io.TextIOWrapper(io.BytesIO(b"Print 1.\nPr\xefnt\n"), encoding="utf-8", errors=errors)
        monkeypatch.setattr(sys, "stdin", typed)
        assert "error: line 2 of standard input: not UTF-8" in refused(capsys, "sample", *common)
    assert "error: --problem: not UTF-8" in refused(capsys, "sample", *common, "--problem", "Pr\udcefnt")


# --- functions ---


def kind_of(*tests: str, name: str = "add") -> Problem:
    return _kind_of(SampleCommand(entry_point=name, test=tests))


def test_a_function_is_asked_for_by_name_and_tested_by_calls(scorer):
    problem = kind_of("[1, 2]=3", '["a=", "=b"]="a==b"', name="add")
    assert problem.entry_point == "add" and problem.compare == "json"
    assert [test.output for test in problem.tests] == ["3", '"a==b"']
    lines = _told(scorer.score([(problem, "def add(a, b):\n    return a + b\n")])[0], True)
    assert lines[0] == "test 1: ok, passed, output '3\\n'" and lines[-1].startswith("R = 1.000")


BAD = {
    "no test": ((), "add", "goes with --test"),
    "no equals sign": (("[1, 2]",), "add", "write ARGUMENTS=RESULT"),
    "no list of arguments": (("1=2",), "add", "write ARGUMENTS=RESULT"),
    "a result that is no JSON": (("[1]=two",), "add", "write ARGUMENTS=RESULT"),
    "no name": (("[1]=2",), "add it", "write a function's name"),
    "nothing to compute": (("[1]=null",), "add", "no test expects a value"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_function_that_cannot_be_tested_is_refused_in_one_line(name):
    tests, entry_point, words = BAD[name]
    with pytest.raises(UsageError, match=words):
        kind_of(*tests, name=entry_point)


def test_what_a_terminal_would_obey_is_written_out():
    """Escape sequences and marks of direction; what is read as text stays as it is."""
    assert (
        _visible("print('\x1b[2J\u202e\x9b')\r\n\tπ = 'é'") == "print('\\x1b[2J\\u202e\\x9b')\\r\n\tπ = 'é'"
    )
