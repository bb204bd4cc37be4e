"""A program on a problem, checked and encoded: what there is to run, and the key that finds it again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType

from data.fields import RowError
from data.forms import check_calls
from data.harness import call_harness
from data.problems import Problem, TestCase
from reward.budget import unfit
from reward.compare import Policy, RewardError, parse_policy
from sandbox import Limits

Key = tuple[bytes, tuple[TestCase, ...], str, str, str | None]


@dataclass(frozen=True)
class Job:
    """One program on one problem, checked and encoded."""

    problem: Problem
    program: str
    source: bytes  # the program in UTF-8
    expected: tuple[bytes, ...]
    policy: Policy
    harness: CodeType | None  # of a function-call task: what calls the program's function
    key: Key  # the limits are the scorer's, so they need not be part of it

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(test.input for test in self.problem.tests)

    @property
    def given(self) -> str:
        """The text whose code is not the program's own."""
        return self.problem.stub or self.problem.prompt


def job_of(problem: Problem, program: str, limits: Limits) -> Job:
    """Check a pair. RewardError names the problem; nothing about the program is an error."""
    if not problem.tests and problem.cwe is None:
        raise RewardError(f"problem {problem.id!r} has no tests: there is nothing to score a program by")
    try:
        policy = parse_policy(problem.compare)
        _check_calls(problem)
    except (ValueError, RowError) as error:
        raise RewardError(f"problem {problem.id!r}: {error}") from None
    if reason := unfit(problem, policy, limits):
        raise RewardError(f"problem {problem.id!r}: {reason}")
    expected = tuple(test.output.encode() for test in problem.tests)
    # A program arrives as text, so that an encoding named in it means nothing, here as in the scan. A lone
    # surrogate makes bytes that are not UTF-8: a program that does not compile, as it would be in a file.
    source = program.encode("utf-8", "surrogatepass")
    harness = None if problem.entry_point is None else call_harness(problem.entry_point)
    about = (problem.tests, problem.compare, problem.stub or problem.prompt, problem.entry_point)
    key = (hashlib.sha256(source).digest(), *about)
    return Job(problem, program, source, expected, policy, harness, key)


_check_calls = lru_cache(maxsize=1024)(check_calls)  # every program of a problem asks
