"""The tests of a function-call task: what its checks call the reference with, and what that returns.

Asserts and `check(candidate)` are programs that judge a function in their own process, where a program could
answer for them. So they judge the reference only, once, in the sandbox, and a recorder beside it writes down
every call (data/harness.py): arguments and result are a test. Where reference and checks disagree there is no
telling who is right, and no test is made.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from data.calls import with_tolerance
from data.fields import RowError
from data.formats.base import Unrecorded
from data.forms import check_calls
from data.harness import RecordError, recorded, recorder
from data.problem import Problem
from reward.compare import parse_policy
from reward.references import NO_REFERENCE, Checked
from sandbox import Limits, Report, Status

DISAGREE = "reference fails its own checks"
NOT_HELD = "calls that no test can hold"
_BATCH = 64  # problems between two signs of progress
_CHARS = 200  # of an error
_SEED = "import random as _random\n_random.seed(0)\n"  # checks that draw their arguments: the same each time


class Runner(Protocol):
    """What is needed of a `sandbox.Sandbox`."""

    def map(self, jobs: Sequence[tuple[str, list[str]]]) -> list[Report]:
        """One report per (program, inputs), in order."""
        ...


def recording_limits(limits: Limits) -> Limits:
    """Limits of a recorder: it makes all calls of a task in one run, and its program holds all arguments."""
    return replace(
        limits, cpu_seconds=10 * limits.cpu_seconds, wall_seconds=None, output_kb=1 << 15, source_kb=1 << 15
    )


def record(
    box: Runner,
    tasks: Sequence[Unrecorded],
    max_solutions: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Checked]:
    """Each task's problem with its tests, in order, or why there are none; `progress(tasks done)`.

    The first of `max_solutions` references that passes the checks is the one whose answers count.
    """
    done: list[Checked] = []
    for start in range(0, len(tasks), _BATCH):
        done += _recorded(box, tasks[start : start + _BATCH], max_solutions)
        progress(len(done))
    return done


def _recorded(box: Runner, tasks: Sequence[Unrecorded], max_solutions: int) -> list[Checked]:
    found = [Checked(task.problem, NO_REFERENCE) for task in tasks]
    for attempt in range(max_solutions):
        left = [
            number
            for number, task in enumerate(tasks)
            if found[number].failure is not None and attempt < len(task.problem.solutions)
        ]
        reports = box.map([(_program(tasks[number], attempt), [""]) for number in left])
        for number, report in zip(left, reports, strict=True):
            tried = _made(tasks[number].problem, report)
            if attempt == 0 or tried.failure is None:  # why the first of them failed is what is told
                found[number] = tried
    return found


def _program(task: Unrecorded, attempt: int) -> str:
    problem = task.problem
    assert problem.entry_point is not None
    return recorder(problem.solutions[attempt], _SEED + task.checks, problem.entry_point)


def _made(problem: Problem, report: Report) -> Checked:
    """The problem with the tests that a recorder has written down."""
    if not report.compiles:
        return Checked(problem, "does not compile", report.error or "")
    (run,) = report.runs
    if run.status is not Status.OK:
        return Checked(problem, _cause(run.status, run.stderr), _last_line(run.stderr))
    try:
        tests = recorded(run.stdout.decode("ascii"))
        policy = parse_policy(problem.compare)
        compare = with_tolerance(policy.name, tests, policy.absolute, policy.relative)
        made = replace(problem, tests=tests, compare=compare)
        check_calls(made)
    except (RecordError, UnicodeDecodeError) as error:
        return Checked(problem, NOT_HELD, str(error))
    except RowError as error:
        return Checked(problem, error.skippable or NOT_HELD, str(error))
    return Checked(made, None)


def _cause(status: Status, stderr: str) -> str:
    error = _last_line(stderr).partition(":")[0]
    if status is Status.CRASH and error == "AssertionError":
        return DISAGREE
    if status is Status.CRASH and error in ("SyntaxError", "IndentationError", "TabError"):
        return "does not compile"
    return "fault of the sandbox" if status is Status.FAULT else status.value


def _last_line(text: str) -> str:
    """The last line of standard error: the exception's."""
    return text.strip().rpartition("\n")[2][:_CHARS]
