"""Run folders and evaluation.json as plain values, checked on the way in.

Logs are append-only JSON lines. The log of a run that is under way, or was killed, may end in half a line;
that line is left out and the report says so. Anything else that is not as it should be is an error that names
file and line.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class ReportError(ValueError):
    """A log is missing, empty or malformed; the message is one line."""


@dataclass(frozen=True)
class Run:
    """What one run folder holds."""

    name: str
    metrics: list[Row]  # one row per iteration, numbers only; iteration 0 is the start, validation only
    timing: list[Row]  # the same with seconds; empty where there is no timing.jsonl
    samples: dict[int, list[Row]]  # for the chosen iterations
    config: str  # text of config.yaml, "" where there is none
    notes: list[str] = field(default_factory=list)  # what was left out on reading

    @property
    def best(self) -> int | None:
        """Iteration with the highest validation all-pass, the earliest of equals, as training ranks them."""
        points = [point for point in self.series("validation/all_pass") if not math.isnan(point[1])]
        return max(points, key=lambda p: (p[1], -p[0]))[0] if points else None

    def series(self, name: str) -> list[tuple[int, float]]:
        """(iteration, value) wherever the metric was logged, in metrics or in timing."""
        return [(row["iteration"], row[name]) for row in (*self.metrics, *self.timing) if name in row]


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """All runs, under the shortest names that tell them apart.

    Raises:
        ReportError: a folder without metrics.jsonl, or a malformed log.
    """
    return [_read_run(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]


def read_evaluation(path: Path) -> Row:
    """The content of an evaluation.json whose models each have a name, intervals and stage shares.

    Raises:
        ReportError: missing, not JSON, or not an evaluation.
    """
    try:
        content = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ReportError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise ReportError(f"{path}: not an evaluation: nested too deeply") from None
    models = content.get("models") if isinstance(content, dict) else None
    if not isinstance(models, list) or not models:
        raise ReportError(f"{path}: not an evaluation: it has no list of models")
    for index, model in enumerate(models):
        _check_model(model, f"{path}: models[{index}]")
    return content


def _check_model(model: Any, where: str) -> None:
    if not isinstance(model, dict) or not isinstance(model.get("name"), str):
        raise ReportError(f"{where}: a model needs a name")
    for key, value in model.items():
        if isinstance(value, dict) and not all(map(_is_number, value.values())):
            raise ReportError(f"{where}.{key}: every value must be a number")
        if isinstance(value, dict) and "mean" in value and not {"low", "high"} <= value.keys():
            raise ReportError(f"{where}.{key}: an interval needs mean, low and high")


def _read_run(folder: Path, name: str) -> Run:
    notes: list[str] = []
    metrics_file = folder / "metrics.jsonl"
    if not metrics_file.is_file():
        raise ReportError(f"{folder}: no metrics.jsonl there{_hint(folder)}")
    metrics = list(_number_rows(metrics_file, notes))
    if not metrics:
        raise ReportError(f"{metrics_file}: empty; the run has not logged an iteration yet")
    config = folder / "config.yaml"
    run = Run(
        name,
        metrics,
        timing=list(_number_rows(folder / "timing.jsonl", notes)),
        samples={},
        config=_text(config) if config.is_file() else "",
        notes=notes,
    )
    _add_samples(run, folder / "samples.jsonl")
    return run


def _hint(folder: Path) -> str:
    inner = sorted(path.parent.name for path in folder.glob("*/metrics.jsonl"))
    return f"; is it {folder / inner[0]}?" if inner else ""


def _add_samples(run: Run, path: Path) -> None:
    """Keep the samples of the chosen iterations only: a long run's samples do not fit in memory."""
    wanted = chosen_iterations(run)
    for where, row in _rows(path, run.notes):
        if not isinstance(row.get("program"), str):
            raise ReportError(f"{where}: a sample needs its program as a string")
        if row.get("score") is not None and not _is_number(row["score"]):
            raise ReportError(f"{where}: score must be a number or null")
        if not isinstance(row.get("verdict"), dict | None):
            raise ReportError(f"{where}: verdict must be an object or null")
        if row["iteration"] in wanted:
            run.samples.setdefault(row["iteration"], []).append(row)


def chosen_iterations(run: Run) -> list[int]:
    """Training iterations whose samples are shown: first, middle, last, and the best on validation."""
    trained = [row["iteration"] for row in run.metrics if row["iteration"] > 0]
    if not trained:
        return []
    chosen = {trained[0], trained[len(trained) // 2], trained[-1], run.best}
    return sorted(i for i in chosen if i in trained)


def _number_rows(path: Path, notes: list[str]) -> Iterator[Row]:
    previous = -1
    for where, row in _rows(path, notes):
        row.pop("slowest_problem", None)  # the one text in timing.jsonl, for people
        if wrong := [name for name, value in row.items() if not _is_number(value)]:
            raise ReportError(f"{where}: {wrong[0]} is not a number")
        if row["iteration"] <= previous:
            raise ReportError(f"{where}: iteration {row['iteration']} follows iteration {previous}")
        previous = row["iteration"]
        yield row


def _rows(path: Path, notes: list[str]) -> Iterator[tuple[str, Row]]:
    """("file:line", row) of a log; nothing for a file that is not there."""
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}:{number}"
            try:
                row = _row(line, where)
            except ReportError:
                if line.endswith(b"\n"):
                    raise
                notes.append(f"{path.name}: line {number} is unfinished and left out")
                return
            yield where, row


def _row(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{where}: not JSON: {error}") from None
    iteration = row.get("iteration") if isinstance(row, dict) else None
    if type(iteration) is not int or not 0 <= iteration < 1e9:
        raise ReportError(f"{where}: not a log row: it has no iteration number")
    return row


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReportError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise ReportError(f"{path}: not UTF-8 at byte {error.start}") from None


def _is_number(value: object) -> bool:
    """NaN is one: a mean over nothing is logged as NaN, and curves leave a gap there. Not so 10**400."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 1e300)


def _names(folders: Sequence[Path]) -> list[str]:
    """`a/ppo` and `b/ppo` keep their parents, `a/one` and `a/two` do not need them."""
    parts = [folder.absolute().parts for folder in folders]
    longest = max(map(len, parts), default=1)
    for depth in range(1, longest + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ReportError("the same run is named twice")


def as_mapping(value: Any) -> Row:
    """The value if it is an object, else an empty one: optional parts of records."""
    return value if isinstance(value, dict) else {}
