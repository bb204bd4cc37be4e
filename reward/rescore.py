"""`python -m reward.rescore runs/x/samples.jsonl --config other.yaml`: what another objective would pay.

The programs of a run are judged again from their stored facts, under the objective and schedule of section
`ppo` of another preset; nothing is run. First the run's own config.yaml (beside the samples) must give back
every logged reward, bit for bit: otherwise the file is not what the run wrote, and comparing is of no use.
Without --config that is all that is done.

What it cannot tell is how training would have gone: other rewards would have made other programs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from entry import prepare
from reward.compare import RewardError
from reward.functional import Stage
from reward.objective import Reward
from reward.schedule import RewardSchedule
from reward.stored import (
    StoredObjective,
    StoredSample,
    check_answerable,
    read_iterations,
    read_objective,
)


@dataclass(frozen=True)
class Change:
    """One program under both objectives."""

    where: str
    iteration: int  # as the logs count, from 1
    problem: str
    stage: str
    before: float
    after: float


@dataclass(frozen=True)
class Comparison:
    """Every scored program of a run, and what is left out."""

    changes: list[Change]  # also of rewards that stayed the same
    faults: int
    unknown_idle: int = 0  # silent programs of old records, which do not say whether they read their input

    def summary(self) -> dict[str, Any]:
        """Means, how many rewards differ, and how often two programs of an iteration change their order."""
        reversed_, pairs = _reversed_pairs(self.changes)
        stages = [stage.label for stage in Stage]
        return {
            "programs": len(self.changes),
            "faults": self.faults,
            "unknown_idle": self.unknown_idle,
            "changed": sum(change.before != change.after for change in self.changes),
            "mean": _means(self.changes),
            "stages": {
                stage: _means(found)
                for stage in stages
                if (found := [change for change in self.changes if change.stage == stage])
            },
            "pairs": pairs,
            "reversed_pairs": reversed_,
        }


def rejudge(path: Path, objective: StoredObjective) -> Iterator[tuple[int, StoredSample, Reward | None]]:
    """(iteration, sample, its reward under `objective`), iteration by iteration as the schedule needs it."""
    schedule = RewardSchedule(objective.config, objective.schedule)
    for iteration, samples in read_iterations(path):
        for sample in samples:
            yield iteration, sample, _judge(sample, schedule, iteration)
        problems = [sample.problem for sample in samples]
        schedule.observe(iteration, [sample.outcome for sample in samples], problems)


def verify(path: Path, original: StoredObjective) -> None:
    """RewardError unless the run's own objective gives back every logged reward exactly."""
    for _, sample, reward in rejudge(path, original):
        if (reward.total if reward else None) != sample.score:
            raise RewardError(
                f"{sample.where}: the log says {sample.score}, the run's own config.yaml gives "
                f"{reward.total if reward else None}: one of the files was changed, or the run resumed "
                "under another objective"
            )


def compare(path: Path, original: StoredObjective, asked: StoredObjective) -> Comparison:
    """Both objectives on the same facts."""
    changes, faults, unknown_idle = [], 0, 0
    both = zip(rejudge(path, original), rejudge(path, asked), strict=True)
    for (iteration, sample, before), (_, _, after) in both:
        if before is None or after is None:
            faults += 1
            continue
        unknown_idle += sample.outcome is not None and sample.outcome.idle is None
        changes.append(
            Change(sample.where, iteration + 1, sample.problem, before.stage.label, before.total, after.total)
        )
    return Comparison(changes, faults, unknown_idle)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; returns 0, or 2 after an error, told in one line."""
    parser = argparse.ArgumentParser(
        prog="python -m reward.rescore",
        description="A run's programs under another objective, without running.",
    )
    parser.add_argument("samples", type=Path, help="samples.jsonl of a run, beside its config.yaml")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="preset whose section ppo has the objective"
    )
    parser.add_argument("--show", type=int, default=10, metavar="N", help="largest changes to list (10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every change there")
    given = parser.parse_args(arguments)
    try:
        _run(given)
    except RewardError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or given.samples}: {(error.strerror or str(error)).lower()}")
    return 0


def _run(given: argparse.Namespace) -> None:
    original = read_objective(given.samples.with_name("config.yaml"))
    asked = read_objective(given.config) if given.config else original
    if given.config:
        check_answerable(original, asked, given.config)
    verify(given.samples, original)
    comparison = compare(given.samples, original, asked)
    summary = comparison.summary()
    print(f"{summary['programs']} programs, {summary['faults']} faults; every logged reward reproduced")
    if comparison.unknown_idle:
        print(
            f"{comparison.unknown_idle} silent programs have a record that does not say whether they read "
            "their input: they are judged as if they had"
        )
    if given.config:
        print(_table(summary))
        ranked = sorted(comparison.changes, key=lambda change: -abs(change.after - change.before))
        for change in ranked[: given.show]:
            if change.before != change.after:
                print(_line(change))
    if given.json:
        rows = [asdict(change) for change in comparison.changes]
        given.json.write_text(json.dumps({**summary, "rewards": rows}, indent=1) + "\n", encoding="utf-8")


def _judge(sample: StoredSample, schedule: RewardSchedule, iteration: int) -> Reward | None:
    if sample.outcome is None:
        return None
    try:
        return schedule.reward(sample.outcome, iteration, sample.problem)
    except RewardError as error:  # the facts do not answer
        raise RewardError(f"{sample.where}: {error}") from None


def _means(changes: Sequence[Change]) -> dict[str, float]:
    count = max(1, len(changes))
    return {
        "programs": len(changes),
        "before": sum(change.before for change in changes) / count,
        "after": sum(change.after for change in changes) / count,
    }


def _reversed_pairs(changes: Sequence[Change]) -> tuple[int, int]:
    """Of the pairs of an iteration: those put in opposite orders, those that either puts in an order."""
    by_iteration: dict[int, list[Change]] = {}
    for change in changes:
        by_iteration.setdefault(change.iteration, []).append(change)
    turned = ordered = 0
    for group in by_iteration.values():
        for position, one in enumerate(group):
            for other in group[:position]:
                before, after = one.before - other.before, one.after - other.after
                ordered += before != 0 or after != 0
                turned += before * after < 0
    return turned, ordered


def _table(summary: dict[str, Any]) -> str:
    lines = [f"{'':14}{'programs':>9}{'logged R':>10}{'new R':>10}"]
    for name, means in {"all": summary["mean"], **summary["stages"]}.items():
        lines.append(f"{name:14}{means['programs']:>9}{means['before']:>10.4f}{means['after']:>10.4f}")
    lines.append(
        f"{summary['changed']} rewards changed; {summary['reversed_pairs']} of {summary['pairs']} ordered "
        "pairs of an iteration change places"
    )
    return "\n".join(lines)


def _line(change: Change) -> str:
    return (
        f"{change.where}  iteration {change.iteration}  {change.problem}  {change.stage}  "
        f"{change.before:.4f} -> {change.after:.4f}"
    )


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    prepare()
    sys.exit(main())
