"""Tests weighed by how seldom they are passed: a running pass rate for each test of each problem.

    R_func = c3 + (c4 - c3) * (sum of w over the tests passed) / (sum of w over all tests)     for k/T
    w      = 1 / rate, at most `most`

So what passes often pays little, and what most programs miss pays more: rate times weight, what a test can be
expected to pay, is the same for all tests that one program in `most` passes or more. Weights lie in
[1, most]: no test weighs more than `most` times another. Only ratios within a problem matter; where all its
tests are passed equally often, and for a problem that is new, the ladder is the plain one, to the last digit.

A rate counts facts, whatever is paid for them: a test that a constant passes is an easy one. Sources: the
idea, weighing tests by difficulty, is that of VeRPO (arXiv 2601.03525); the form is this project's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reward.compare import RewardError
from reward.outcome import Outcome

# Before anything is seen: as if two programs had been, of which one passed. With it the rate of the first
# programs is Laplace's rule of succession, (k + 1) / (n + 2): one failure is not yet "never".
_SEEN, _PASSED = 2, 1.0


class PassRates:
    """The pass rate of every test, over the programs so far; its state is a checkpoint's to keep.

        rate += (passed - rate) / min(n + 2, memory)          n: programs for the problem, this one included

    an ordinary mean over the first `memory` programs, then an exponential one: the policy changes. It is kept
    as a count of passes over a count of programs, so tests passed equally often have the very same rate.
    """

    def __init__(self, most: float, memory: int) -> None:
        self.most = most
        self.memory = memory
        self._counts: dict[str, tuple[int, list[float]]] = {}  # problem id -> programs, passes of each test

    def weights(self, problem: str, num_tests: int) -> list[float]:
        """What each test of a problem weighs, in [1, most], in their order.

        Raises RewardError if the problem was seen with another number of tests.
        """
        seen, counts = self._of(problem, num_tests)
        # Old passes fade towards 0, and a count that fades may round to more than what was seen.
        return [min(self.most, seen / min(max(count, 1e-9), seen)) for count in counts]

    def fraction(self, problem: str, outcome: Outcome) -> float | None:
        """The share of its tests' weight that a program passed; None where all weigh alike: k/T."""
        weights = self.weights(problem, outcome.num_tests)
        if len(set(weights)) == 1:
            return None
        # Both sums are exact but for one rounding, so one more test passed never makes it less.
        earned = [weight for weight, passed in zip(weights, _passed(outcome), strict=True) if passed]
        return math.fsum(earned) / math.fsum(weights)

    def observe(self, problem: str, outcome: Outcome) -> None:
        """Take a program in, once its rollout has been paid."""
        seen, counts = self._of(problem, outcome.num_tests)
        kept = min(seen, self.memory - 1) / seen  # so much of what was counted still counts
        counts = [kept * count + passed for count, passed in zip(counts, _passed(outcome), strict=True)]
        self._counts[problem] = (min(seen + 1, self.memory), counts)

    def _of(self, problem: str, num_tests: int) -> tuple[int, list[float]]:
        seen, counts = self._counts.get(problem, (_SEEN, [_PASSED] * num_tests))
        if len(counts) != num_tests:
            raise RewardError(f"problem {problem!r} has {num_tests} tests, and had {len(counts)} before")
        return seen, counts

    def state_dict(self) -> dict[str, Any]:
        """JSON-able; numbers come back as they were."""
        return {problem: [seen, list(counts)] for problem, (seen, counts) in self._counts.items()}

    def load_state_dict(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Go on where `state_dict` was taken."""
        self._counts = {problem: (int(seen), list(counts)) for problem, (seen, counts) in state.items()}


def _passed(outcome: Outcome) -> list[bool]:
    """Test by test; what does not compile passes none."""
    if not outcome.compiles:
        return [False] * outcome.num_tests
    return [verdict.passed for verdict in outcome.verdicts]
