"""JSONL files of a run: rows are appended; a checkpoint keeps their lengths, a resume cuts back to them."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.errors import ModelError


class LogFiles:
    """Some files of one run folder, open for appending; those that are not there are made."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self._files = {name: (folder / name).open("ab") for name in names}

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Write a row as a line of JSON; `flush` shows it to whoever reads the file meanwhile."""
        self._files[name].write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def flush(self) -> None:
        """Hand what was appended to the operating system."""
        for file in self._files.values():
            file.flush()

    def offsets(self) -> dict[str, int]:
        """Length of every file in bytes, once it is on disk; for the checkpoint."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        return {name: file.tell() for name, file in self._files.items()}

    def truncate(self, offsets: Mapping[str, int]) -> None:
        """Cut the files back to where a checkpoint saw them.

        Raises:
            ModelError: one is shorter than it was then.
        """
        for name, file in self._files.items():
            if file.seek(0, os.SEEK_END) < offsets[name]:
                raise ModelError(f"{self.folder / name}: shorter than its checkpoint says; was it edited?")
            file.truncate(offsets[name])
            file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            # What was left to write failed before, and was told then: on a full disk it would fail again.
            with contextlib.suppress(OSError):
                file.close()
