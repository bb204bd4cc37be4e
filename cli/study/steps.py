"""The steps of a study, or of any job of SFT, PPO and evaluation: each is one command of the project.

A step knows the file that is there once it is done, and how to go on where it was cut off.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Step:
    """One command."""

    name: str
    """For the reader, and for its log and times."""
    marker: Path
    """What the command writes last of all."""
    fresh: tuple[str, ...]
    """Script and flags that begin it."""
    run: Path | None = None
    """The run folder that --resume goes on with; None: it begins again."""
    needs: tuple[str, ...] = ()
    """Names of steps that have to be done before."""

    @property
    def done(self) -> bool:
        return self.marker.is_file()

    def command(self) -> list[str]:
        """What to start now."""
        script, name, *rest = self.fresh
        if self.run is not None and (self.run / "config.yaml").is_file():
            name, rest = self.fresh[1], ["--resume", str(self.run)]
        return [sys.executable, str(ROOT / script), name, *rest]


def sft_step(name: str, out: Path, flags: Sequence[str], needs: Iterable[str] = ()) -> Step:
    """Supervised training into the run folder `out`."""
    begin = ("train.py", "sft", *flags, "--out", str(out), "--overwrite")
    return Step(name, out / "sft.json", begin, out, tuple(needs))


def ppo_step(
    name: str, out: Path, start: str | Path, flags: Sequence[str], needs: Iterable[str] = ()
) -> Step:
    """PPO from `start`, an SFT run or a model, into the run folder `out`."""
    begin = ("train.py", "ppo", *flags, "--sft", str(start), "--out", str(out), "--overwrite")
    return Step(name, out / "report.html", begin, out, tuple(needs))


def evaluate_step(
    name: str, out: Path, checkpoint: str | Path, flags: Sequence[str], needs: Iterable[str] = ()
) -> Step:
    """One model measured, into the file `out`."""
    begin = ("evaluate.py", str(checkpoint), *flags, "--out", str(out))
    return Step(name, out, begin, None, tuple(needs))
