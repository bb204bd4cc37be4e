"""Run folders: made once, never overwritten by accident."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cli.errors import UsageError
from cli.settings import dump

# What each command leaves behind; a folder that holds anything else is not its to clear.
SFT_FILES = {"config.yaml", "model", "sft.json", "metrics.jsonl"}
PPO_FILES = {
    "config.yaml",
    "metrics.jsonl",
    "timing.jsonl",
    "samples.jsonl",
    "tensorboard",
    "checkpoints",
    "report.html",
}
DEMO_FILES = {"sft", "ppo", "evaluation.json", "report.html"}


def create_run(
    folder: Path,
    settings: Any,
    section: str,
    *,
    files: set[str],
    overwrite: bool,
    inputs: Iterable[str | Path | None] = (),
) -> None:
    """An empty run folder with its config.yaml.

    Args:
        files: names that such a run writes. `inputs`: paths that the run reads.

    Raises:
        UsageError: the folder exists and `overwrite` is False, it holds other files than such a run writes,
            or what the run reads.
        OSError: no permission, no space.
    """
    clear_run(folder, files=files, overwrite=overwrite, inputs=inputs)
    folder.mkdir(parents=True, exist_ok=True)
    write_settings(folder, settings, section)


def write_settings(folder: Path, settings: Any, section: str) -> None:
    """Write config.yaml, all or not at all."""
    partial = folder / "config.yaml.partial"
    partial.write_text(dump(settings, section), encoding="utf-8")
    partial.replace(folder / "config.yaml")


def clear_run(
    folder: Path, *, files: set[str], overwrite: bool, inputs: Iterable[str | Path | None] = ()
) -> None:
    """Make sure that `folder` can be written as a new run; arguments and errors as for `create_run`."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder}: is a file; give another --out")
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    if not overwrite:
        resume = f"go on with --resume {folder} or " if "checkpoints" in names else ""
        raise UsageError(f"{folder}: this run exists; {resume}replace it with --overwrite")
    if foreign := sorted(name for name in names if name.removesuffix(".partial") not in files):
        raise UsageError(
            f"{folder}: holds {foreign[0]!r}, which this command does not write; "
            "--overwrite will not delete it"
        )
    for path in inputs:
        if path is not None and Path(path).resolve().is_relative_to(folder.resolve()):
            raise UsageError(
                f"{path}: is inside {folder}, which --overwrite would delete; give another --out"
            )
    shutil.rmtree(folder)
