"""Run folders and evaluation.json as plain values, checked on the way in.

What is not as it should be is an error that names file and line; how single lines are read stands in
`report.rows`.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from report.about import About, about_run
from report.rows import ReportError, Row, check_iteration, is_number, read_text, rows_of
from report.sample_files import SampleIndex, index_samples, index_tokens


@dataclass(frozen=True)
class Evaluation:
    """A file that evaluate.py wrote, and the samples beside it."""

    content: Row
    samples: SampleIndex  # by model
    notes: list[str] = field(default_factory=list)

    @property
    def models(self) -> list[Row]:
        """What was measured of each."""
        return self.content["models"]


@dataclass(frozen=True)
class Run:
    """What one run folder holds."""

    name: str
    metrics: list[Row]  # one row per iteration, numbers only; iteration 0 is the start, validation only
    timing: list[Row] = field(
        default_factory=list
    )  # the same with seconds; empty where there is no timing.jsonl
    samples: SampleIndex = field(default_factory=SampleIndex)  # rows of samples.jsonl, by iteration
    tokens: SampleIndex = field(default_factory=SampleIndex)  # rows of tokens.jsonl, by iteration
    config: str = ""  # text of config.yaml, "" where there is none
    about: About = field(default_factory=About)
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


def read_evaluations(paths: Sequence[Path]) -> list[Evaluation]:
    """All evaluations, each with the samples that evaluate.py wrote beside it, if they are there still.

    Raises:
        ReportError: see `read_evaluation`; or malformed samples.
    """
    found = []
    for path in paths:
        notes: list[str] = []
        content = read_evaluation(path)
        found.append(Evaluation(content, index_samples(_beside(path), "model", notes), notes))
    return found


def _beside(path: Path) -> Path:
    """Where evaluate.py puts the samples of an evaluation."""
    name = "evaluation_samples.jsonl"
    return path.with_name(name if path.stem == "evaluation" else f"{path.stem}_{name}")


def read_evaluation(path: Path) -> Row:
    """The content of an evaluation.json whose models each have a name, intervals and stage shares.

    Raises:
        ReportError: missing, not JSON, or not an evaluation.
    """
    try:
        content = json.loads(read_text(path))
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
    """Raise ReportError where what is drawn (intervals and shares of stages) cannot be."""
    if not isinstance(model, dict) or not isinstance(model.get("name"), str):
        raise ReportError(f"{where}: a model needs a name")
    for key, value in model.items():
        drawn = isinstance(value, dict) and (key == "stages" or "mean" in value)
        if drawn and not all(map(is_number, value.values())):
            raise ReportError(f"{where}.{key}: every value must be a number")
        if drawn and key != "stages" and not {"low", "high"} <= value.keys():
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
    written = read_text(config) if config.is_file() else ""
    return Run(
        name,
        metrics,
        timing=list(_number_rows(folder / "timing.jsonl", notes)),
        samples=index_samples(folder / "samples.jsonl", "iteration", notes),
        tokens=index_tokens(folder / "tokens.jsonl", notes),
        config=written,
        about=about_run(folder, written),
        notes=notes,
    )


def _hint(folder: Path) -> str:
    inner = sorted(path.parent.name for path in folder.glob("*/metrics.jsonl"))
    return f"; is it {folder / inner[0]}?" if inner else ""


def _number_rows(path: Path, notes: list[str]) -> Iterator[Row]:
    previous = -1
    for where, _, row in rows_of(path, notes):
        check_iteration(row, where)
        row.pop("slowest_problem", None)  # the one text in timing.jsonl, for people
        if wrong := [name for name, value in row.items() if not is_number(value)]:
            raise ReportError(f"{where}: {wrong[0]} is not a number")
        if row["iteration"] <= previous:
            raise ReportError(f"{where}: iteration {row['iteration']} follows iteration {previous}")
        previous = row["iteration"]
        yield row


def _names(folders: Sequence[Path]) -> list[str]:
    """`a/ppo` and `b/ppo` keep their parents, `a/one` and `a/two` do not need them."""
    parts = [folder.absolute().parts for folder in folders]
    longest = max(map(len, parts), default=1)
    for depth in range(1, longest + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ReportError("the same run is named twice")
