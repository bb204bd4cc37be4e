"""Rows of a Parquet file, group by group: files of 18 GB exist, and most of their columns are of no use."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from data.files import DataError
from data.formats.known import format_of, missing

_BATCH = 64  # rows made into Python objects at a time


def parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) of every row, at FILE:row N, with the columns that its format reads, or DataError."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = _columns(path, file.schema_arrow.names)
            number = 0
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(_BATCH, row_groups=[group], columns=columns):
                    for row in batch.to_pylist():
                        number += 1
                        yield f"{path}:row {number}", row
    except pyarrow.ArrowException as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path}: not a whole Parquet file ({reason}); fetch it again") from None


def _columns(path: Path, names: list[str]) -> list[str]:
    form = format_of(names)
    if form is None:
        raise DataError(f"{path}: the columns are those of no known set: {missing(names)}")
    return [name for name in names if name in form.columns | form.keys]
