"""Checkpoint folders on disk: found, verified, set aside when damaged, pruned. What is in them is the run's.

A folder has its name only once it is complete: it is filled under another one and renamed. A folder that is
to go is renamed before it is emptied. So whatever kills the process, `step-N` is whole or not there; if it
was being replaced, `step-N.old` may stand for it (models.storage.atomic_folder).
"""

import contextlib
import functools
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.errors import ModelError
from models.storage import file_hash, recover

CHECKSUMS = "checksums.json"


class DamagedCheckpoint(ModelError):
    """A file of a checkpoint is missing, or is not what was written."""

    def __init__(self, folder: Path, file: str) -> None:
        super().__init__(f"{folder}: damaged checkpoint ({file}); remove that folder, or use an earlier one")
        self.folder, self.file = folder, file


@dataclass(frozen=True)
class Saved:
    """A checkpoint folder whose files were verified."""

    path: Path
    state: dict[str, Any]
    """What its state.json holds."""


@dataclass(frozen=True)
class Series:
    """The checkpoints of one kind of run: folders `<stem>-000100`, and `best`, a link to one of them."""

    stem: str
    """What is counted: "iteration", "step"."""
    format: int
    """Of state.json, which says so under this key; another one is not read."""

    def name(self, number: int) -> str:
        """The folder name of the checkpoint after so many iterations or steps."""
        return f"{self.stem}-{number:06d}"

    def numbered(self, folder: Path) -> list[Path]:
        """Checkpoints of a folder, oldest first. One that is being replaced may be there as `….old`."""
        if not folder.is_dir():
            return []
        found = {}
        for path in sorted(folder.iterdir(), reverse=True):  # step-N.old, then step-N in its place
            if match := re.fullmatch(rf"{self.stem}-(\d{{6,}})(\.old)?", path.name):
                found[int(match[1])] = path
        return [found[number] for number in sorted(found)]

    def read(self, folder: Path) -> Saved:
        """A checkpoint folder with its own files verified.

        Raises:
            DamagedCheckpoint: a file is missing or differs from what was written, by a single byte even.
            ModelError: it is in another format.
        """
        try:
            hashes = dict(json.loads((folder / CHECKSUMS).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            self.read_state(folder)  # earlier formats had no such file
            raise DamagedCheckpoint(folder, CHECKSUMS) from error
        # state.json first: nothing else means anything without it.
        for name in sorted({"state.json", *hashes}, key=lambda name: (name != "state.json", name)):
            if not (folder / name).is_file() or file_hash(folder / name) != hashes.get(name):
                raise DamagedCheckpoint(folder, name)
        return Saved(folder, self.read_state(folder))

    def read_state(self, folder: Path) -> dict[str, Any]:
        """The content of state.json. Raises ModelError where another version wrote it."""
        try:
            state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            written_in = state["format"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DamagedCheckpoint(folder, "state.json") from error
        if written_in != self.format:
            raise ModelError(
                f"{folder}: written in format {written_in}, this version reads {self.format}; "
                "use the version that wrote it, or train again"
            )
        return state

    def newest_whole(self, run: Path) -> tuple[Saved | None, list[str]]:
        """The newest checkpoint of a run that is whole, and a line for each newer one that is not.

        For the process that goes on with the run, and alone writes there. Those not whole are renamed
        `….damaged`: the run will write them again. None: no checkpoint was written yet.

        Raises:
            ModelError: none is whole; or the newest whole one is in another format.
        """
        damaged: list[DamagedCheckpoint] = []
        self._recover(run / "checkpoints")
        for folder in reversed(self.numbered(run / "checkpoints")):
            try:
                saved = self.read(folder)
            except DamagedCheckpoint as error:
                damaged.append(error)
                continue
            for each in damaged:
                _set_aside(each.folder)
            return saved, [f"{each.folder}: damaged ({each.file}); set aside" for each in damaged]
        if damaged:
            raise damaged[0]
        return None, []

    def tidy(self, folder: Path, best: int | None, keep: int) -> None:
        """Point `best` at the checkpoint of that number, and remove all others but the newest `keep`."""
        self._recover(folder)
        best_folder = None if best is None else folder / self.name(best)
        if best_folder is not None and best_folder.is_dir():
            _point_best(folder, best_folder.name)
        _remove_partial(folder)  # of a process that died: in the way of what is renamed now
        for old in self.numbered(folder)[:-keep]:
            if old != best_folder:
                old.rename(old.with_name(old.name + ".partial"))
        _remove_partial(folder)

    def _recover(self, folder: Path) -> None:
        for old in folder.glob(f"{self.stem}-*.old"):
            recover(old.with_name(old.name.removesuffix(".old")))


def seal(folder: Path) -> None:
    """Write the sha256 of every file of a checkpoint into it."""
    hashes = {file.name: file_hash(file) for file in sorted(folder.iterdir()) if file.name != CHECKSUMS}
    (folder / CHECKSUMS).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


def optimizer_tensors(
    parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """AdamW's state by the parameter's name, not by its number in the optimizer."""
    return {
        f"{name}/{slot}": value
        for name, parameter in parameters.items()
        for slot, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer(
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
) -> None:
    """Put what `optimizer_tensors` gave back into an optimizer of parameters with the same names."""
    slots: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, slot = key.rsplit("/", 1)
        slots.setdefault(name, {})[slot] = tensor
    for name, values in slots.items():
        parameter = parameters[name]
        # AdamW keeps its step counter on the CPU, its moments beside the parameter.
        optimizer.state[parameter] = {
            slot: value if slot == "step" else value.to(parameter.device) for slot, value in values.items()
        }


@functools.cache
def library_versions() -> Mapping[str, str]:
    """Of the libraries that decide the last digits of a result."""
    return {name: version(name) for name in ("torch", "transformers", "peft")}


def _remove_partial(folder: Path) -> None:
    for leftover in folder.glob("*.partial"):
        shutil.rmtree(leftover)


def _point_best(folder: Path, name: str) -> None:
    link = folder / "best.new"
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    link.replace(folder / "best")


def _set_aside(folder: Path) -> None:
    target = folder.with_name(folder.name + ".damaged")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(target)
    folder.rename(target)
