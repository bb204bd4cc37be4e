"""Which objective applies when. The facts about a program do not change; what they are worth may.

A schedule is a weight per iteration, numbered by how many are complete: R goes from the true objective
(weight 0: all tests passed, or nothing) to the configured one (weight 1: the ladder) in a straight line, see
`objective.mix`.

    constant            the configured objective throughout
    binary-to-partial   weight 0 until iteration `switch_at`, 1 from then on: the curriculum of the paper's
                        PPO-continue (section 4) inside one run
    linear              weight `start` until iteration `switch_at`, then in equal steps to `end` within `over`
    auto                weight `start`, then moved either way by what programs do: see controller.py

The ladder is not potential-based (shaping.py shows which policies it puts in the wrong order), so any of them
can end on what is really wanted: from `anneal_at` on, the weight that holds there falls to 0 within
`anneal_over` iterations, and never rises again.

Beside the weight, `difficulty` says what each test of the ladder is worth, by how seldom it is passed; 1, all
alike, is the default. See difficulty.py.

A change of objective moves every score. What a trainer has measured of earlier scores (baselines, running
scales) is worth nothing after `active` has changed. Outcomes replayed in the order of their iterations give
every weight back, so stored ones can be judged again under the objective that held.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from reward.compare import RewardError
from reward.controller import MixController, Thresholds
from reward.difficulty import PassRates
from reward.functional import Stage
from reward.objective import Reward, RewardConfig, mix, objective, true_objective
from reward.outcome import Outcome

Kind = Literal["constant", "binary-to-partial", "linear", "auto"]
KINDS: tuple[Kind, ...] = ("constant", "binary-to-partial", "linear", "auto")

# A slow mix moves a little in every iteration. Forgetting everything each time would leave a trainer without
# statistics; statistics that mix objectives further apart than this would be of none.
JUMP = 0.1


@dataclass(frozen=True)
class ScheduleConfig:
    """When the objective changes."""

    kind: Kind = "constant"
    """One objective throughout (constant), all-or-nothing and then the ladder (binary-to-partial), a mix that
    moves evenly (linear), or one that follows solve rate and stages (auto)."""
    switch_at: int = 0
    """Completed iterations at which the ladder begins (binary-to-partial) or the mix starts to move."""
    over: int = 100
    """Iterations that a linear move takes, >= 1."""
    start: float = 0.0
    """Weight of the ladder at the start, in [0, 1]; read with linear and auto."""
    end: float = 1.0
    """Weight of the ladder at the end of a linear move, in [0, 1]."""
    auto: Thresholds = field(default_factory=Thresholds)
    anneal_at: int | None = None
    """Completed iterations at which the weight starts to fall to 0, the true objective (None: never)."""
    anneal_over: int = 100
    """Iterations that this fall takes, >= 1."""
    difficulty: float = 1.0
    """How many times as much as another a test of a problem can weigh in the ladder, for being passed more
    seldom, in [1, 1000]; 1: every test weighs the same."""
    difficulty_memory: int = 64
    """Programs for a problem that the pass rates of its tests look back on, >= 1; read with difficulty."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RewardError(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        for name, least in (("switch_at", 0), ("over", 1), ("anneal_over", 1), ("difficulty_memory", 1)):
            _count(name, getattr(self, name), least)
        if self.anneal_at is not None:
            _count("anneal_at", self.anneal_at, 0)
        for name in ("start", "end"):
            _within(name, getattr(self, name), 0.0, 1.0)
        _within("difficulty", self.difficulty, 1.0, 1000.0)

    @property
    def moves(self) -> bool:
        """Whether more than one mix can apply."""
        return self.kind != "constant" or self.anneal_at is not None

    @property
    def weighs(self) -> bool:
        """Whether tests of a problem can weigh differently."""
        return self.difficulty > 1.0

    @property
    def follows(self) -> bool:
        """Whether a reward depends on more than its program: on the iteration, or on programs before it."""
        return self.moves or self.weighs


class RewardSchedule:
    """An objective per iteration. Ask for rewards, then `observe` them, iteration by iteration."""

    def __init__(self, config: RewardConfig | None = None, schedule: ScheduleConfig | None = None) -> None:
        self.config = config or RewardConfig()
        self.schedule = schedule or ScheduleConfig()
        if self.schedule.moves and self.config.mode != "partial":
            raise RewardError("a schedule mixes the ladder with mode binary by itself: leave mode at partial")
        if self.schedule.weighs and self.config.mode != "partial":
            raise RewardError(
                "difficulty weighs the tests of the ladder, which mode binary has not: leave it at 1"
            )
        self._controller = MixController(self.schedule.auto, self.schedule.start)
        self._rates = PassRates(self.schedule.difficulty, self.schedule.difficulty_memory)
        self._observed = -1  # the last iteration seen
        self._named: float | None = None  # the weight that `active` named last

    def weight(self, iteration: int) -> float:
        """Weight of the configured objective in this iteration's mix, in [0, 1].

        Under `auto` it is that of the iteration after the last one observed, whichever is asked for.
        """
        anneal_at = self.schedule.anneal_at
        if anneal_at is None or iteration <= anneal_at:
            return self._unannealed(iteration)
        left = 1.0 - (iteration - anneal_at) / self.schedule.anneal_over
        return max(0.0, left) * self._unannealed(anneal_at)

    def _unannealed(self, iteration: int) -> float:
        schedule = self.schedule
        if schedule.kind == "auto":
            return self._controller.weight
        if schedule.kind == "binary-to-partial":
            return float(iteration >= schedule.switch_at)
        if schedule.kind == "linear":
            done = min(1.0, max(0.0, (iteration - schedule.switch_at) / schedule.over))
            return schedule.end if done == 1.0 else schedule.start + done * (schedule.end - schedule.start)
        return 1.0

    def active(self, iteration: int) -> str:
        """The name of the objective: while it stays the same, what was measured of scores holds.

        ``"partial"``, ``"binary"`` or ``"mix 0.25"``. A mix keeps its name until it has moved by JUMP.
        """
        weight = self._named_weight(iteration)
        return self.config.mode if weight == 1.0 else f"mix {weight:.9g}" if weight else "binary"

    def changes(self, iteration: int) -> bool:
        """Whether the objective has another name than in the last iteration observed."""
        return self._named is not None and self._named_weight(iteration) != self._named

    def _named_weight(self, iteration: int) -> float:
        weight = self.weight(iteration)
        kept = self._named is not None and abs(weight - self._named) <= JUMP - 1e-9
        return self._named if kept and self._named is not None else weight

    def reward(self, outcome: Outcome, iteration: int, problem: str | None = None) -> Reward:
        """R of an outcome under the objective of this iteration; its metrics tell what is not the default.

        `problem`: the id of what the program is for, by which `difficulty` knows its tests; needed with it.
        """
        weight = self.weight(iteration)
        told: dict[str, float] = {}
        fraction = None
        if self.schedule.weighs:
            fraction = self._rates.fraction(_known(problem), outcome)
            told["reward/weighed_fraction"] = (
                outcome.passed / outcome.num_tests if fraction is None else fraction
            )
        if self.schedule.moves:
            told["reward/partial_weight"] = weight
        reward = mix(outcome, self.config, weight, fraction)
        return replace(reward, metrics=reward.metrics | told) if told else reward

    def total(self, outcome: Outcome, iteration: int, problem: str | None = None) -> float:
        """R alone."""
        return self.reward(outcome, iteration, problem).total

    def rewards(
        self, outcomes: Sequence[Outcome | None], iteration: int, problems: Sequence[str] | None = None
    ) -> list[Reward | None]:
        """One reward per outcome; a fault stays None. `problems`: their ids, as in `reward`."""
        return [
            None if outcome is None else self.reward(outcome, iteration, problem)
            for outcome, problem in self._paired(outcomes, problems)
        ]

    def observe(
        self, iteration: int, outcomes: Sequence[Outcome | None], problems: Sequence[str] | None = None
    ) -> None:
        """Tell the schedule what the programs of an iteration did, once they are scored; as in `rewards`.

        Raises RewardError unless iterations come in order: a mix that moved on the same programs twice would
        not be the one that a resumed or replayed run finds.
        """
        if iteration <= self._observed:
            raise RewardError(f"iteration {iteration} observed after iteration {self._observed}")
        self._named = self._named_weight(iteration)
        self._observed = iteration
        annealing = self.schedule.anneal_at is not None and iteration >= self.schedule.anneal_at
        if self.schedule.kind == "auto" and not annealing:
            seen = [outcome for outcome in outcomes if outcome is not None]
            if seen:  # an iteration of faults is no news
                true = true_objective(self.config)
                solve = sum(objective(outcome, true).functional == 1.0 for outcome in seen) / len(seen)
                climbed = sum(outcome.stage >= Stage.PRINTS for outcome in seen) / len(seen)
                self._controller.observe(solve, climbed)
        if self.schedule.weighs:
            for outcome, problem in self._paired(outcomes, problems):
                if outcome is not None:
                    self._rates.observe(_known(problem), outcome)

    def _paired(
        self, outcomes: Sequence[Outcome | None], problems: Sequence[str] | None
    ) -> Iterator[tuple[Outcome | None, str | None]]:
        return zip(outcomes, [None] * len(outcomes) if problems is None else problems, strict=True)

    def state_dict(self) -> dict[str, Any]:
        """JSON-able; holds the configuration too, so that a run cannot be resumed under another objective."""
        config = json.loads(json.dumps(asdict(self.config)))  # tuples are lists, as they come back
        return {
            "observed": self._observed,
            "named": self._named,
            "controller": self._controller.state_dict(),
            "pass_rates": self._rates.state_dict(),
            "config": config,
            "schedule": asdict(self.schedule),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken. RewardError if that was under another configuration.

        A state from before there was `difficulty` goes on without it.
        """
        ours = self.state_dict()
        before = {"difficulty": 1.0, "difficulty_memory": ScheduleConfig.difficulty_memory}
        theirs = {"config": state["config"], "schedule": before | state["schedule"]}
        for part in ("config", "schedule"):
            changed = [key for key in ours[part] if theirs[part].get(key) != ours[part][key]]
            if changed:
                raise RewardError(
                    f"the saved reward {part} differs in {', '.join(changed)}: resume with the same"
                )
        self._observed = int(state["observed"])
        self._named = state["named"]
        self._controller.load_state_dict(state["controller"])
        self._rates.load_state_dict(state.get("pass_rates", {}))


def _known(problem: str | None) -> str:
    if problem is None:
        raise RewardError("difficulty needs to know which problem a program is for")
    return problem


def _within(name: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise RewardError(f"{name} must be a number in [{least:g}, {most:g}], not {value!r}")


def _count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise RewardError(f"{name} must be a whole number >= {least}, not {value!r}")
