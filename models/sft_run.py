"""What keeps an SFT run: its state, its logs, its checkpoints.

checkpoints/step-000100/
    weights.safetensors     what is trained, in float32: the adapters, or every weight
    state.safetensors       AdamW, by the parameter's name
    state.json              counters, loss scaler, log lengths, settings, versions
    checksums.json          the sha256 of every other file
checkpoints/best -> step-000080

They are for going on; what is used is the model that the end of a run writes.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from models.checkpoints import Saved, Series, library_versions, load_optimizer, optimizer_tensors, seal
from models.errors import ModelError
from models.log_files import LogFiles
from models.storage import atomic_folder, load_tensors, save_tensors
from models.trackers import Table, Tracker, open_trackers

SERIES = Series("step", 1)
KIND = "sft"
"""What state.json calls these checkpoints, so that nobody takes them for a policy."""

FILES = ("metrics.jsonl", "timing.jsonl")


@dataclass
class SFTState:
    """The mutable part of a training, besides the weights. A checkpoint holds all of it."""

    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    """Completed steps; also the place in the data, see `Batches`."""
    best_step: int | None = None
    """Where the validation loss was lowest so far; None where nothing was validated yet."""
    best_loss: float | None = None
    """The loss there, in nats per token."""
    stale: int = 0
    """Validations since then."""
    skipped_steps: int = 0
    """Steps that the loss scaler skipped for an overflow."""
    skipped_in_a_row: int = 0
    """Those since the last step that was taken."""
    setup: dict[str, Any] = field(default_factory=dict)
    """What the run is made of, flat, for whoever resumes it; it is not restored."""

    def over(self, steps: int, patience: int) -> bool:
        """Whether the training is: all steps taken, or (patience > 0) that many validations without gain."""
        return self.step >= steps or 0 < patience <= self.stale

    def stepped(self, *, skipped: bool) -> None:
        """Count a step."""
        self.step += 1
        self.skipped_steps += skipped
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0

    def validated(self, loss: float) -> None:
        """Take in the validation loss after this step."""
        if self.best_loss is None or loss < self.best_loss:
            self.best_step, self.best_loss, self.stale = self.step, loss, 0
        else:
            self.stale += 1

    def to_json(self) -> dict[str, Any]:
        """Everything but the optimizer's tensors."""
        names = ("step", "best_step", "best_loss", "stale", "skipped_steps", "skipped_in_a_row", "setup")
        return {name: getattr(self, name) for name in names} | {"grad_scaler": self.scaler.state_dict()}

    def load_json(self, content: Mapping[str, Any]) -> None:
        """Go on from what `to_json` gave."""
        for name in ("step", "best_step", "best_loss", "stale", "skipped_steps", "skipped_in_a_row"):
            setattr(self, name, content[name])
        if content["grad_scaler"]:
            self.scaler.load_state_dict(content["grad_scaler"])


class Display(Protocol):
    """Where a person watches the training."""

    def step(self, done: int) -> None:
        """So many steps are done."""

    def say(self, text: str) -> None:
        """A line for the reader."""


class SFTLog:
    """Appends to metrics.jsonl (values) and timing.jsonl (seconds), one row per step, shown at once."""

    def __init__(
        self,
        folder: Path,
        display: Display,
        steps: int,
        every: int,
        trackers: Sequence[Tracker] | None = None,
        *,
        silent: bool = False,
    ) -> None:
        """`steps`: how many there will be; `every`: steps between lines for the reader. `trackers`: of
        `open_trackers`; None: TensorBoard alone. `silent`: nothing is written, for a process beside the one
        that writes."""
        self.display = display
        self._steps, self._every, self._silent = steps, every, silent
        self._files = LogFiles(folder, () if silent else FILES)
        self._trackers = [] if silent else open_trackers(folder) if trackers is None else trackers
        self._tables: dict[str, Table] = {}
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a part of the step."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = time.perf_counter() - start

    def write(self, step: int, metrics: Mapping[str, float], tokens: int) -> None:
        """Log a completed step, which trained on so many tokens, prompts included."""
        if self._silent:
            return
        self._files.append("metrics.jsonl", {"step": step, **metrics})
        timing = {f"seconds/{name}": round(took, 4) for name, took in self._seconds.items()}
        timing["tokens_per_second"] = round(tokens / max(self._seconds["train"], 1e-9), 1)
        self._files.append("timing.jsonl", {"step": step, **timing})
        self._files.flush()  # step by step, for whoever watches
        for tracker in self._trackers:
            tracker.log(step, {**metrics, **timing}, self._tables)
        self._tables = {}
        self._seconds = {}
        self.display.step(step)
        if "validation_loss" in metrics or step % self._every == 0 or step == self._steps:
            shown = "  ".join(f"{name} {v:.3f}" for name, v in metrics.items() if name.endswith("loss"))
            self.display.say(f"step {step}/{self._steps}  {shown}")

    def show(self, name: str, table: Table) -> None:
        """Hand a table to the trackers, with the step that is written next."""
        self._tables[name] = table

    def offsets(self) -> dict[str, int]:
        """Lengths of the files, for the checkpoint."""
        return self._files.offsets()

    def truncate(self, offsets: Mapping[str, int]) -> None:
        """Cut the files back to where a checkpoint saw them. Raises ModelError where one is shorter."""
        self._files.truncate(offsets)

    def close(self) -> None:
        """Close the files, and the trackers."""
        self._files.close()
        for tracker in self._trackers:
            tracker.close()


def trainable(network: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """What is trained, by name; tied weights once."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def save_checkpoint(
    folder: Path,
    network: torch.nn.Module,
    state: SFTState,
    *,
    logs: Mapping[str, int],
    best: int | None,
    keep: int,
) -> None:
    """Write checkpoint `step-N` into `folder`, point `best` at that of a step, and remove the oldest beyond
    `keep`.

    Raises:
        OSError: the disk is full or not writable; earlier checkpoints stay as they are.
    """
    parameters = trainable(network)
    with atomic_folder(folder / SERIES.name(state.step)) as partial:
        save_tensors(partial / "weights.safetensors", parameters)
        save_tensors(partial / "state.safetensors", optimizer_tensors(parameters, state.optimizer))
        content = {
            "format": SERIES.format,
            "kind": KIND,
            **state.to_json(),
            "logs": dict(logs),
            "versions": library_versions(),
        }
        (partial / "state.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        seal(partial)
    SERIES.tidy(folder, best, keep)


def restore(saved: Saved, network: torch.nn.Module, state: SFTState) -> None:
    """Weights, optimizer and counters: the training goes on as if it had not stopped.

    Raises:
        ModelError: the checkpoint has other weights than are trained here.
    """
    load_weights(saved, network)
    tensors = load_tensors(saved.path / "state.safetensors")
    load_optimizer(trainable(network), state.optimizer, tensors)
    state.load_json(saved.state)


@torch.no_grad()
def load_weights(saved: Saved, network: torch.nn.Module) -> None:
    """Put the weights of a checkpoint in the place of those that are trained. Errors as in `restore`."""
    parameters, tensors = trainable(network), load_tensors(saved.path / "weights.safetensors")
    if {n: p.shape for n, p in parameters.items()} != {n: t.shape for n, t in tensors.items()}:
        raise ModelError(
            f"{saved.path}: has other weights than are trained here; use the --model, --tune and --lora "
            "flags that it was trained with"
        )
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])
