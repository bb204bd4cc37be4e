"""Which objective applies when. The facts about a program do not change; what they are worth may.

    constant            one configuration throughout
    binary-to-partial   all-or-nothing until iteration `switch_at`, the ladder from then on: the curriculum
                        of the paper's PPO-continue (section 4) inside one run

A new kind is a line in `KINDS` and a branch in `config_at`; what it learns from the run it gets through
`observe`, and what it must remember it puts in `state_dict`. A change of objective moves every score: what a
trainer has measured of earlier scores is worth nothing after `active` changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from reward.compare import RewardError
from reward.objective import Reward, RewardConfig, objective
from reward.outcome import Outcome

Kind = Literal["constant", "binary-to-partial"]
KINDS: tuple[Kind, ...] = ("constant", "binary-to-partial")


@dataclass(frozen=True)
class ScheduleConfig:
    """When the objective changes."""

    kind: Kind = "constant"
    """One objective throughout (constant), or all-or-nothing first, then the ladder (binary-to-partial)."""
    switch_at: int = 0
    """First iteration of the ladder, >= 0; read with kind binary-to-partial only."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RewardError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if isinstance(self.switch_at, bool) or not isinstance(self.switch_at, int) or self.switch_at < 0:
            raise RewardError(f"switch_at must be an iteration >= 0, not {self.switch_at!r}")


class RewardSchedule:
    """An objective per iteration.

    The binary phase gates security by `passes`: otherwise parsing alone would earn beta there, and a reward
    that is meant to be sparse would be a dense reward for syntax.
    """

    def __init__(self, config: RewardConfig | None = None, schedule: ScheduleConfig | None = None) -> None:
        self.config = config or RewardConfig()
        self.schedule = schedule or ScheduleConfig()
        self._observed = -1  # the last iteration seen
        if self.schedule.kind == "binary-to-partial" and self.config.mode != "partial":
            raise RewardError("a binary-to-partial schedule ends in mode partial: leave mode at partial")

    def config_at(self, iteration: int) -> RewardConfig:
        """The configuration that judges the programs of this iteration."""
        if self.schedule.kind == "constant" or iteration >= self.schedule.switch_at:
            return self.config
        return replace(self.config, mode="binary", security_gate="passes")

    def active(self, iteration: int) -> str:
        """The name of the objective in force, for logs: its mode."""
        return self.config_at(iteration).mode

    def reward(self, outcome: Outcome, iteration: int) -> Reward:
        return objective(outcome, self.config_at(iteration))

    def total(self, outcome: Outcome, iteration: int) -> float:
        return self.reward(outcome, iteration).total

    def rewards(self, outcomes: Iterable[Outcome | None], iteration: int) -> list[Reward | None]:
        """One reward per outcome; a fault stays None."""
        return [None if outcome is None else self.reward(outcome, iteration) for outcome in outcomes]

    def observe(self, iteration: int, rewards: Iterable[Reward | None] = ()) -> None:
        """Tell the schedule what an iteration earned; the present kinds only keep count of iterations."""
        if iteration <= self._observed:
            raise RewardError(f"iteration {iteration} observed after iteration {self._observed}")
        self._observed = iteration

    def state_dict(self) -> dict[str, Any]:
        """JSON-able; holds the configuration too, so that a run cannot be resumed under another objective."""
        config = json.loads(json.dumps(asdict(self.config)))  # tuples are lists, as they come back
        return {"observed": self._observed, "config": config, "schedule": asdict(self.schedule)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken. RewardError if that was under another configuration."""
        ours = self.state_dict()
        for part in ("config", "schedule"):
            changed = [key for key in ours[part] if state[part].get(key) != ours[part][key]]
            if changed:
                raise RewardError(
                    f"the saved reward {part} differs in {', '.join(changed)}: resume with the same"
                )
        self._observed = int(state["observed"])
