"""Does a problem's own solution pass its tests? What the reference fails, no program can be asked to pass.

Public sets hold problems with several valid answers, wrong tests, and references in Python 2 or too slow for
the limits. Each reference is run as any program is, in the sandbox; what it did is told in a word.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from data.problem import Problem
from reward.outcome import Outcome
from sandbox import Status

NO_REFERENCE = "no reference"
_BATCH = 64  # problems between two signs of progress
_PREVIEW = 80  # characters of a wrong output


class Judge(Protocol):
    """What is needed of a `reward.Scorer`."""

    def outcomes(self, pairs: Iterable[tuple[Problem, str]]) -> list[Outcome | None]:
        """One outcome per (problem, program); None where the sandbox failed."""
        ...


class Checked(NamedTuple):
    """A problem with those of its solutions that pass, and the cause if there are none."""

    problem: Problem
    failure: str | None
    detail: str = ""
    """What the program, or who ran it, said last."""


def check_references(
    judge: Judge,
    problems: Sequence[Problem],
    max_solutions: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Checked]:
    """Run the first `max_solutions` references of every problem, in order; `progress(problems done)`."""
    checked: list[Checked] = []
    for start in range(0, len(problems), _BATCH):
        batch = problems[start : start + _BATCH]
        programs = [problem.solutions[:max_solutions] for problem in batch]
        pairs = [(p, text) for p, texts in zip(batch, programs, strict=True) for text in texts]
        outcomes = iter(judge.outcomes(pairs))
        for problem, texts in zip(batch, programs, strict=True):
            checked.append(_checked(problem, [(text, next(outcomes)) for text in texts]))
        progress(len(checked))
    return checked


def _checked(problem: Problem, results: Sequence[tuple[str, Outcome | None]]) -> Checked:
    passing = tuple(text for text, outcome in results if outcome is not None and outcome.all_passed)
    if passing:
        return Checked(replace(problem, solutions=passing), None)
    return Checked(problem, *_cause(results[0][1])) if results else Checked(problem, NO_REFERENCE)


def _cause(outcome: Outcome | None) -> tuple[str, str]:
    """Why a program does not pass, and where: by the first of its tests that was run and failed."""
    if outcome is None:
        return "fault of the sandbox", ""
    if not outcome.compiles:
        return "does not compile", outcome.error
    number, failed = min(
        ((number, verdict) for number, verdict in enumerate(outcome.verdicts) if not verdict.passed),
        key=lambda pair: pair[1].status == Status.SKIPPED.value,  # skipped for what another one did
    )
    if failed.clean:
        return "wrong output", f"test {number}: {failed.stdout[:_PREVIEW]!r}"
    return failed.status, f"test {number}: {failed.error}" if failed.error else f"test {number}"
