"""Run folders: made once, never overwritten by accident."""

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cli.errors import UsageError
from cli.lock import LOCK
from cli.settings import dump

# What each command leaves behind; a folder that holds anything else is not its to clear.
SFT_FILES = {
    "config.yaml",
    "model",
    "sft.json",
    "metrics.jsonl",
    "timing.jsonl",
    "tensorboard",
    "wandb",
    "checkpoints",
}
PPO_FILES = {
    "config.yaml",
    "metrics.jsonl",
    "timing.jsonl",
    "samples.jsonl",
    "tokens.jsonl",
    "tensorboard",
    "wandb",
    "checkpoints",
    "report.html",
}
EXPORT = "export.json"  # lists the other files of an export, which the model decides
DEMO_FILES = {"sft", "ppo", "evaluation.json", "evaluation.md", "evaluation_samples.jsonl", "report.html"}


def create_run(folder: Path, settings: Any, section: str) -> None:
    """Make an empty run folder with its config.yaml; what is in it goes, so `check_free` comes first."""
    folder.mkdir(parents=True, exist_ok=True)
    clear_run(folder)
    write_settings(folder, settings, section)


def write_settings(folder: Path, settings: Any, section: str) -> None:
    """Write config.yaml, all or not at all."""
    partial = folder / "config.yaml.partial"
    partial.write_text(dump(settings, section), encoding="utf-8")
    partial.replace(folder / "config.yaml")


def check_free(
    folder: Path, *, files: set[str], overwrite: bool, inputs: Iterable[str | Path | None] = ()
) -> None:
    """Make sure that `folder` may be cleared for a new run. The caller holds its lock (`cli.lock`).

    Args:
        files: names that such a run writes. `inputs`: paths that the run reads.

    Raises:
        UsageError: there is a run with something worth keeping and `overwrite` is False; or the folder holds
            other files than such a run writes, or what the run reads.
        OSError: no permission.
    """
    names = {path.name for path in folder.iterdir()} - {LOCK} if folder.exists() else set()
    if not names:
        return
    if foreign := sorted(name for name in names if name.removesuffix(".partial") not in files):
        raise UsageError(
            f"{folder}: holds {foreign[0]!r}, which this command does not write; give another --out "
            "(--overwrite will not delete it)"
        )
    if not overwrite and worth_keeping(folder):
        resume = f"go on with --resume {folder} or " if "checkpoints" in names else ""
        what = "export" if EXPORT in names else "run"
        raise UsageError(f"{folder}: this {what} exists; {resume}replace it with --overwrite")
    for path in inputs:
        if path is not None and Path(path).resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{path}: is inside {folder}, which would be deleted; give another --out")


def clear_run(folder: Path) -> None:
    """Empty a run folder; see `check_free`."""
    # Its settings first: what is left if this is interrupted must not look like a run to go on with.
    (folder / "config.yaml").unlink(missing_ok=True)
    _empty(folder)


def worth_keeping(run: Path) -> bool:
    """Whether a run made anything: a model, an export, or an iteration after the one that only validates.

    SFT: a checkpoint or a model. A run that failed before that would block the next try for nothing.
    """
    if any((run / name).exists() for name in ("model", "evaluation.json", EXPORT)):
        return True
    numbers = (
        re.fullmatch(r"(?:iteration|step)-(\d+)(\.old|\.damaged)?", p.name)
        for p in (run / "checkpoints").glob("*")
    )
    return any(int(match[1]) > 0 for match in numbers if match) or _logged(run / "metrics.jsonl") > 0


def _logged(metrics: Path) -> int:
    """The last iteration in the log of a PPO run; 0 where there is none (SFT counts steps)."""
    try:
        *whole, _ = metrics.read_text(encoding="utf-8").split("\n")  # the last line may be half a line
        return int(json.loads(whole[-1]).get("iteration", 0)) if whole else 0
    except FileNotFoundError:
        return 0
    except (ValueError, TypeError, AttributeError):
        return 1  # not written by this program: not to be lost without being asked


def _empty(folder: Path) -> None:
    """Remove everything in a folder but the locks, which others may be looking at."""
    for path in folder.iterdir():
        if path.name == LOCK:
            continue
        if path.is_dir() and not path.is_symlink():
            if (path / LOCK).exists():
                _empty(path)
            else:
                shutil.rmtree(path)
        else:
            path.unlink()
