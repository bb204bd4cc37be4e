"""R_func: how far a program got, as a number in [0, 1]. Pure arithmetic on three integers.

The ladder is Table 1 of SecureCodeRL (LCTES 2026, doi 10.1145/3814943.3816167), read so that it is monotone:
a program stands on the highest stage that *one* of its runs reached, and every test passed adds to it.

    stage 0  SYNTAX_ERROR  does not compile                                 0.0
    stage 1  PARSES        compiles, no run ended cleanly                   0.2
    stage 2  RUNS          some run ended with status 0 within its limits   0.4
    stage 3  PRINTS        some such run wrote to standard output           0.6
    stage 4  PASSES        k >= 1 of the T tests given were passed          0.6 + 0.4 * k/T

What it is not: potential-based shaping. A policy that always prints something earns more than one that solves
half of its problems and does not compile otherwise; that is the price of a dense signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Literal

Mode = Literal["partial", "binary"]
MODES: tuple[Mode, ...] = ("partial", "binary")

PAPER_CREDITS = (0.0, 0.2, 0.4, 0.6, 1.0)  # Table 1; the last is what k = T earns


class Stage(IntEnum):
    """How far a program got; the order is the ladder's."""

    SYNTAX_ERROR = 0
    PARSES = 1
    RUNS = 2
    PRINTS = 3
    PASSES = 4

    @property
    def label(self) -> str:
        """The name that logs and score groups use: ``"syntax_error"`` ... ``"passes"``."""
        return self.name.lower()


def partial(
    stage: Stage,
    passed: int,
    num_tests: int,
    credits: Sequence[float] = PAPER_CREDITS,
    fraction: float | None = None,
) -> float:
    """R_func = c[stage] below PASSES, c[3] + (c[4] - c[3]) * k/T there, with k = passed and T = num_tests.

    `credits` are five non-decreasing numbers in [0, 1]. T counts the tests given, never the tests run.
    `fraction`, in [0, 1], stands in the place of k/T where tests do not weigh alike (difficulty.py).
    """
    _check(stage, passed, num_tests)
    if fraction is not None and not 0.0 <= fraction <= 1.0:
        raise ValueError(f"impossible fraction of the tests: {fraction}")
    if stage is not Stage.PASSES:
        return credits[stage]
    bottom, top = credits[Stage.PRINTS], credits[Stage.PASSES]
    # Rounding may not put k < T above the top, nor k = T beside it: the maximum is exact.
    if passed == num_tests:
        return top
    rise = (top - bottom) * passed / num_tests if fraction is None else (top - bottom) * fraction
    return min(top, bottom + rise)


def binary(stage: Stage, passed: int, num_tests: int) -> float:
    """R_func = 1 if all T tests are passed, else 0 (the paper's PPO-simple)."""
    _check(stage, passed, num_tests)
    return 1.0 if passed == num_tests else 0.0


def _check(stage: Stage, passed: int, num_tests: int) -> None:
    """The counts must be possible, and agree with the stage: PASSES is k >= 1 and nothing else."""
    if not 0 <= passed <= num_tests or num_tests < 1:
        raise ValueError(f"impossible counts: {passed} of {num_tests} tests passed")
    if (stage is Stage.PASSES) != (passed > 0):
        raise ValueError(f"stage {stage.label} with {passed} tests passed")
