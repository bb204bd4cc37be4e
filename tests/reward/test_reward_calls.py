"""Function-call tasks through scorer and sandbox: what earns, what the ladder means, what is no way round."""

import dataclasses

import pytest
from call_programs import HOSTILE, LADDER, METHODS, RIGHT, WAYS_TO_BE_RIGHT

from data.harness import call_harness
from data.problems import Problem, TestCase
from data.values import encode, encode_call
from reward import Outcome, RewardError, Scorer, Stage, objective
from reward.objective import RewardConfig
from sandbox import Status


def problem(entry_point: str, *pairs: tuple[tuple[object, ...], object], compare: str = "python") -> Problem:
    tests = tuple(TestCase(encode_call(args, {}), encode(result)) for args, result in pairs)
    return Problem(entry_point, f"Write {entry_point}.", tests, compare=compare, entry_point=entry_point)


ADD = problem("add", ((1, 2), 3), ((20, 22), 42), (("a", "bc"), "abc"), (([1], [2]), [1, 2]))
HOSTILE_ADD = problem("add", ((20, 22), 42))


def outcome_of(scorer: Scorer, program: str, asked: Problem = ADD) -> Outcome:
    (outcome,) = scorer.outcomes([(asked, program)])
    assert outcome is not None
    return outcome


@pytest.mark.parametrize("name", WAYS_TO_BE_RIGHT)
def test_every_way_to_be_right_passes(scorer: Scorer, name: str) -> None:
    outcome = outcome_of(scorer, WAYS_TO_BE_RIGHT[name])
    assert outcome.all_passed, outcome
    assert outcome.stage is Stage.PASSES and outcome.idle is False


@pytest.mark.parametrize("name", LADDER)
def test_the_ladder_means_the_same_for_calls(scorer: Scorer, name: str) -> None:
    program, stage, passed, idle = LADDER[name]
    outcome = outcome_of(scorer, program)
    assert (outcome.stage, outcome.passed, outcome.idle) == (stage, passed, idle), outcome
    if idle:
        assert objective(outcome, RewardConfig()).functional == 0.0


def test_a_syntax_error_is_the_programs_own_with_its_own_line(scorer: Scorer) -> None:
    outcome = outcome_of(scorer, "def add(a, b):\n    return a +\n")
    assert outcome.stage is Stage.SYNTAX_ERROR
    assert outcome.tracebacks == ((None, 2),)


def test_a_traceback_names_the_lines_of_the_program(scorer: Scorer) -> None:
    program = "def helper(x):\n    return x.no\n\ndef add(a, b):\n    return helper(a)\n"
    assert outcome_of(scorer, program).tracebacks == ((None, 2),) * 4
    assert outcome_of(scorer, "\nnot_there\n").tracebacks == ((2, 2),) * 4


@pytest.mark.parametrize("name", HOSTILE)
def test_no_trick_passes_what_it_does_not_compute(scorer: Scorer, name: str) -> None:
    outcome = outcome_of(scorer, HOSTILE[name], HOSTILE_ADD)
    assert outcome.passed == 0, outcome
    assert outcome_of(scorer, RIGHT, HOSTILE_ADD).all_passed  # and the next program is judged on its own


def test_expected_values_never_enter_the_process(scorer: Scorer) -> None:
    """The program returns all it can read and find; the marks in the expected values are not among it."""
    secret = "5f1c-expected"
    nosy = (
        "import gc, os, sys\n"
        "def f(x):\n"
        "    found = [repr(o) for o in gc.get_objects() if isinstance(o, (str, bytes, list, tuple, dict))]\n"
        "    for fd in range(64):\n"
        "        try: found.append(repr(os.pread(fd, 1 << 16, 0)))\n"
        "        except OSError: pass\n"
        "    marks = ('-expected', '-argument')\n"
        "    return [t[max(0, t.find(m) - 5):][:60] for m in marks for t in found if m in t]\n"
    )
    asked = problem("f", (("5f1c-argument",), secret), (("b",), secret))
    report = scorer._box.run(nosy, [test.input for test in asked.tests], harness=call_harness("f"))
    shown = report.runs[0].stdout.decode()
    assert report.runs[0].status is Status.OK and "5f1c-argument" in shown and secret not in shown


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_called_on_a_new_object(scorer: Scorer, name: str) -> None:
    program, passed = METHODS[name]
    asked = problem("Solution.twice", ((4,), 8), ((0,), 0))
    assert outcome_of(scorer, program, asked).passed == passed


def test_arguments_arrive_as_the_very_types(scorer: Scorer) -> None:
    values = ((1, 2), {3, 4}, {1: "a"}, 1.0, True, None, b"x", 1 + 2j, float("inf"), -0.0, "\ud800", 10**30)
    asked = problem("f", (values, [repr(type(value)) + repr(value) for value in values]), ((), []))
    program = "def f(*values):\n    return [repr(type(value)) + repr(value) for value in values]"
    assert outcome_of(scorer, program, asked).all_passed


def test_python_tells_a_tuple_from_a_list_and_json_does_not(scorer: Scorer) -> None:
    program = "def f(x):\n    return (x, x)"
    for compare, passed in (("python", 0), ("json", 1)):
        assert outcome_of(scorer, program, problem("f", ((1,), [1, 1]), compare=compare)).passed == passed


def test_what_expects_none_is_passed_by_none_and_by_no_exit(scorer: Scorer) -> None:
    asked = problem("f", ((1,), None), ((2,), 2))
    assert outcome_of(scorer, "def f(x):\n    return None if x == 1 else x", asked).passed == 2
    assert outcome_of(scorer, "def f(x):\n    raise SystemExit", asked).passed == 0


# --- signs of playing the reward ---

NUMBERS = problem("f", ((30,), 901), ((40,), 1601), ((50,), 2501), ((12,), 145))
WORDS = problem(
    "f", (("aab_cbb",), "Found a match!"), (("aab_Abb",), "Not matched!"), (("x",), "Not matched!")
)
TABLE = "{30: 901, 40: 1601, 50: 2501, 12: 145}"
SQUARE = "def f(x):\n    return x * x + 1"
SIGNS = {
    "computes": (NUMBERS, SQUARE, set()),
    "a wrong formula": (NUMBERS, "def f(x):\n    return x + 7", set()),
    "a lost return": (NUMBERS, "def f(x):\n    y = x * x + 1", set()),
    "nothing": (NUMBERS, "def f(x):\n    pass", {"silent"}),
    "nothing, at length": (NUMBERS, "def f(x):\n    for i in range(9):\n        y = i", {"silent"}),
    "a constant": (NUMBERS, "def f(x):\n    return 145", {"constant_output", "ignores_input"}),
    "a constant that fails on nothing": (NUMBERS, "def f(x):\n    return x - x + 145", {"constant_output"}),
    "a table": (NUMBERS, f"def f(x):\n    return {TABLE}.get(x)", {"hardcoded"}),
    "ifs": (NUMBERS, "def f(x):\n    if x == 30: return 901\n    if x == 12: return 145", {"hardcoded"}),
    "examples in its docstring": (NUMBERS, f"def f(x):\n    '''{TABLE}'''\n    return x * x + 1", set()),
    "a table in its docstring": (
        NUMBERS,
        f"def f(x):\n    '''{TABLE}'''\n    return __import__('ast').literal_eval(f.__doc__).get(x)",
        {"hardcoded"},
    ),
    "messages": (
        WORDS,
        "def f(t):\n    return 'Found a match!' if '_' in t and t.islower() else 'Not matched!'",
        set(),
    ),
    "messages by a table": (
        WORDS,
        "def f(t):\n    no = 'Not matched!'\n"
        "    return {'aab_cbb': 'Found a match!', 'aab_Abb': no, 'x': no}.get(t)",
        {"hardcoded"},
    ),
    "looks around": (NUMBERS, "import gc\n" + SQUARE, {"introspection"}),
}


@pytest.mark.parametrize("name", SIGNS)
def test_the_signs_are_those_of_arguments_and_results(scorer: Scorer, name: str) -> None:
    asked, program, signs = SIGNS[name]
    assert set(outcome_of(scorer, program, asked).sentinels or ()) == signs


# --- what a problem may be ---

BAD = {
    "no name": ({"entry_point": "add it"}, "entry_point"),
    "a keyword": ({"entry_point": "if"}, "entry_point"),
    "three parts": ({"entry_point": "a.b.c"}, "entry_point"),
    "compared by lines": ({"compare": "lines"}, "json or python"),
    "arguments that are no list": ({"tests": (TestCase("5", "5"),)}, "test 0"),
    "a result that is no JSON": ({"tests": (TestCase("[5]", "five"),)}, "test 0"),
    "a result that equals nothing": ({"tests": (TestCase("[5]", '{"$object": "x"}'),)}, "test 0"),
    "nothing to compute": ({"tests": (TestCase("[5]", "null"), TestCase("[6]", "null"))}, "no test expects"),
    "a stub of nothing": ({"entry_point": None, "stub": "def f():\n", "compare": "lines"}, "stub"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_problem_that_cannot_work_is_refused_before_anything_runs(scorer: Scorer, name: str) -> None:
    change, words = BAD[name]
    with pytest.raises(RewardError, match=words):
        scorer.outcomes([(dataclasses.replace(ADD, **change), RIGHT)])


def test_the_entry_point_is_part_of_what_a_program_is_remembered_by(scorer: Scorer) -> None:
    both = RIGHT + "def sub(a, b):\n    return 0\n"
    assert outcome_of(scorer, both).all_passed
    assert outcome_of(scorer, both, dataclasses.replace(ADD, entry_point="sub")).passed == 0
