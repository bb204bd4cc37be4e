"""What a run keeps of its programs and of its objective, read back: samples.jsonl and config.yaml.

Reading only; nothing is run and nothing is unpickled. Whatever is not as this version writes it is a
RewardError that names file and line, or file and key.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import yaml

from data.files import DataError, appended_rows
from reward.compare import RewardError
from reward.objective import RewardConfig
from reward.outcome import Outcome
from reward.schedule import ScheduleConfig

T = TypeVar("T")

# Settings of a run, outside the objective, that decided what its programs did.
_FACTS = ("limits", "scoring", "reward")
_COST = ("share_children", "overlap")  # what programs do is the same either way


@dataclass(frozen=True)
class StoredSample:
    """One line of samples.jsonl: the facts, and the reward that was logged for them."""

    where: str  # file:line
    problem: str
    program: str
    outcome: Outcome | None  # None after a sandbox fault
    score: float | None


@dataclass(frozen=True)
class StoredObjective:
    """The sections of a run's settings that decide rewards, and those that decided the facts."""

    config: RewardConfig
    schedule: ScheduleConfig
    facts: Mapping[str, Any]  # as written; what is not there has its default


def read_iterations(path: Path) -> Iterator[tuple[int, list[StoredSample]]]:
    """(iteration as the scorer counts, from 0; its samples), one iteration in memory at a time.

    The log of a run that was killed may end in half a line, which is left out.
    """
    for iteration, rows in groupby(_rows(path), key=lambda row: row[1]["iteration"]):
        yield iteration - 1, [_sample(where, row) for where, row in rows]


def read_objective(path: Path) -> StoredObjective:
    """The section `ppo` of a config.yaml or preset; what it leaves out has its default."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise RewardError(f"{path}{f':{mark.line + 1}' if mark else ''}: not YAML") from None
    section = content.get("ppo") if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise RewardError(f"{path}: no section ppo, which holds objective and schedule")
    return StoredObjective(
        build(RewardConfig, section.get("objective") or {}, f"{path}: ppo.objective"),
        build(ScheduleConfig, section.get("schedule") or {}, f"{path}: ppo.schedule"),
        {key: section[key] for key in _FACTS if section.get(key) is not None},
    )


def check_answerable(stored: StoredObjective, asked: StoredObjective, where: Path) -> None:
    """RewardError if `asked` changes something that stored facts cannot answer: they would be other facts."""
    for key, value in asked.facts.items():
        ours = stored.facts.get(key)
        if isinstance(value, dict):
            changed = [
                f"{key}.{name}"
                for name in value
                if isinstance(ours, dict) and value[name] != ours.get(name) and name not in _COST
            ]
        else:
            changed = [key] if value != ours else []
        if changed:
            raise RewardError(
                f"{where}: ppo.{changed[0]} differs from the run's: what programs would have done under it "
                "was not stored; leave it out, or score the programs again"
            )


def build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """A settings dataclass from plain values; unknown keys and impossible values are a RewardError."""
    if not isinstance(values, Mapping):
        raise RewardError(f"{where}: must hold keys and values, not {values!r}")
    hints = typing.get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1)
            raise RewardError(f"{where}: unknown key {key!r}{f'; did you mean {close[0]}?' if close else ''}")
        nested = dataclasses.is_dataclass(hints[key])
        arguments[key] = build(hints[key], value, f"{where}.{key}") if nested else value
    try:
        return kind(**arguments)
    except (RewardError, TypeError) as error:  # a text where a number belongs fails in its comparison
        raise RewardError(f"{where}: {error}") from None


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        for where, row in appended_rows(path):
            if not isinstance(row, dict) or type(row.get("iteration")) is not int:
                raise RewardError(f"{where}: not a sample: it has no iteration number")
            yield where, row
    except DataError as error:
        raise RewardError(str(error)) from None


def _sample(where: str, row: dict[str, Any]) -> StoredSample:
    try:
        problem, program, score, record = (row[key] for key in ("problem", "program", "score", "verdict"))
    except KeyError as error:
        raise RewardError(f"{where}: not a sample of this version: it has no {error}") from None
    if record is None:
        return StoredSample(where, problem, program, None, score)
    if not record:
        raise RewardError(f"{where}: scored by a function of the user's, which keeps no facts")
    try:
        return StoredSample(where, problem, program, Outcome.from_dict(record), score)
    except RewardError as error:
        raise RewardError(f"{where}: {error}") from None
