"""What an evaluation keeps beside its table: every sample, with all that one needs to judge it by reading."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Keep = Callable[[str, Sequence[Mapping[str, Any]]], None]
"""Takes the name of a model and the rows of its samples."""


def beside(out: Path, name: str) -> Path:
    """Where a file of the evaluation in `out` goes: evaluation.json has them under their plain names."""
    return out.with_name(name if out.stem == "evaluation" else f"{out.stem}_{name}")


@contextmanager
def sample_file(out: Path | None) -> Iterator[Keep]:
    """Write evaluation_samples.jsonl beside `out`, model by model; it has its name once the block ends well.

    Without `out` nothing is kept.
    """
    if out is None:
        yield lambda model, rows: None
        return
    target = beside(out, "evaluation_samples.jsonl")
    partial = target.with_name(target.name + ".partial")
    try:
        with partial.open("wb") as file:

            def keep(model: str, rows: Sequence[Mapping[str, Any]]) -> None:
                for row in rows:
                    file.write(json.dumps({"model": model, **row}, ensure_ascii=False).encode() + b"\n")

            yield keep
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
