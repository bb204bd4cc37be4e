"""Does the critic earn its place? The embedded default with it, and with what could stand in its place.

    python benchmarks/critic.py --seeds 1 2 3 --json benchmarks/results/critic.json

All arms of a seed start from one SFT model and see equally many responses; the seed is that of SFT and PPO. A
run that is there already is not run again, one that was cut off goes on. Needs about two minutes a run, and
one to two more a seed for SFT, on a quiet core. --arms picks some.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from demo import ROOT, machine

ARMS: dict[str, list[str]] = {
    "critic": [],
    "head": ["--critic", "head", "--value-learning-rate", "0.001"],
    "prompt-mean": ["--baseline", "prompt-mean"],
    "leave-one-out": "--baseline leave-one-out --prompts-per-iteration 32 --samples-per-prompt 4".split(),
}
WITH_CRITIC = ("critic", "head")
GOALS = (0.60, 0.65, 0.70)
WINDOW = 5
DRAWS = 2000


def main() -> None:
    """Run what is missing, write results after every run, print Markdown tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-critic"), help="folder for the runs")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    arguments = parser.parse_args()
    runs: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        sft = train_sft(arguments.out / f"seed-{seed}" / "sft", seed)
        for arm in arguments.arms:
            flags = ["--eval-every", "4", *ARMS[arm]]
            folder = train_ppo(arguments.out / f"seed-{seed}" / arm, sft, seed, flags)
            runs.append({"seed": seed, "arm": arm, **summary(metrics_of(folder))})
            if arguments.json:
                write(arguments.json, {**machine(), "goals": GOALS, "window": WINDOW, "runs": runs})
    print(table(runs))


def train_sft(out: Path, seed: int) -> Path:
    """The SFT model of a seed, made where it is missing."""
    if not (out / "model" / "model.safetensors").is_file():
        call("sft", "--config", "configs/tiny.yaml", "--seed", str(seed), "--out", str(out), "--overwrite")
    return out


def train_ppo(out: Path, sft: Path, seed: int, flags: Sequence[str]) -> Path:
    """A PPO run of the embedded default with some flags: started, gone on with, or found complete."""
    if (out / "report.html").is_file():  # the last thing that a run writes
        return out
    if (out / "checkpoints").is_dir():
        call("ppo", "--resume", str(out))
    else:
        start = ["--config", "configs/tiny.yaml", "--sft", str(sft), "--seed", str(seed), "--out", str(out)]
        call("ppo", *start, "--overwrite", *flags)
    return out


def call(command: str, *flags: str) -> None:
    """One command of train.py."""
    subprocess.run([sys.executable, str(ROOT / "train.py"), command, *flags], cwd=ROOT, check=True)


def metrics_of(run: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.jsonl; the first holds the validation before training."""
    return [json.loads(line) for line in (ROOT / run / "metrics.jsonl").open()]


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    """What the tables need of one run."""
    trained = rows[1:]
    half = trained[len(trained) // 2 :]
    samples = np.cumsum([row["rollout/samples"] for row in trained])
    passed = np.array([row["reward/all_pass"] for row in trained])
    smooth = np.convolve(passed, np.full(WINDOW, 1 / WINDOW), "valid")
    validation = [
        (int(row["iteration"]), row["validation/all_pass"]) for row in rows if "validation/all_pass" in row
    ]
    return {
        "samples": int(samples[-1]),
        "explained_var": float(np.mean([row["ppo/explained_var"] for row in half])),
        "explained_var_earned": float(np.mean([row["ppo/explained_var_earned"] for row in half])),
        "all_pass": [round(float(p), 4) for p in passed],
        "validation": validation,
        "to_goal": {f"{goal:.2f}": _first(smooth >= goal, samples[WINDOW - 1 :]) for goal in GOALS},
    }


def table(runs: list[dict[str, Any]]) -> str:
    """One line per arm: means over the seeds, with the lowest and highest seed."""
    goals = " | ".join(f"to {goal:.0%}" for goal in GOALS)
    lines = [
        f"| arm | explained var. | of what was earned | All-P, whole run % | last validation % | {goals} |",
        "|---" * (5 + len(GOALS)) + "|",
    ]
    for arm in dict.fromkeys(run["arm"] for run in runs):
        of_arm = [run for run in runs if run["arm"] == arm]
        cells = [arm]
        for name in ("explained_var", "explained_var_earned"):
            known = arm in WITH_CRITIC
            cells.append(spread([run[name] for run in of_arm], ".2f") if known else "")
        cells.append(spread([100 * float(np.mean(run["all_pass"])) for run in of_arm], ".1f"))
        cells.append(spread([100 * run["validation"][-1][1] for run in of_arm], ".1f"))
        cells += [spread([run["to_goal"][f"{goal:.2f}"] for run in of_arm], ".0f") for goal in GOALS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *differences(runs)])


def differences(runs: list[dict[str, Any]]) -> list[str]:
    """All-P over the run, the critic's minus another arm's: mean, 95 % bootstrap interval over iterations."""
    by_arm: dict[str, dict[int, list[float]]] = {}
    for run in runs:
        by_arm.setdefault(run["arm"], {})[run["seed"]] = run["all_pass"]
    ours = by_arm.get("critic", {})
    lines = []
    for arm, theirs in by_arm.items():
        seeds = [seed for seed in ours if seed in theirs and arm != "critic"]
        if seeds:
            gaps = np.concatenate([np.array(ours[s]) - np.array(theirs[s]) for s in seeds])
            draws = np.random.default_rng(0).choice(gaps, size=(DRAWS, len(gaps))).mean(axis=1)
            low, high = 100 * np.percentile(draws, [2.5, 97.5])
            gap = f"{100 * gaps.mean():+.1f} [{low:+.1f}, {high:+.1f}] points of All-P"
            lines.append(f"critic - {arm}: {gap}, {len(seeds)} seeds")
    return lines


def spread(values: list[float | None], form: str) -> str:
    """Mean [lowest - highest]; "never" where a run did not get there."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return f"never in {len(values) - len(known)} of {len(values)}"
    mean, low, high = (format(x, form) for x in (np.mean(known), min(known), max(known)))
    return f"{mean} [{low} to {high}]"


def write(path: Path, content: dict[str, Any]) -> None:
    """Results so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _first(reached: np.ndarray, samples: np.ndarray) -> int | None:
    return int(samples[reached.argmax()]) if reached.any() else None


if __name__ == "__main__":
    main()
