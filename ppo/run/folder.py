"""Checkpoints of PPO on disk: which one a path stands for, and the SFT model that it stands on.

How the folders are written, verified, set aside and pruned is models/checkpoints.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.checkpoints import Saved, Series
from models.errors import ModelError
from models.storage import weight_hash

FORMAT = 3
SERIES = Series("iteration", FORMAT)

# What its callers ask for by a word.
checkpoint_name, numbered, tidy = SERIES.name, SERIES.numbered, SERIES.tidy


@dataclass(frozen=True)
class Checkpoint(Saved):
    """A checkpoint folder whose files were verified."""

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
            hub = self.state["sft"].get("hub")
            where = f"{hub} of the hub, not in the cache any more; name it with --sft {hub}"
            elsewhere = f"{self.sft_path}; put it back, or name it with --sft DIR"
            raise ModelError(f"{self.path}: its SFT model is missing: {where if hub else elsewhere}")
        raise ModelError(
            f"{self.path}: trained on another SFT model than the one now in {there[0]} (hash differs); "
            "name its own with --sft DIR"
        )


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
    return Checkpoint(**vars(SERIES.read(folder)))


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
    """As `Series.newest_whole`."""
    saved, damaged = SERIES.newest_whole(run)
    return None if saved is None else Checkpoint(**vars(saved)), damaged
