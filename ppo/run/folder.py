"""Checkpoint folders on disk: found, verified, set aside when damaged, pruned.

A folder has its name only once it is complete: it is filled under another one and renamed. A folder that is
to go is renamed before it is emptied. So whatever kills the process, `iteration-N` is whole or not there; if
it was being replaced, `iteration-N.old` may stand for it (models.storage.atomic_folder).
"""

import contextlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.errors import ModelError
from models.storage import file_hash, recover, weight_hash

FORMAT = 3
CHECKSUMS = "checksums.json"


class DamagedCheckpoint(ModelError):
    """A file of a checkpoint is missing, or is not what was written."""

    def __init__(self, folder: Path, file: str) -> None:
        super().__init__(f"{folder}: damaged checkpoint ({file}); remove that folder, or use an earlier one")
        self.folder, self.file = folder, file


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder whose files were verified."""

    path: Path
    state: dict[str, Any]
    base: Path | None = None
    """The model folder it stands on, where `with_base` has found it."""

    @property
    def sft_path(self) -> Path:
        """Where the model folder was that it stands on, seen from where the checkpoint is now."""
        return (self.path / self.state["sft"]["path"]).resolve()

    def with_base(self, named: Sequence[Path] = ()) -> "Checkpoint":
        """Find the model folder it stands on, by its hash: one of those `named`, or the one it remembers.

        Raises:
            ModelError: none of them is there, or they have other weights.
        """
        there = [folder for folder in (*named, self.sft_path) if folder.is_dir()]
        for folder in there:
            if weight_hash(folder) == self.state["sft"]["sha256"]:
                return replace(self, base=folder)
        if not there:
            raise ModelError(
                f"{self.path}: its SFT model is missing: {self.sft_path}; put it back, or name it "
                "with --sft DIR"
            )
        raise ModelError(
            f"{self.path}: trained on another SFT model than the one now in {there[0]} (hash differs); "
            "name its own with --sft DIR"
        )


def seal(folder: Path) -> None:
    """Write the sha256 of every file of a checkpoint into it."""
    hashes = {file.name: file_hash(file) for file in sorted(folder.iterdir()) if file.name != CHECKSUMS}
    (folder / CHECKSUMS).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


def open_checkpoint(path: Path, sft: Sequence[Path] = ()) -> Checkpoint:
    """Read and verify a checkpoint folder, or the best or else newest one of a run folder.

    `sft`: model folders among which one that was copied may find the one it stands on.

    Raises:
        DamagedCheckpoint: a file is missing or differs from what was written, by a single byte even.
        ModelError: nothing there, or another format; or its SFT model is missing or has changed.
    """
    return read_checkpoint(resolve_checkpoint(path)).with_base(sft)


def read_checkpoint(folder: Path) -> Checkpoint:
    """A checkpoint folder with its own files verified; errors as for `open_checkpoint`."""
    try:
        hashes = dict(json.loads((folder / CHECKSUMS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        _check_format(folder)  # earlier formats had no such file
        raise DamagedCheckpoint(folder, CHECKSUMS) from error
    # state.json first: nothing else means anything without it.
    for name in sorted({"state.json", *hashes}, key=lambda name: (name != "state.json", name)):
        if not (folder / name).is_file() or file_hash(folder / name) != hashes.get(name):
            raise DamagedCheckpoint(folder, name)
    return Checkpoint(folder, _check_format(folder))


def resolve_checkpoint(path: Path) -> Path:
    """The checkpoint folder itself, or that of a run: `best` where there is one, else the newest."""
    if (path / "state.json").is_file():
        return path.resolve()
    best = path / "checkpoints" / "best"
    if best.is_dir():
        return best.resolve()
    if found := numbered(path / "checkpoints"):
        return found[-1].resolve()
    raise ModelError(f"{path}: no checkpoint there")


def newest_whole(run: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint of a run that is whole, and a line for each newer one that is not.

    For the process that goes on with the run, and alone writes there. Those not whole are renamed
    `iteration-N.damaged`: the run will write their iterations again. None: no checkpoint was written yet.

    Raises:
        ModelError: none is whole; or the newest whole one is in another format.
    """
    damaged: list[DamagedCheckpoint] = []
    _recover(run / "checkpoints")
    found = numbered(run / "checkpoints")
    for folder in reversed(found):
        try:
            checkpoint = read_checkpoint(folder)
        except DamagedCheckpoint as error:
            damaged.append(error)
            continue
        for each in damaged:
            _set_aside(each.folder)
        return checkpoint, [f"{each.folder}: damaged ({each.file}); set aside" for each in damaged]
    if damaged:
        raise damaged[0]
    return None, []


def numbered(folder: Path) -> list[Path]:
    """Checkpoints of a folder, oldest first. One that is being replaced may be there as `iteration-N.old`."""
    if not folder.is_dir():
        return []
    found = {}
    for path in sorted(folder.iterdir(), reverse=True):  # iteration-N.old, then iteration-N in its place
        if match := re.fullmatch(r"iteration-(\d{6,})(\.old)?", path.name):
            found[int(match[1])] = path
    return [found[number] for number in sorted(found)]


def tidy(folder: Path, best: int | None, keep: int) -> None:
    """Point `best` at the checkpoint of that iteration, and remove all others but the newest `keep`."""
    _recover(folder)
    best_folder = None if best is None else folder / checkpoint_name(best)
    if best_folder is not None and best_folder.is_dir():
        _point_best(folder, best_folder.name)
    _remove_partial(folder)  # of a process that died: in the way of what is renamed now
    for old in numbered(folder)[:-keep]:
        if old != best_folder:
            old.rename(old.with_name(old.name + ".partial"))
    _remove_partial(folder)


def checkpoint_name(iteration: int) -> str:
    """The folder name of an iteration's checkpoint."""
    return f"iteration-{iteration:06d}"


def _check_format(folder: Path) -> dict[str, Any]:
    """The content of state.json. Raises ModelError where another version wrote it."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        written_in = state["format"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DamagedCheckpoint(folder, "state.json") from error
    if written_in != FORMAT:
        raise ModelError(
            f"{folder}: written in format {written_in}, this version reads {FORMAT}; "
            "use the version that wrote it, or train again"
        )
    return state


def _remove_partial(folder: Path) -> None:
    for leftover in folder.glob("*.partial"):
        shutil.rmtree(leftover)


def _recover(folder: Path) -> None:
    for old in folder.glob("iteration-*.old"):
        recover(old.with_name(old.name.removesuffix(".old")))


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
