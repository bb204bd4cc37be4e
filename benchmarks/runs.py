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


def train_sft(out: Path, seed: int, preset: Sequence[str] = PRESET) -> Path:
    """The SFT model of a seed, made where it is missing."""
    do(sft_step("SFT", ROOT / out, [*preset, "--seed", str(seed)]))
    return out


def train_ppo(
    out: Path, sft: str | Path, seed: int, flags: Sequence[str], preset: Sequence[str] = PRESET
) -> Path:
    """A PPO run with some flags: started, gone on with where it was cut off, or found complete."""
    do(ppo_step("PPO", ROOT / out, sft, [*preset, "--seed", str(seed), *flags]))
    return out


def do(step: Step) -> None:
    """A step of a job, unless it is done."""
    if not step.done:
        subprocess.run(step.command(), cwd=ROOT, check=True)


def call(script: str, *flags: str) -> None:
    """One command of the project."""
    subprocess.run([sys.executable, str(ROOT / script), *flags], cwd=ROOT, check=True)


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
