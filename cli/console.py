"""What a person watches: bars on a terminal, one line per iteration elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _Rate(ProgressColumn):
    """Steps per second, or seconds per step."""

    def render(self, task: Task) -> Text:
        """The rate so far."""
        if not task.speed:
            return Text("")
        return Text(f"{task.speed:.1f}/s" if task.speed >= 1 else f"{1 / task.speed:.1f} s each")


class Console:
    """Progress of one command: a bar for the whole, and one for the part under way.

    Everything said with `say` also reaches a pipe or a file; bars are drawn on a terminal only.
    """

    def __init__(self, title: str, total: int, *, quiet: bool = False) -> None:
        """`total`: steps of the whole command. `quiet`: another process says it."""
        self.out = RichConsole(soft_wrap=True, highlight=False, quiet=quiet)
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=self.out,
            transient=True,
            disable=quiet or not self.out.is_terminal,
        )
        self._whole: TaskID = self._progress.add_task(title, total=total)
        self._part: TaskID = self._progress.add_task("", total=None, visible=False)

    def __enter__(self) -> "Console":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """One line for the reader, above the bars."""
        self.out.print(text, markup=False)

    def step(self, done: int) -> None:
        """So many steps of the whole are done."""
        self._progress.update(self._whole, completed=done)

    def phase(self, name: str, total: int) -> None:
        """A part of the work begins, of `total` steps (0: unknown)."""
        # A new bar: an old one cannot be given an unknown total.
        self._progress.remove_task(self._part)
        self._part = self._progress.add_task(name, total=total or None)

    def advance(self, done: int) -> None:
        """So many steps of the part are done."""
        self._progress.update(self._part, completed=done)

    def iteration(self, number: int, total: int, metrics: Mapping[str, float], seconds: float) -> None:
        """A PPO iteration is complete."""
        self.step(number)
        self.say(iteration_line(number, total, metrics, seconds))


# (metric, label, format) in reading order; what an iteration did not measure is left out.
_COLUMNS = (
    ("reward/mean", "R", "{:.3f}"),
    ("reward/partial_weight", "ladder", "{:.0%}"),
    ("reward/parses", "syntax", "{:.0%}"),
    ("reward/all_pass", "all-pass", "{:.0%}"),
    ("rollout/length", "tokens", "{:.1f}"),
    ("rollout/program_length", "characters", "{:.0f}"),
    ("ppo/ref_kl", "KL", "{:.2f}"),
    ("ppo/entropy", "entropy", "{:.2f}"),
    ("ppo/clip_frac", "clip", "{:.1%}"),
    ("validation/all_pass", "| validation all-pass", "{:.1%}"),
)


def iteration_line(number: int, total: int, metrics: Mapping[str, float], seconds: float) -> str:
    """One iteration in one line."""
    parts = [f"{label} {form.format(metrics[name])}" for name, label, form in _COLUMNS if name in metrics]
    if metrics.get("rollout/faults"):
        parts.append(f"faults {metrics['rollout/faults']}")
    return f"iteration {number}/{total}  " + "  ".join(parts) + f"  ({seconds:.1f} s)"


def end_line(best: Mapping[str, Any], newest: Path) -> str:
    """What a finished run came to. `best`: as in `TrainState`; `newest`: its last checkpoint."""
    if "all_pass" not in best:
        return f"nothing was validated, so no checkpoint is best; the newest is {newest}"
    if best["all_pass"] == 0:
        return (
            "no checkpoint passed all tests of a single validation problem, so `best` is still iteration "
            f"{best['iteration']}, and the run stands for it; the newest checkpoint is {newest}"
        )
    return f"best: iteration {best['iteration']}, validation all-pass {best['all_pass']:.1%}"
