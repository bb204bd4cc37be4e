"""Trouble that shows in the numbers while a run goes on, said once and in plain words.

A warning stops nothing: it is a reason to look. `warning/<name>` is logged as 1 for as long as it holds.
"""

from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any

from ppo.config import PPOConfig

EARLY, RECENT = 3, 5  # iterations that stand for the start of a run, and for now

WORN = 0.1  # of the entropy at the start
BLOWN_UP = -1.0  # explained variance: the critic's error is twice what a constant's would be
PILED_UP = 0.9  # share of one outcome
SHORTER = 0.8  # of the length at the start
CUT = 0.5  # of the responses
STILL = 1e-7  # of the weights' norm in an iteration: float32 rounds most of it away

_WATCHED = (
    "reward/mean",
    "reward/all_pass",
    "rollout/program_length",
    "rollout/ended",
    "ppo/kl_coef",
    "ppo/entropy",
    "ppo/explained_var",
    "ppo/update_norm",
    "ppo/weight_norm",
)


class Watch:
    """Remembers the start and the last iterations of a run, and says what looks wrong."""

    def __init__(self, config: PPOConfig) -> None:
        self.config = config
        self.early: list[dict[str, float]] = []
        self.recent: list[dict[str, float]] = []
        self.rewards: dict[str, float] = {}
        """Outcome -> its mean reward when it last occurred."""
        self.told: list[str] = []

    def observe(self, iteration: int, metrics: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
        """Take in an iteration (counted from 1): what holds, as metrics, and what is new, as sentences."""
        self._remember(metrics)
        holding = {name: said for name, check in _CHECKS.items() for said in check(self, iteration)}
        new = [said for name, said in holding.items() if name not in self.told]
        self.told = list(holding)
        return {f"warning/{name}": 1.0 for name in holding}, [f"warning: {said}" for said in new]

    def early_and_recent(self, metric: str) -> tuple[float, float] | None:
        """Medians over the start and over the last iterations; None before they are apart."""
        early, recent = self._values(self.early, metric), self._values(self.recent, metric)
        if len(early) < EARLY or len(recent) < RECENT:
            return None
        return median(early), median(recent)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"early": self.early, "recent": self.recent, "rewards": self.rewards, "told": self.told}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.early, self.recent = list(state["early"]), list(state["recent"])
        self.rewards, self.told = dict(state["rewards"]), list(state["told"])

    def _remember(self, metrics: Mapping[str, float]) -> None:
        by_outcome = {name for name in metrics if name.startswith("outcome/")}
        kept = {name: metrics[name] for name in (*_WATCHED, *sorted(by_outcome)) if name in metrics}
        for name in by_outcome:
            if name.endswith("/reward"):
                self.rewards[name.removeprefix("outcome/").removesuffix("/reward")] = metrics[name]
        if len(self.early) < EARLY:
            self.early.append(kept)
        else:
            self.recent = [*self.recent[-(RECENT - 1) :], kept]

    @staticmethod
    def _values(rows: list[dict[str, float]], metric: str) -> list[float]:
        return [row[metric] for row in rows if metric in row]


def _kl_off(watch: Watch, iteration: int) -> Iterator[str]:
    coefficient = [*watch.early, *watch.recent][-1]["ppo/kl_coef"]
    if coefficient < 1e-8:
        yield f"the KL penalty is off (kl_coef {coefficient:.2g}): nothing holds the policy near SFT"


def _entropy_collapse(watch: Watch, iteration: int) -> Iterator[str]:
    ends = watch.early_and_recent("ppo/entropy")
    if ends and ends[1] < WORN * ends[0]:
        yield (
            f"the entropy fell from {ends[0]:.2f} to {ends[1]:.3f} nats per token: the policy hardly "
            "explores any more; raise kl_coef or entropy_coef, or lower the learning rate"
        )


def _critic_blow_up(watch: Watch, iteration: int) -> Iterator[str]:
    ends = watch.early_and_recent("ppo/explained_var")
    if watch.config.uses_critic and ends and ends[1] < BLOWN_UP:
        yield (
            f"the critic is far worse than a constant (explained variance {ends[1]:.1f}): lower "
            "value_learning_rate, or scale the rewards"
        )


def _pile_up(watch: Watch, iteration: int) -> Iterator[str]:
    for outcome, reward in watch.rewards.items():
        shares = [row.get(f"outcome/{outcome}/share", 0.0) for row in watch.recent]
        better = [other for other, worth in watch.rewards.items() if worth > reward]
        if len(shares) == RECENT and min(shares) >= PILED_UP and better:
            yield (
                f"{shares[-1]:.0%} of the programs end up as {outcome!r}, although {better[0]!r} earns "
                "more: the reward may be easier to please than the problems are to solve; read some samples"
            )


def _shorter(watch: Watch, iteration: int) -> Iterator[str]:
    length, reward = (watch.early_and_recent(name) for name in ("rollout/program_length", "reward/mean"))
    passing = watch.early_and_recent("reward/all_pass")
    if length and reward and length[1] <= SHORTER * length[0] and reward[1] > reward[0]:
        solved = f"; All-P from {passing[0]:.0%} to {passing[1]:.0%}" if passing else ""
        yield (
            f"programs went from {length[0]:.0f} to {length[1]:.0f} characters while R rose from "
            f"{reward[0]:.2f} to {reward[1]:.2f}{solved}: short and wrong, or only short? Read some samples"
        )


def _cut(watch: Watch, iteration: int) -> Iterator[str]:
    """From the first iteration on: a run whose answers do not end is seldom worth its time."""
    ended = watch._values([*watch.early, *watch.recent][-EARLY:], "rollout/ended")
    if ended and median(ended) < 1 - CUT:
        longest = watch.config.max_new_tokens
        yield (
            f"{1 - ended[-1]:.0%} of the responses were cut at max_new_tokens ({longest}), and most programs "
            "that are cut cannot pass: raise it, ask for the code only, or let it cost (missing_eos_penalty)"
        )


def _still(watch: Watch, iteration: int) -> Iterator[str]:
    rows = [*watch.early, *watch.recent][-EARLY:]
    moved = [row["ppo/update_norm"] <= STILL * row["ppo/weight_norm"] for row in rows]
    if iteration >= watch.config.critic_warmup + EARLY and len(moved) >= EARLY and all(moved):
        yield (
            f"the weights have not moved for {len(moved)} iterations: no advantage, every step skipped, or a "
            "learning rate that is lost in rounding"
        )


_CHECKS: dict[str, Callable[[Watch, int], Iterator[str]]] = {
    "kl_off": _kl_off,
    "entropy_collapse": _entropy_collapse,
    "critic_blow_up": _critic_blow_up,
    "pile_up": _pile_up,
    "shorter_programs": _shorter,
    "cut_responses": _cut,
    "weights_still": _still,
}
