"""Files of problems as bytes and text: plain or gzipped, or a folder of APPS tasks; written whole or not.

What a file is, its first bytes say, never its name. This module knows nothing of what a row means.
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data import apps_folder
from data.rows import RowsError, rows

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"PAR1": "a Parquet file; `train.py prepare` makes problems of it",
    b"PK\x03\x04": "a zip archive; unpack it and name the file in it",
    b"BZh": "compressed with bzip2; unpack it, or use gzip",
    b"\xfd7zXZ": "compressed with xz; unpack it, or use gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it, or use gzip",
    b"\xff\xfe": "UTF-16; convert the file to UTF-8",
    b"\xfe\xff": "UTF-16; convert the file to UTF-8",
}
"""How kinds of files begin that hold no text, and what to do with each."""


class DataError(ValueError):
    """A file of problems that cannot be used; one line: where it is, what is wrong, what to do."""


def located_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(where, row) of every row of a file, at FILE:LINE, or of every APPS task of a folder, or DataError."""
    if path.is_dir():
        try:
            for folder in apps_folder.tasks(path):
                yield f"{folder}", apps_folder.row(folder)
        except apps_folder.FolderError as error:
            raise DataError(str(error)) from None
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check it") from None
        return
    try:
        for line, row in rows(_text(path)):
            yield f"{path}:{line}", row
    except RowsError as error:
        raise DataError(f"{path}:{error.line}: {error}") from None


def appended_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """("FILE:LINE", row) of a log of JSON lines, one row in memory at a time, or DataError.

    The log of a run that was killed may end in half a line, which is left out.
    """
    try:
        lines = path.open("rb")
    except IsADirectoryError:
        raise DataError(f"{path}: a folder; name the samples.jsonl in it") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    with lines:
        for number, line in enumerate(lines, 1):
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                if not line.endswith(b"\n"):
                    return
                raise DataError(f"{where}: not JSON: is this a file of samples?") from None
            yield where, row


def write_atomically(path: Path, payload: bytes) -> None:
    """Temporary file in the same folder, fsync, rename: a reader or a crash never meets half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}:1: cannot be written ({error.strerror}); check folder and space") from None
    finally:
        temporary.unlink(missing_ok=True)


def _text(path: Path) -> str:
    try:
        payload = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; check the path") from None
    except OSError as error:
        raise DataError(f"{path}:1: cannot be read ({error.strerror}); check type and permissions") from None
    if payload.startswith(_GZIP):
        try:
            payload = gzip.decompress(payload)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise DataError(f"{path}:1: the gzip file is damaged or cut off; fetch it again") from None
    for start, what in _OTHERS.items():
        if payload.startswith(start):
            raise DataError(f"{path}:1: this is {what}")
    try:
        text = payload.decode("utf-8-sig")  # a byte order mark, as Windows editors write it, is no content
    except UnicodeDecodeError as error:
        line = payload.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8 (byte {error.start}); convert the file to UTF-8") from None
    if not text.strip():
        raise DataError(f"{path}: the file is empty; write one problem per line as JSON")
    return text
