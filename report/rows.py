"""Lines of logs, and files of text, checked on the way in.

Logs are append-only JSON lines. The log of a run that is under way, or was killed, may end in half a line;
that line is left out and the report says so. Anything else that is not as it should be is an error that names
file and line.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class ReportError(ValueError):
    """A log is missing, empty or malformed; the message is one line."""


def rows_of(path: Path, notes: list[str]) -> Iterator[tuple[str, int, Row]]:
    """("file:line", offset in bytes, row) of a log; nothing for a file that is not there.

    Args:
        notes: told of an unfinished last line.

    Raises:
        ReportError: a line that ends as it should is no JSON object.
    """
    if not path.is_file():
        return
    offset = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}:{number}"
            try:
                row = parse_row(line, where)
            except ReportError:
                if line.endswith(b"\n"):
                    raise
                notes.append(f"{path.name}: line {number} is unfinished and left out")
                return
            yield where, offset, row
            offset += len(line)


def parse_row(line: bytes, where: str) -> Row:
    """One line of a log. Raises ReportError, with `where`, if it is no JSON object."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{where}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ReportError(f"{where}: not a log row: it has no iteration number")
    return row


def check_iteration(row: Row, where: str) -> None:
    """Raise ReportError where a row has no iteration number that could be one."""
    iteration = row.get("iteration")
    if type(iteration) is not int or not 0 <= iteration < 1e9:
        sft = "; a run of train.py sft has no report, its curves are in tensorboard/" if "step" in row else ""
        raise ReportError(f"{where}: not a log row: it has no iteration number{sft}")


def read_text(path: Path) -> str:
    """The text of a file. Raises ReportError where there is none, or bytes that are no text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReportError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise ReportError(f"{path}: not UTF-8 at byte {error.start}") from None


def is_number(value: object) -> bool:
    """NaN is one: a mean over nothing is logged as NaN, and curves leave a gap there. Not so 10**400."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 1e300)


def as_mapping(value: Any) -> Row:
    """The value if it is an object, else an empty one: optional parts of records."""
    return value if isinstance(value, dict) else {}
