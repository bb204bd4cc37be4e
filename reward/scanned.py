"""What is told of a program where no test was run: facts, and no reward.

Sets of prompts that tempt into a weakness mostly come without tests. Whether an answer parses and is clean
can be said all the same; what it is worth cannot, and is not 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from reward.functional import Stage
from reward.outcome import Outcome


@dataclass(frozen=True)
class Scanned:
    """A program that was compiled and scanned; a Score without a total."""

    outcome: Outcome

    @property
    def total(self) -> float:
        """NaN: there is no reward."""
        return math.nan

    @property
    def kind(self) -> str:
        """Whether it parses, as a stage."""
        return self.outcome.stage.label

    @property
    def metrics(self) -> dict[str, float]:
        """The stage, as `Reward` tells it."""
        return {f"stage/{other.label}": float(self.outcome.stage is other) for other in Stage}

    @property
    def parts(self) -> dict[str, float]:
        """None: nothing was earned."""
        return {}

    @property
    def record(self) -> dict[str, Any]:
        """The outcome as JSON."""
        return self.outcome.to_dict()
