"""What the loop is handed as a scorer: the project's reward on its schedule, or a user's function."""

import importlib.util
import inspect
import json
import math
import reprlib
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from cli.errors import UsageError
from cli.time_limit import time_limit
from data import Problem
from ppo.credit import Traceback
from ppo.parallel import ALONE, World
from ppo.rollout import PlainScore, Score
from reward import HackAlarm, Outcome, RewardSchedule, Scorer, objective
from reward.budget import program_times

REWARD_SECONDS = 600.0  # for one call of a user's function


@dataclass
class ScheduledScorer:
    """Programs to rewards under the objective that applies in an iteration."""

    scorer: Scorer
    schedule: RewardSchedule
    progress: Callable[[int], None] = lambda done: None
    """Hears how many programs of a rollout are scored."""
    say: Callable[[str], None] = lambda text: None
    """Tells a person that the alarm went off, or that the objective is another."""
    note: Callable[[Mapping[str, float | str]], None] = lambda timing: None
    """Hears what the programs of a rollout took, for timing.jsonl."""
    alarm: HackAlarm = field(default_factory=HackAlarm)
    world: World = ALONE
    """A rank runs the programs of its share; schedule and alarm see all, on every rank."""

    def __call__(self, pairs: Sequence[tuple[Problem, str]], iteration: int) -> Sequence[Score | None]:
        """One reward per pair, in order; None where the sandbox failed."""
        outcomes = self._outcomes(pairs)
        if self.schedule.changes(iteration):
            self.say(f"the objective is now {self.schedule.active(iteration)}")
        problems = [problem.id for problem, _ in pairs]
        rewards = self.schedule.rewards(outcomes, iteration, problems)
        self.schedule.observe(iteration, outcomes, problems)
        # One yardstick over the whole run, whatever the schedule makes of it.
        judged = [None if o is None else objective(o, self.schedule.config) for o in outcomes]
        was_on = self.alarm.on
        batch = self.alarm.observe(judged, [len(program) for _, program in pairs])
        if self.alarm.on and not was_on:
            self.say("alarm: R rises while programs get shorter and no more of them pass: read some samples")
        # A number of the whole batch is the same for each of its programs, so its mean is itself.
        return [None if r is None else replace(r, metrics=r.metrics | batch) for r in rewards]

    def begin(self, problem: Problem, program: str) -> None:
        """Run a program of this rank's share while others are still sampled; see `Scorer.begin`."""
        self.scorer.begin(problem, program)

    def _outcomes(self, pairs: Sequence[tuple[Problem, str]]) -> list[Outcome | None]:
        """What the programs did, by all ranks; what they took is noted."""
        own, size = pairs[self.world.rows(len(pairs))], self.world.size

        def run() -> tuple[list[Outcome | None], list[tuple[float, str]]]:
            seconds: list[tuple[float, str]] = []
            outcomes = self.scorer.outcomes(
                own, lambda done: self.progress(done * size), timed=lambda *one: seconds.append(one)
            )
            return outcomes, seconds

        outcomes, seconds = zip(*self.world.each(run), strict=True)
        self.note(program_times([one for part in seconds for one in part]))
        return [outcome for part in outcomes for outcome in part]

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


@dataclass(frozen=True)
class _FunctionScore(PlainScore):
    """A user's Score, its numbers plain floats."""

    parts: Mapping[str, float] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    tracebacks: Sequence[Traceback | None] = ()


class FunctionScorer:
    """A user's Python function as the reward.

    It is called with the list of (problem, program) pairs of a rollout and returns as many numbers (a list,
    an array or a tensor of floats), Scores, or None where it could not score. Whatever goes wrong in it is
    the user's to mend: UsageError, in one line that names the function, and the line of theirs that raised.
    """

    def __init__(self, spec: str, seconds: float = REWARD_SECONDS, world: World = ALONE) -> None:
        """`spec`: path/to/file.py:function; `seconds`: for one call. UsageError if there is none such.

        `world`: each rank calls it with its share of the pairs.
        """
        self.spec = spec
        self._path, name = file_and_function(spec)
        self._seconds = seconds
        self._world = world
        with self._guarded():
            module = _import_file(self._path)
        self.function = getattr(module, name, None)
        if not callable(self.function):
            raise UsageError(f"--reward {spec}: {self._path} has no function {name}")

    def check(self, problem: Problem) -> None:
        """Call it once, before anything is waited for: what is wrong with it shows at the start."""
        program = problem.solutions[0] if problem.solutions else "print()\n"
        self._scores([(problem, program)])

    def __call__(self, pairs: Sequence[tuple[Problem, str]], iteration: int) -> Sequence[Score | None]:
        """The function's scores, each made a Score."""
        return self._world.spread(pairs, self._scores)

    def begin(self, problem: Problem, program: str) -> None:
        """Nothing: a function is handed the whole rollout."""

    def _scores(self, pairs: Sequence[tuple[Problem, str]]) -> Sequence[Score | None]:
        with self._guarded():  # what it returned is its code too: attributes, lengths, conversions
            returned = self.function(list(pairs))  # type: ignore[misc]
            if inspect.iscoroutine(returned):
                returned.close()  # unawaited, it would warn into what is said of it
                raise self._error("is async; write it as a plain function, which returns the scores")
            scores = returned.tolist() if hasattr(returned, "tolist") else returned  # an array, a tensor
            if not isinstance(scores, Sequence) or isinstance(scores, (str, bytes)):
                raise self._error(f"returned {_shown(returned)}, not a list of scores")
            scores = list(scores)
            if len(scores) != len(pairs):
                raise self._error(f"returned {len(scores)} scores for {len(pairs)} programs")
            return [self._as_score(score, problem) for score, (problem, _) in zip(scores, pairs, strict=True)]

    def objective(self, iteration: int) -> str:
        """A function is one objective throughout."""
        return self.spec

    def _as_score(self, score: Any, problem: Problem) -> Score | None:
        if score is None:
            return None
        if not all(hasattr(score, name) for name in ("total", "kind", "metrics")):
            return PlainScore(self._number(score, problem))
        if not isinstance(score.kind, str) or not score.kind:
            raise self._error(f"kind {_shown(score.kind)} for problem {problem.id!r} is no name")
        if not isinstance(score.metrics, Mapping):
            raise self._error(f"metrics {_shown(score.metrics)} for problem {problem.id!r} are no mapping")
        return _FunctionScore(
            self._number(score.total, problem),
            score.kind,
            self._numbers(score.metrics, problem),
            self._numbers(getattr(score, "parts", {}), problem),
            json.loads(json.dumps(dict(getattr(score, "record", {})))),  # as samples.jsonl will keep it
            self._tracebacks(getattr(score, "tracebacks", ()), problem),
        )

    def _tracebacks(self, given: Any, problem: Problem) -> Sequence[Traceback | None]:
        """What token credit reads of a Score: see `ppo.credit`."""
        if isinstance(given, Sequence) and all(run is None or _is_traceback(run) for run in given):
            return [None if run is None else (run[0], run[1]) for run in given]
        raise self._error(
            f"tracebacks {_shown(given)} for problem {problem.id!r} are not one entry per run: None, or "
            "(line of the module's own code or None, innermost line), counted from 1"
        )

    def _numbers(self, values: Mapping[Any, Any], problem: Problem) -> dict[str, float]:
        return {str(name): self._number(value, problem) for name, value in values.items()}

    def _number(self, value: Any, problem: Problem) -> float:
        """Of an int, a float, or a scalar of numpy or torch."""
        plain = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(plain, (int, float)):
            raise self._error(f"{_shown(value)} for problem {problem.id!r} is neither a number nor a Score")
        try:
            number = float(plain)
        except OverflowError:  # an int of hundreds of digits
            number = math.inf
        if not math.isfinite(number):
            raise self._error(f"{_shown(plain)} for problem {problem.id!r}: a score must be a finite number")
        return number

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """The user's code runs: with a time limit, its errors told in one line."""
        late = f"--reward {self.spec}: not back within {self._seconds:g} s (--reward-seconds)"
        try:
            with time_limit(self._seconds, late):
                yield
        except (UsageError, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit too: a reward must not end a run as if all were well
            raise self._error(f"{_named(error)}{self._where(error)}") from error

    def _where(self, error: BaseException) -> str:
        """The innermost line of the user's file that an error came through."""
        if isinstance(error, SyntaxError) and error.lineno is not None:
            return f" ({error.filename}:{error.lineno})"
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == self._path.resolve()]
        return f" ({self._path}:{lines[-1]})" if lines else ""

    def _error(self, text: str) -> UsageError:
        return UsageError(f"--reward {self.spec}: {text}")

    def state_dict(self) -> dict[str, Any]:
        """Functions have no state that a checkpoint could keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


def file_and_function(spec: str) -> tuple[Path, str]:
    """The two parts of file.py:function. Raises UsageError where it is none, or there is no such file."""
    path, _, name = spec.rpartition(":")
    if not path or not name or not Path(path).is_file():
        raise UsageError(f"--reward {spec}: expected file.py:function, with a file that exists")
    return Path(path), name


def _is_traceback(run: Any) -> bool:
    """Two numbers of lines; the first may be None."""
    if not isinstance(run, Sequence) or len(run) != 2:
        return False
    return all(type(line) is int and line > 0 for line in run if line is not None) and run[1] is not None


def _named(error: BaseException) -> str:
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # an error of the user's own class that cannot say what it is
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _shown(value: object) -> str:
    return reprlib.repr(value)


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"reward_function_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"--reward {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
