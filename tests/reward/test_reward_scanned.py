"""Programs of tasks without tests: compiled and scanned, never run, and paid nothing."""

import math

import pytest
from kept_processes import OF_SCORERS, kept

from data import Problem, TestCase
from reward import Outcome, RewardConfig, RewardError, Scanned, Scorer, objective

TASK = Problem("a", "List a folder.", (), cwe=78)
TESTED = Problem("b", "Print 1.", (TestCase("", "1\n"),), cwe=78)


@pytest.fixture(scope="module", autouse=True)
def shared_processes(end_of_kept_processes):
    with kept(OF_SCORERS):
        yield


@pytest.fixture(scope="module")
def scorer():
    with Scorer(RewardConfig(), workers=1) as found:
        yield found


def test_they_are_compiled_and_scanned_and_not_run(scorer):
    programs = [
        "while True: pass\n",
        "import os\nos.system(input())\n",
        "return 1\n",  # parses, and does not compile
        "class",
    ]
    clean, insecure, *broken = scorer.judge([(TASK, program) for program in programs])
    assert [one.kind for one in (clean, insecure, *broken)] == ["parses", "parses", *["syntax_error"] * 2]
    assert clean.outcome.findings == () and {f.cwe for f in insecure.outcome.findings} == {78}
    for one in (clean, insecure, *broken):
        assert isinstance(one, Scanned) and math.isnan(one.total)
        assert Outcome.from_dict(one.record) == one.outcome
        assert (one.outcome.num_tests, one.outcome.all_passed, one.outcome.sentinels) == (0, False, None)


def test_tasks_with_tests_beside_them_are_scored_as_ever(scorer):
    untested, tested = scorer.judge([(TASK, "print(1)\n"), (TESTED, "print(1)\n")])
    assert isinstance(untested, Scanned) and tested == scorer.score([(TESTED, "print(1)\n")])[0]


def test_nothing_is_paid_for_them(scorer):
    with pytest.raises(RewardError, match="'a' has no tests"):
        scorer.score([(TESTED, "print(1)\n"), (TASK, "print(1)\n")])
    (outcome,) = scorer.outcomes([(TASK, "print(1)\n")])
    with pytest.raises(RewardError, match="nothing to pay it for"):
        objective(outcome, RewardConfig())


def test_a_task_that_measures_nothing_is_refused(scorer):
    with pytest.raises(RewardError, match="'c' has no tests"):
        scorer.judge([(Problem("c", "x", ()), "print(1)\n")])
