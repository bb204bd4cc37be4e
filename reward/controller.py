"""The `auto` schedule: moves the mix of two objectives by what the programs of the last iterations did.

It watches two numbers per iteration. Neither depends on the mix in force, so a move cannot be its own reason:

    solve    share of programs that pass all tests: how often the true objective has something to say
    climbed  share of programs that print or pass something (stages PRINTS and PASSES of the histogram): how
             much of what the ladder teaches has been learnt

    more of the ladder   solve <= solve_low   or   climbed <= climbed_low
    less of the ladder   solve >= solve_high  and  climbed >= climbed_high
    no move              anything between: the gaps between low and high are the hysteresis

The first line is for a true objective too sparse to learn from, and for a policy that forgets its syntax
under it; the second takes the crutch away once the policy walks. A decision is on means over `window`
iterations, and after a move a new window begins: what was seen under another mix says nothing of this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reward.compare import RewardError


@dataclass(frozen=True)
class Thresholds:
    """When the mix moves, and how far."""

    step: float = 0.25
    """How far one move goes, in (0, 1]."""
    window: int = 5
    """Iterations that a decision looks at, >= 1; also the least time between two moves."""
    solve_low: float = 0.05
    """At or below this share of solved programs the ladder gains weight."""
    solve_high: float = 0.25
    """At or above this share of solved programs the ladder may lose weight."""
    climbed_low: float = 0.5
    """At or below this share of programs that print or pass something the ladder gains weight."""
    climbed_high: float = 0.8
    """At or above this share of programs that print or pass something the ladder may lose weight."""

    def __post_init__(self) -> None:
        if not 0.0 < self.step <= 1.0:
            raise RewardError(f"step must be in (0, 1], not {self.step!r}")
        if isinstance(self.window, bool) or not isinstance(self.window, int) or self.window < 1:
            raise RewardError(f"window must be a number of iterations >= 1, not {self.window!r}")
        for name in ("solve", "climbed"):
            low, high = getattr(self, f"{name}_low"), getattr(self, f"{name}_high")
            if not 0.0 <= low < high <= 1.0:
                raise RewardError(f"0 <= {name}_low < {name}_high <= 1 must hold, not {low!r} and {high!r}")


class MixController:
    """The weight of the ladder in the mix, in [0, 1]; see the module for its rule."""

    def __init__(self, thresholds: Thresholds, weight: float) -> None:
        self.thresholds = thresholds
        self.weight = weight
        self._window: list[tuple[float, float]] = []  # (solve, climbed) since the last move, newest last

    def observe(self, solve: float, climbed: float) -> None:
        """Take an iteration's two shares in, and move if it is time."""
        self._window = [*self._window, (solve, climbed)][-self.thresholds.window :]
        move = self._move() if len(self._window) == self.thresholds.window else 0.0
        weight = round(min(1.0, max(0.0, self.weight + move)), 9)  # ten steps of 0.1 are 1
        if weight != self.weight:
            self.weight, self._window = weight, []

    def _move(self) -> float:
        solve, climbed = (sum(column) / len(self._window) for column in zip(*self._window, strict=True))
        limits = self.thresholds
        if solve <= limits.solve_low or climbed <= limits.climbed_low:
            return limits.step
        if solve >= limits.solve_high and climbed >= limits.climbed_high:
            return -limits.step
        return 0.0

    def state_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"weight": self.weight, "window": [list(pair) for pair in self._window]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.weight = state["weight"]
        self._window = [(solve, climbed) for solve, climbed in state["window"]]
