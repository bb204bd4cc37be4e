"""Where the numbers of a run and a few of its texts go besides its logs: TensorBoard, and another tracker.

Weights & Biases and Trackio are called by the same names, so one class serves both; they are imported only
where one is wanted, and how they reach their servers (or that they do not) is their own settings' business:
WANDB_MODE=offline keeps a run on this machine, Trackio does so by itself.
"""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from torch.utils.tensorboard import SummaryWriter

from models.errors import ModelError

TrackerKind = Literal["none", "wandb", "trackio"]
PROJECT = "coderl-ppo"
CELL = 2_000
"""Characters of a text in a table."""


class Table(NamedTuple):
    """Texts and numbers side by side."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


class Tracker(Protocol):
    """Takes what a step logs."""

    def log(self, step: int, values: Mapping[str, float], tables: Mapping[str, Table]) -> None:
        """Numbers and tables of a completed step, by name."""

    def close(self) -> None:
        """Nothing comes after this."""


class TensorBoard:
    """Event files in `folder`; tables are its texts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def log(self, step: int, values: Mapping[str, float], tables: Mapping[str, Table]) -> None:
        """See `Tracker`."""
        if self._writer is None:
            # Opened late, so that a resumed run hides the events after its checkpoint (purge_step).
            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        for name, table in tables.items():
            self._writer.add_text(name, markdown(table), step)

    def close(self) -> None:
        """See `Tracker`."""
        if self._writer is not None:
            self._writer.close()


class Hosted:
    """A run of Weights & Biases or of Trackio. What is resumed is another run there, of the same group."""

    def __init__(
        self, kind: Literal["wandb", "trackio"], folder: Path, settings: Mapping[str, Any], job: str
    ) -> None:
        """`settings`: what the run is called with; `job`: sft or ppo. Errors as in `open_tracker`."""
        self._module = importlib.import_module(kind)
        places = {"dir": str(folder), "job_type": job} if kind == "wandb" else {}
        name = folder.resolve().name
        try:
            self._module.init(project=PROJECT, name=name, group=name, config=dict(settings), **places)
        except Exception as error:  # of its own kinds, which we do not know: no login, no network, no disk
            raise ModelError(f"--tracker {kind}: could not begin ({error}); see its own settings") from error

    def log(self, step: int, values: Mapping[str, float], tables: Mapping[str, Table]) -> None:
        """See `Tracker`."""
        shown = {
            name: self._module.Table(
                columns=list(table.columns), data=[[_cell(cell) for cell in row] for row in table.rows]
            )
            for name, table in tables.items()
        }
        self._module.log({**values, **shown}, step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._module.finish()


def check_tracker(kind: TrackerKind) -> None:
    """Raise ModelError where a tracker is not installed: before anything is loaded."""
    if kind != "none" and importlib.util.find_spec(kind) is None:
        raise ModelError(f"--tracker {kind}: not installed here; pip install {kind}, or leave --tracker out")


def open_trackers(
    folder: Path, kind: TrackerKind = "none", settings: Mapping[str, Any] | None = None, job: str = ""
) -> list[Tracker]:
    """TensorBoard in the run folder, and the tracker that was asked for.

    Raises:
        ModelError: the tracker is not installed, or does not begin.
    """
    check_tracker(kind)
    trackers: list[Tracker] = [TensorBoard(folder / "tensorboard")]
    if kind != "none":
        trackers.append(Hosted(kind, folder, settings or {}, job))
    return trackers


def markdown(table: Table) -> str:
    """A table in Markdown whose cells are texts whatever they hold: TensorBoard renders it as HTML."""
    lines = [
        table.columns,
        ["---"] * len(table.columns),
        *([_code(cell) for cell in row] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(cell: object) -> str:
    """Every character that Markdown or HTML could read is written by its number; line breaks stay."""
    if not isinstance(cell, str):
        return str(cell)
    written = "".join(c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in _text(cell))
    return f"<pre>{written}</pre>"


def _cell(cell: object) -> object:
    return _text(cell) if isinstance(cell, str) else cell


def _text(cell: str) -> str:
    """Cut, and without what no file of text may hold (NUL, lone surrogates)."""
    shown = cell if len(cell) <= CELL else f"{cell[:CELL]}… ({len(cell) - CELL} more characters)"
    return shown.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
