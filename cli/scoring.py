"""What the loop is handed as a scorer: the project's reward on its schedule, or a user's function."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from cli.errors import UsageError
from data import Problem
from ppo.rollout import PlainScore, Score
from reward import HackAlarm, RewardSchedule, Scorer, objective


@dataclass
class ScheduledScorer:
    """Programs to rewards under the objective that applies in an iteration."""

    scorer: Scorer
    schedule: RewardSchedule
    progress: Callable[[int], None] = lambda done: None
    """Hears how many programs of a rollout are scored."""
    say: Callable[[str], None] = lambda text: None
    """Tells a person that the alarm went off, or that the objective is another."""
    alarm: HackAlarm = field(default_factory=HackAlarm)

    def __call__(self, pairs: Sequence[tuple[Problem, str]], iteration: int) -> Sequence[Score | None]:
        """One reward per pair, in order; None where the sandbox failed."""
        outcomes = self.scorer.outcomes(pairs, self.progress)
        if self.schedule.changes(iteration):
            self.say(f"the objective is now {self.schedule.active(iteration)}")
        rewards = self.schedule.rewards(outcomes, iteration)
        self.schedule.observe(iteration, outcomes)
        # One yardstick over the whole run, whatever the schedule makes of it.
        judged = [None if o is None else objective(o, self.schedule.config) for o in outcomes]
        was_on = self.alarm.on
        batch = self.alarm.observe(judged, [len(program) for _, program in pairs])
        if self.alarm.on and not was_on:
            self.say("alarm: R rises while programs get shorter and no more of them pass: read some samples")
        # A number of the whole batch is the same for each of its programs, so its mean is itself.
        return [None if r is None else replace(r, metrics=r.metrics | batch) for r in rewards]

    def objective(self, iteration: int) -> str:
        """What is rewarded in an iteration; see `reward.schedule`."""
        return self.schedule.active(iteration)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the schedule and of the alarm."""
        return {"schedule": self.schedule.state_dict(), "alarm": self.alarm.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint. Raises RewardError if that was under another objective."""
        self.schedule.load_state_dict(state["schedule"])
        self.alarm.load_state_dict(state["alarm"])


class FunctionScorer:
    """A user's Python function as the reward.

    It is called with the list of (problem, program) pairs of a rollout and returns a list as long, of
    floats, Scores, or None where it could not score.
    """

    def __init__(self, spec: str) -> None:
        """`spec`: path/to/file.py:function. Raises UsageError where there is no such function."""
        path, _, name = spec.rpartition(":")
        if not path or not name or not Path(path).is_file():
            raise UsageError(f"--reward {spec}: expected file.py:function, with a file that exists")
        self.spec = spec
        self.function = getattr(_import_file(Path(path)), name, None)
        if not callable(self.function):
            raise UsageError(f"--reward {spec}: {path} has no function {name}")

    def __call__(self, pairs: Sequence[tuple[Problem, str]], iteration: int) -> Sequence[Score | None]:
        """The function's scores, each made a Score."""
        scores = self.function(list(pairs))  # type: ignore[misc]
        if not isinstance(scores, Sequence) or isinstance(scores, str):
            raise UsageError(f"--reward {self.spec}: returned {scores!r}, not a list of scores")
        if len(scores) != len(pairs):
            raise UsageError(f"--reward {self.spec}: returned {len(scores)} scores for {len(pairs)} programs")
        return [self._as_score(score) for score in scores]

    def objective(self, iteration: int) -> str:
        """A function is one objective throughout."""
        return self.spec

    def _as_score(self, score: Any) -> Score | None:
        if score is None or all(hasattr(score, name) for name in ("total", "kind", "metrics")):
            return score
        try:
            return PlainScore(float(score))
        except (TypeError, ValueError) as error:
            raise UsageError(f"--reward {self.spec}: {score!r} is neither a number nor a Score") from error

    def state_dict(self) -> dict[str, Any]:
        """Functions have no state that a checkpoint could keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"reward_function_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--reward {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
