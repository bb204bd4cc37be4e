"""What scoring may cost: how often a program may take all its time, in which order it is asked, what fits.

A program that never ends costs its time limit on every test, and a rollout waits for it. So only so many of
its runs may take all their time; tests that are then left are `skipped`, and count as not passed. A program
that is slow and right never comes to that, however many tests there are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from data.comparison import OF_VALUES
from data.problems import Problem, TestCase
from reward.compare import Policy, RewardError, lines
from sandbox import MAX_INPUT_MB, Limits

_NUMBER = re.compile(rb"[-+.\w]+")


@dataclass(frozen=True)
class ScoringConfig:
    """How programs are run, beside the limits of one run. Raises RewardError for values that cannot work."""

    max_overstays: int = 3
    """After so many runs of a program that took all their time (over a time limit) its other tests are not
    run and count as not passed. cpu_seconds asleep, in one run or in many, count as such a run. Reruns by the
    sentinels count too."""
    share_children: bool = False
    """Run the inputs of a program in one process where it provably keeps nothing between them. Scores are the
    same; programs that qualify cost less than half. Calls of functions never share one."""
    packages: tuple[str, ...] = ()
    """Installed packages that programs may import beside the standard library and numpy."""
    overlap: bool = True
    """Run each program when its response ends, while others are still sampled. Scores are the same."""

    def __post_init__(self) -> None:
        if self.max_overstays < 1:
            raise RewardError(f"max_overstays must be 1 or more, not {self.max_overstays}")


def order(seed: int, program: bytes, tests: Sequence[TestCase]) -> list[int]:
    """The order in which tests are run: by a hash of run, program and test.

    No program can know it, it repeats with the run, and it does not depend on the order of the tests given.
    """
    start = hashlib.sha256(b"%d:" % seed + hashlib.sha256(program).digest())

    def rank(index: int) -> tuple[bytes, int]:
        digest = start.copy()
        text = tests[index].input.encode()
        digest.update(b"%d:" % len(text) + text + tests[index].output.encode())
        return digest.digest(), index

    return sorted(range(len(tests)), key=rank)


def program_times(seconds: Sequence[tuple[float, str]]) -> dict[str, float | str]:
    """What programs took, (seconds, problem id) each, as a row of timing.jsonl; empty if none was run."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    middle, high = (ordered[round(share * (len(ordered) - 1))][0] for share in (0.5, 0.99))
    most, problem = ordered[-1]
    return {
        "program_seconds/p50": round(middle, 4),
        "program_seconds/p99": round(high, 4),
        "program_seconds/slowest": round(most, 4),
        "slowest_problem": problem,
        "programs_per_second_and_core": round(len(seconds) / max(sum(took for took, _ in seconds), 1e-9), 2),
    }


def unfit(problem: Problem, policy: Policy, limits: Limits) -> str | None:
    """Why no program could pass all tests of a problem within the limits, None if one could."""
    for number, test in enumerate(problem.tests, 1):
        try:
            given, expected = test.input.encode(), test.output.encode()
        except UnicodeEncodeError as error:
            return f"test {number}: {error}"
        if len(given) > MAX_INPUT_MB << 20:
            return f"test {number}: its input has {len(given)} bytes, the sandbox takes {MAX_INPUT_MB} MiB"
        if len(expected) > limits.output_kb * 1024:  # seldom: only then is a closer look worth its time
            shortest = _shortest(expected, policy)
            if shortest > limits.output_kb * 1024:
                kb = -(-shortest // 1024)
                return f"test {number}: its output has {kb} KiB, more than output_kb {limits.output_kb}"
    return None


def _shortest(expected: bytes, policy: Policy) -> int:
    """A lower bound for the bytes of an output that is accepted as equal."""
    if policy.name == "exact":
        return len(expected)
    if policy.name == "lines":
        return len(b"\n".join(lines(expected)))
    if policy.name in OF_VALUES:
        return len(_NUMBER.sub(b"0", b"".join(expected.split())))  # 1.0 may be written as 1
    words = expected.split()
    # Under `float` a number may be written shorter: one digit and one separator a word are the least.
    return sum(map(len, words)) + len(words) - 1 if policy.name == "tokens" else 2 * len(words) - 1
