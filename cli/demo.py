"""`train.py demo`: SFT, PPO, evaluation and report on the embedded default."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console as RichConsole

from cli.evaluate import evaluate
from cli.evaluate_settings import EvaluateCommand
from cli.lock import locked
from cli.ppo import run_ppo
from cli.ppo_settings import PPOCommand
from cli.results import print_results
from cli.runs import DEMO_FILES, check_free, clear_run
from cli.settings import load_preset
from cli.sft import run_sft
from cli.sft_settings import SFTCommand
from models.ranges import Seed, check_ranges
from report import write_report

PRESET = Path(__file__).resolve().parents[1] / "configs" / "tiny.yaml"


@dataclass(frozen=True)
class DemoCommand:
    """The main job on the embedded default: a model from scratch, SFT, PPO, and both compared."""

    config: Path = PRESET
    """YAML preset with the sections sft, ppo and evaluate."""
    out: Path = Path("runs/demo")
    """Folder to write; a demo that is there already is replaced."""
    seed: Seed = 1
    """Of SFT, PPO and evaluation."""

    def __post_init__(self) -> None:
        check_ranges(self)


def run_demo(settings: DemoCommand) -> None:
    """Write OUT/sft, OUT/ppo, OUT/evaluation.json with its samples, and OUT/report.html."""
    with ExitStack() as stack:
        # Its runs too, and for as long as any of them is needed: each alone would be free in between.
        for folder in (settings.out, settings.out / "sft", settings.out / "ppo"):
            stack.enter_context(locked(folder))
        _run(settings)


def _run(settings: DemoCommand) -> None:
    start = time.monotonic()
    out, seed = settings.out, settings.seed
    sft = load_preset(settings.config, "sft", SFTCommand)
    ppo = load_preset(settings.config, "ppo", PPOCommand)
    evaluation = load_preset(settings.config, "evaluate", EvaluateCommand)
    check_free(out, files=DEMO_FILES, overwrite=True)
    clear_run(out)

    run_sft(replace(sft, out=out / "sft", sft=replace(sft.sft, seed=seed)))
    run_ppo(replace(ppo, out=out / "ppo", sft=out / "sft", ppo=replace(ppo.ppo, seed=seed)))
    results = evaluate(
        replace(
            evaluation,
            checkpoints=(out / "sft", out / "ppo"),
            names=("SFT", "PPO"),
            out=out / "evaluation.json",
            seed=seed,
        )
    )
    write_report(out / "report.html", runs=[out / "ppo"], evaluations=[out / "evaluation.json"])

    print_results(results)
    console = RichConsole(soft_wrap=True, highlight=False)
    console.print(f"written: {out / 'evaluation.json'}, {out / 'report.html'}")
    console.print(f"{time.monotonic() - start:.0f} s in all")
