"""Under which objective and limits, and how run, checkpoints are judged: as in their run, unless a flag or
preset says otherwise."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.errors import ModelError
from ppo.run.folder import resolve_checkpoint

SECTIONS = ("objective", "limits", "scoring")
_COST = ("scoring.share_children", "scoring.overlap")  # what programs earn is the same either way


def of_runs(paths: Sequence[Path]) -> tuple[dict[str, Any], str]:
    """The settings that decide R, by section, as the PPO runs among `paths` had them, and a line about it.

    Nothing (and no line) where there is no such run; nothing and a warning where they differ: then one
    yardstick has to be chosen by hand.
    """
    found = {str(path): sections for path in paths if (sections := _of_run(path))}
    first, *others = found.values() or [{}]
    if any(other != first for other in others):
        return {}, (
            f"{' and '.join(found)} were trained under different objectives or limits: R is that of the "
            "flags (default: the project's); set --objective, --limits and --scoring to choose"
        )
    told = f"R is judged as in training: objective, limits and scoring of {next(iter(found), '')}"
    return first, told if first else ""


def _of_run(path: Path) -> dict[str, Any]:
    """The sections that a checkpoint, or the run, was trained under; none for anything else."""
    try:
        state = json.loads((resolve_checkpoint(path) / "state.json").read_text(encoding="utf-8"))
        setup = {key: value for key, value in state["setup"].items() if key not in _COST}
    except (ModelError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}  # no checkpoint, or a damaged one: whoever opens it will say so
    return {section: values for section in SECTIONS if (values := _section(setup, section))}


def _section(setup: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Flat keys (`objective.alpha`) as nested ones."""
    nested: dict[str, Any] = {}
    for key, value in setup.items():
        first, *rest = key.split(".")
        if first == section and rest:
            inner = nested
            for part in rest[:-1]:
                inner = inner.setdefault(part, {})
            inner[rest[-1]] = value
    return nested
