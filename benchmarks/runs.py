"""Training runs that benchmarks share, of the embedded default or another preset. What is there is not run
again, and what was cut off goes on."""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cli.study.steps import ROOT, Step, ppo_step, sft_step

PRESET = ["--config", "configs/tiny.yaml"]


def arguments(doc: str | None, arms: Iterable[str], out: str) -> argparse.ArgumentParser:
    """The flags of a benchmark that compares `arms` over seeds, with its runs below `out`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--arms", nargs="+", choices=list(arms), default=list(arms))
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for the runs")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    return parser


def train_sft(out: Path, seed: int, preset: Sequence[str] = PRESET, log: Path | None = None) -> Path:
    """The SFT model of a seed, made where it is missing."""
    do(sft_step("SFT", ROOT / out, [*preset, "--seed", str(seed)]), log)
    return out


def train_ppo(
    out: Path,
    sft: str | Path,
    seed: int,
    flags: Sequence[str],
    preset: Sequence[str] = PRESET,
    log: Path | None = None,
) -> Path:
    """A PPO run with some flags: started, gone on with where it was cut off, or found complete."""
    do(ppo_step("PPO", ROOT / out, sft, [*preset, "--seed", str(seed), *flags]), log)
    return out


def do(step: Step, log: Path | None = None) -> None:
    """A step of a job, unless it is done."""
    if not step.done:
        _call(step.command(), log)


def call(script: str, *flags: str, log: Path | None = None) -> None:
    """One command of the project."""
    _call([sys.executable, str(ROOT / script), *flags], log)


def _call(command: Sequence[str], log: Path | None) -> None:
    """A command from the project's root; what it prints is added to a file, if one is given."""
    if log is None:
        subprocess.run(command, cwd=ROOT, check=True)
        return
    (ROOT / log).parent.mkdir(parents=True, exist_ok=True)
    with (ROOT / log).open("a", encoding="utf-8") as file:
        subprocess.run(command, cwd=ROOT, check=True, stdout=file, stderr=subprocess.STDOUT)


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl; the first holds the validation before training."""
    return [json.loads(line) for line in (ROOT / run / "metrics.jsonl").open(encoding="utf-8")]


def validation_of(rows: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """(iteration, All-P on the validation problems) wherever a run was validated."""
    name = "validation/all_pass"
    return [(int(row["iteration"]), row[name]) for row in rows if name in row]


def write(path: Path, content: dict[str, Any]) -> None:
    """Results so far, with what they were measured with."""
    packages = {name: version(name) for name in ("torch", "transformers", "peft", "bandit")}
    where = {"python": platform.python_version(), "machine": platform.machine(), "packages": packages}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**where, **content}, indent=1) + "\n", encoding="utf-8")
