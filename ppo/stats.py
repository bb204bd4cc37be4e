"""What an update saw and did, in sums, and the means of them that are logged."""

from collections import Counter
from collections.abc import Mapping

from ppo.checks import check_skipped

Sums = Mapping[str, float]
"""Sums over tokens by metric name, `<room>/<what>`; `<room>/tokens` is their number."""


class UpdateStats:
    """Collects over the minibatches of one update."""

    def __init__(self, skipped_in_a_row: int = 0) -> None:
        """`skipped_in_a_row`: optimizer steps that overflowed at the end of the last update."""
        self.sums: Counter[str] = Counter()
        self.norms: Counter[str] = Counter()
        """Of the gradients, over the steps that had finite ones"""
        self.first_logratio: float | None = None
        self.optimizer_steps = 0
        self.skipped_steps = 0
        self.skipped_in_a_row = skipped_in_a_row
        self.guarded_steps = 0
        self.stopped_early = False

    def stepped(self, norms: Mapping[str, float], *, skipped: bool) -> None:
        """Count an optimizer step. Raises TrainingError where too many in a row were skipped."""
        self.optimizer_steps += 1
        self.skipped_steps += skipped
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0
        if not skipped:
            self.norms.update(norms)
        check_skipped(self.skipped_in_a_row)

    def metrics(self) -> dict[str, float]:
        """What is logged: means over tokens, gradient norms per step taken, and counts."""
        taken = max(self.optimizer_steps - self.skipped_steps, 1)
        return {
            **token_means(self.sums),
            **{f"ppo/{name}": norm / taken for name, norm in self.norms.items()},
            "ppo/first_logratio": self.first_logratio or 0.0,
            "ppo/optimizer_steps": self.optimizer_steps,
            "ppo/skipped_steps": self.skipped_steps,
            "ppo/skipped_in_a_row": self.skipped_in_a_row,
            "ppo/guarded_steps": self.guarded_steps,
            "ppo/stopped_early": int(self.stopped_early),
        }


def token_means(sums: Sums) -> dict[str, float]:
    """Every sum divided by the number of tokens that it runs over."""
    return {
        name: value / max(sums[f"{name.rpartition('/')[0]}/tokens"], 1)
        for name, value in sums.items()
        if not name.endswith("/tokens")
    }
