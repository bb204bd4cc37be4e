"""What `train.py prepare` is pointed at -> rows: a file, a folder of files, or APPS's or CWEval's folders.

A file's name says which split its rows are of, where they do not say so themselves: hub sets come as
train-00000-of-00009.parquet, and APPS as folders train/ and test/.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from data import apps_folder
from data.files import DataError, located_rows
from data.formats import cweval

_DATA = (".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz")
# What sets call a split, and what it is here.
SPLITS = {
    "train": "train",
    **dict.fromkeys(("heldout", "test", "eval"), "heldout"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}
_SPLIT = re.compile(rf"({'|'.join(SPLITS)})(?![a-z])")


class Row(NamedTuple):
    """One row, where it stands, and the split that its file's name tells."""

    where: str
    row: Any
    split: str | None


def files_of(source: Path) -> list[Path]:
    """The files of a source in order: itself, or those of a folder and of the folders in it."""
    if not source.is_dir():
        return [source]
    return [path for path in sorted(source.rglob("*")) if path.name.endswith(_DATA) and path.is_file()]


def source_rows(source: Path) -> Iterator[Row]:
    """Every row of a source, in order. Raises DataError."""
    if source.is_dir() and (tasks := _apps_folders(source)):
        for split, folder in tasks:
            for where, row in located_rows(folder):
                yield Row(where, row | {"id": f"{split}/{row['id']}"} if split else row, split)
        return
    if source.is_dir() and (rows := list(cweval.task_rows(source))):
        yield from (Row(where, row, None) for where, row in rows)
        return
    files = files_of(source)
    if not files:
        raise DataError(
            f"{source}: no APPS task (question.txt) and no file ending in {', '.join(_DATA)} in it"
        )
    for path in files:
        split = split_of(path.name)
        yield from (Row(where, row, split) for where, row in _file_rows(path))


def split_of(name: str) -> str | None:
    """`train`, `heldout` or `validation` by the name of a file or folder, None if it does not say."""
    match = _SPLIT.match(name.lower())
    return None if match is None else SPLITS[match[1]]


def _apps_folders(source: Path) -> list[tuple[str | None, Path]]:
    """The folder itself if it holds APPS tasks, or its folders by split if they do; none otherwise."""
    for folders in ([source], sorted(child for child in source.iterdir() if child.is_dir())):
        found = []
        for folder in folders:
            try:
                apps_folder.tasks(folder)
            except apps_folder.FolderError:
                continue
            found.append((None if folder == source else split_of(folder.name) or folder.name, folder))
        if found:
            return found
    return []


def _file_rows(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        with path.open("rb") as file:
            is_parquet = file.read(4) == b"PAR1"
    except OSError:
        is_parquet = False  # the reader of text says what is wrong
    if is_parquet:
        from data.formats.parquet import parquet_rows  # late: data is used where pyarrow is not installed

        yield from parquet_rows(path)
    else:
        yield from located_rows(path)
