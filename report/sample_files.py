"""Files of samples, which need not fit into memory: where each row is, and a choice of rows read again.

samples.jsonl of a run is chosen from by iteration, evaluation_samples.jsonl by problem, so that every model
keeps the same ones. The choice is even, and the same every time.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from report.rows import ReportError, Row, check_iteration, is_number, parse_row, rows_of


@dataclass(frozen=True)
class SampleIndex:
    """Where the samples are: key (iteration, or name of a model) -> offset and problem of every row."""

    path: Path = Path()
    places: Mapping[Any, Sequence[tuple[int, str]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.places.values()))

    def read(self, chosen: Mapping[Any, Sequence[int]]) -> Iterator[tuple[Any, int, Row]]:
        """(key, number among the rows of the key, row) of the chosen rows: key -> numbers."""
        if not chosen:
            return
        with self.path.open("rb") as lines:
            for key, numbers in chosen.items():
                for number in numbers:
                    lines.seek(self.places[key][number][0])
                    yield key, number, parse_row(lines.readline(), str(self.path))


def index_samples(path: Path, key: str, notes: list[str]) -> SampleIndex:
    """Look through a file of samples; an empty index where there is none.

    Args:
        key: "iteration" or "model", what the rows are of.
        notes: told of an unfinished last line.

    Raises:
        ReportError: a row that is no sample.
    """
    places: dict[Hashable, list[tuple[int, str]]] = {}
    for where, offset, row in rows_of(path, notes):
        _check(row, where, key)
        places.setdefault(row[key], []).append((offset, str(row.get("problem", ""))))
    return SampleIndex(path, places)


def index_tokens(path: Path, notes: list[str]) -> SampleIndex:
    """The same of tokens.jsonl, whose rows belong to samples."""
    places: dict[Hashable, list[tuple[int, str]]] = {}
    for where, offset, row in rows_of(path, notes):
        check_iteration(row, where)
        places.setdefault(row["iteration"], []).append((offset, ""))
    return SampleIndex(path, places)


def _check(row: Row, where: str, key: str) -> None:
    if key == "iteration":
        check_iteration(row, where)
    elif not isinstance(row.get(key), str):
        raise ReportError(f"{where}: a sample of an evaluation needs the name of its {key}")
    if not isinstance(row.get("program"), str):
        raise ReportError(f"{where}: a sample needs its program as a string")
    if row.get("score") is not None and not is_number(row["score"]):
        raise ReportError(f"{where}: score must be a number or null")
    if not isinstance(row.get("verdict"), dict | None):
        raise ReportError(f"{where}: verdict must be an object or null")


def choose_iterations(index: SampleIndex, limit: int, best: int | None) -> dict[int, list[int]]:
    """Whole iterations, evenly spaced, as many as have `limit` samples together at most.

    All of them where they fit; else the first, the last and the best on validation are among them, if so many
    fit. Where not even one fits, an even choice of the last one's samples.
    """
    every = sorted(index.places)
    at_most = min(len(every), len(every) * limit // max(1, len(index)) + 1)  # iterations are much alike
    for count in range(at_most, 0, -1):
        chosen = {every[i] for i in evenly(len(every), count)}
        if best is not None and best in index.places:
            chosen.add(best)
        if sum(len(index.places[i]) for i in chosen) <= limit:
            return {i: list(range(len(index.places[i]))) for i in sorted(chosen)}
    return {i: evenly(len(index.places[i]), limit) for i in every[-1:]}


def choose_problems(index: SampleIndex, limit: int) -> dict[str, list[int]]:
    """All samples of some problems, evenly spaced: as many as have `limit` samples together at most."""
    every = list(dict.fromkeys(problem for places in index.places.values() for _, problem in places))
    kept = {every[i] for i in evenly(len(every), len(every) * limit // max(1, len(index)))}
    return {
        model: [number for number, (_, problem) in enumerate(places) if problem in kept]
        for model, places in index.places.items()
    }


def evenly(length: int, count: int) -> list[int]:
    """Up to `count` of the places 0 … length - 1, with the first and the last (of one: the last)."""
    if count >= length:
        return list(range(length))
    if count <= 1:
        return [length - 1][:count]
    return [i * (length - 1) // (count - 1) for i in range(count)]
