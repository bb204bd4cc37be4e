"""The logs of a run: metrics.jsonl, timing.jsonl, samples.jsonl, tokens.jsonl and TensorBoard events.

metrics.jsonl holds counts and values only, so one seed gives one file, byte for byte. Times go to
timing.jsonl. A checkpoint stores the length of each file; a resumed run cuts them back to it.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from models.log_files import LogFiles
from models.trackers import Table, Tracker, open_trackers

FILES = ("metrics.jsonl", "timing.jsonl", "samples.jsonl", "tokens.jsonl")


class Display(Protocol):
    """Where a person watches the run."""

    def phase(self, name: str, total: int) -> None:
        """A part of the iteration begins; `total` steps are ahead (0: unknown)."""

    def advance(self, done: int) -> None:
        """So many steps of the phase are done."""

    def say(self, text: str) -> None:
        """A line for the reader."""

    def iteration(self, number: int, total: int, metrics: Mapping[str, float], seconds: float) -> None:
        """An iteration is complete."""


class RunLog:
    """Appends to the logs of one run folder."""

    def __init__(
        self,
        folder: Path,
        display: Display,
        iterations: int,
        trackers: Sequence[Tracker] | None = None,
        *,
        silent: bool = False,
    ) -> None:
        """`iterations`: how many the run will have, for the display. `trackers`: of `open_trackers`; None:
        TensorBoard alone. `silent`: nothing is written, for a process beside the one that writes."""
        self.folder = folder
        self.display = display
        self.iterations = iterations
        self._silent = silent
        self._files = LogFiles(folder, () if silent else FILES)
        self._trackers = [] if silent else open_trackers(folder) if trackers is None else trackers
        self._seconds: dict[str, float] = {}
        self._noted: dict[str, float | str] = {}

    def note(self, timing: Mapping[str, float | str]) -> None:
        """What else the iteration's row of timing.jsonl is to say."""
        self._noted |= timing

    @contextmanager
    def phase(self, name: str, total: int = 0) -> Iterator[None]:
        """Time a part of the iteration."""
        self.display.phase(name, total)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start

    def write(
        self,
        iteration: int,
        metrics: Mapping[str, float],
        samples: Sequence[Mapping[str, Any]],
        warnings: Sequence[str] = (),
        tokens: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Log a completed iteration (counted from 1); `warnings` are for whoever watches.

        `samples`, `tokens`: rows of samples.jsonl and tokens.jsonl.
        """
        if self._silent:
            return
        total = sum(self._seconds.values())
        timing: dict[str, float] = {f"seconds/{name}": round(took, 4) for name, took in self._seconds.items()}
        timing["seconds/iteration"] = round(total, 4)
        # Sampled tokens, by the seconds of the whole iteration and of each phase that goes through them.
        sampled = metrics.get("rollout/tokens", 0)
        timing["tokens_per_second"] = round(sampled / max(total, 1e-9), 1)
        for name in ("rollout", "forward", "update"):
            if name in self._seconds:
                rate = sampled / max(self._seconds[name], 1e-9)
                timing[f"tokens_per_second/{name}"] = round(rate, 1)
        self._files.append("metrics.jsonl", {"iteration": iteration, **metrics})
        self._files.append("timing.jsonl", {"iteration": iteration, **timing, **self._noted})
        for name, rows in (("samples.jsonl", samples), ("tokens.jsonl", tokens)):
            for row in rows:
                self._files.append(name, {"iteration": iteration, **row})
        self._files.flush()
        numbers = {name: value for name, value in self._noted.items() if not isinstance(value, str)}
        tables = {"samples": sample_table(samples)} if samples else {}
        for tracker in self._trackers:
            tracker.log(iteration, {**metrics, **timing, **numbers}, tables)
        self.display.iteration(iteration, self.iterations, metrics, total)
        for warning in warnings:
            self.display.say(warning)
        self._seconds, self._noted = {}, {}

    def offsets(self) -> dict[str, int]:
        """Length of every file in bytes, once it is on disk; for the checkpoint."""
        return self._files.offsets()

    def truncate(self, offsets: Mapping[str, int]) -> None:
        """Cut the files back to where a checkpoint saw them. Raises ModelError where one is shorter.

        A file that an earlier version's checkpoint does not know is emptied.
        """
        self._files.truncate({**dict.fromkeys(FILES, 0), **offsets})

    def close(self) -> None:
        """Close all files."""
        self._files.close()
        for tracker in self._trackers:
            tracker.close()


def sample_table(samples: Sequence[Mapping[str, Any]]) -> Table:
    """The best, the middle and the worst of an iteration's samples, for trackers; not scored is last."""
    ranked = sorted(samples, key=lambda row: math.inf if row.get("score") is None else -row["score"])
    chosen = {0, len(ranked) // 2, len(ranked) - 1}
    columns = ("score", "outcome", "problem", "program")
    return Table(columns, [[ranked[place].get(name) for name in columns] for place in sorted(chosen)])
