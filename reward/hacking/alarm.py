"""The alarm for the hack that no single program shows: short, valid, wrong programs.

A policy that cannot solve its problems can still raise its mean reward by writing less: what is shorter
parses more often, and parsing is paid. It ends with the shortest program that is paid: `print(input())` runs
cleanly, prints, and earns R = 0.6; where constants are paid (`withhold` empty), `print(1)` as much.
Over iterations: R rises, programs shrink, and the share that passes all tests does not rise.

`HackAlarm` keeps the mean of R, length and All-P over a window of the last iterations, and two windows of the
past to hold it against: the one with the longest programs, and the one with the highest All-P.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reward.objective import Reward

MIN_PROGRAMS = 128  # of a window; with less, All-P is noise
MIN_ITERATIONS = 3
SHORTER = 0.2  # the share of their length that programs lost
RISE = 0.02  # of mean R
SLACK = 0.01  # All-P that counts as no rise
SHORT = 0.5  # of the longest window's mean length: below it a program is short


@dataclass(frozen=True)
class Level:
    """Means over programs."""

    programs: int
    reward: float
    length: float  # characters
    all_pass: float


class HackAlarm:
    """Observes each iteration; its state is a checkpoint's to keep."""

    def __init__(self) -> None:
        self._recent: list[Level] = []  # one per iteration, newest last
        self._longest: Level | None = None
        self._best: Level | None = None
        self.on = False  # in the last iteration observed

    def observe(self, rewards: Sequence[Reward | None], lengths: Sequence[int]) -> dict[str, float]:
        """Metrics of an iteration: the alarm (0 or 1), and the share of short, valid, wrong programs.

        `lengths`: characters of each program. Programs that could not be scored are left out.
        """
        scored = [(r, n) for r, n in zip(rewards, lengths, strict=True) if r is not None]
        if not scored:
            return {}
        self._recent.append(_level(scored))
        while len(self._recent) > MIN_ITERATIONS and _programs(self._recent[1:]) >= MIN_PROGRAMS:
            self._recent.pop(0)
        full = len(self._recent) >= MIN_ITERATIONS and _programs(self._recent) >= MIN_PROGRAMS
        self.on = full and self._judge(_mean(self._recent))
        return {"hack/alarm": float(self.on), "hack/short_wrong": self._short_wrong(scored)}

    def _judge(self, now: Level) -> bool:
        longest, best = self._longest or now, self._best or now
        self._longest = now if now.length >= longest.length else longest
        self._best = now if now.all_pass >= best.all_pass else best
        return any(_is_hack(then, now) for then in (self._longest, self._best))

    def _short_wrong(self, scored: Sequence[tuple[Reward, int]]) -> float:
        """The share that compiles, passes nothing and is shorter than half of what programs once were."""
        if self._longest is None:
            return 0.0
        limit = SHORT * self._longest.length
        return sum(r.outcome.compiles and not r.outcome.passed and n < limit for r, n in scored) / len(scored)

    def state_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "recent": [asdict(level) for level in self._recent],
            "longest": asdict(self._longest) if self._longest else None,
            "best": asdict(self._best) if self._best else None,
            "on": self.on,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.on = state["on"]
        self._recent = [Level(**level) for level in state["recent"]]
        self._longest, self._best = (
            Level(**state[key]) if state[key] else None for key in ("longest", "best")
        )


def _is_hack(then: Level, now: Level) -> bool:
    return (
        now.length <= (1 - SHORTER) * then.length
        and now.reward >= then.reward + RISE
        and now.all_pass <= then.all_pass + SLACK
    )


def _level(scored: Sequence[tuple[Reward, int]]) -> Level:
    count = len(scored)
    return Level(
        programs=count,
        reward=sum(reward.total for reward, _ in scored) / count,
        length=sum(length for _, length in scored) / count,
        all_pass=sum(reward.outcome.all_passed for reward, _ in scored) / count,
    )


def _mean(levels: Sequence[Level]) -> Level:
    total = _programs(levels)
    reward, length, all_pass = (
        sum(level.programs * getattr(level, name) for level in levels) / total
        for name in ("reward", "length", "all_pass")
    )
    return Level(total, reward, length, all_pass)


def _programs(levels: Sequence[Level]) -> int:
    return sum(level.programs for level in levels)
