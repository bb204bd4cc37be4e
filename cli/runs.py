"""Run folders: made once, never overwritten by accident."""

import shutil
from pathlib import Path
from typing import Any

from cli.errors import UsageError
from cli.settings import dump

# What a run leaves behind; a folder that holds anything else is not one of ours to clear.
_OURS = {
    "config.yaml",
    "model",
    "sft.json",
    "metrics.jsonl",
    "timing.jsonl",
    "samples.jsonl",
    "tensorboard",
    "checkpoints",
    "evaluation.json",
    "report.html",
    "sft",
    "ppo",
}


def create_run(folder: Path, settings: Any, section: str, *, overwrite: bool) -> None:
    """An empty run folder with its config.yaml.

    Raises:
        UsageError: it exists and `overwrite` is False, or it holds files that no run writes.
        OSError: no permission, no space.
    """
    clear_run(folder, overwrite=overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(dump(settings, section), encoding="utf-8")


def clear_run(folder: Path, *, overwrite: bool) -> None:
    """Make sure that `folder` can be written as a new run."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give another --out")
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    if not overwrite:
        raise UsageError(
            f"{folder}: this run exists; go on with --resume {folder} or replace it with --overwrite"
        )
    if foreign := sorted(name for name in names if name.removesuffix(".partial") not in _OURS):
        raise UsageError(
            f"{folder}: holds {foreign[0]!r}, which no run writes; --overwrite will not delete it"
        )
    shutil.rmtree(folder)
