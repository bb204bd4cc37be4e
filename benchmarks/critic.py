"""Does the critic earn its place? The embedded default with it, and with what could stand in its place.

    python benchmarks/critic.py --seeds 1 2 3 --json benchmarks/results/critic.json
    python benchmarks/critic.py --config configs/smollm2-135m-cpu.yaml --sft runs/real-model/seed-1/sft \\
        --seeds 1 --responses 32 --goals 0.3 --flags "--iterations 12 --eval-every 12"

All arms of a seed start from one SFT model and see equally many responses; the seed is that of SFT and PPO. A
run that is there already is not run again, one that was cut off goes on. Needs about two minutes a run, and
one to two more a seed for SFT, on a quiet core. --arms picks some; --config and --sft take another preset and
a model that is there.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its reward.py would be imported

from benchmarks.runs import (  # noqa: E402
    PRESET,
    arguments,
    metrics_of,
    train_ppo,
    train_sft,
    validation_of,
    write,
)

ARMS: dict[str, list[str]] = {
    "critic": ["--baseline", "critic"],
    "head": ["--baseline", "critic", "--critic", "head", "--value-learning-rate", "0.001"],
    "prompt-mean": ["--baseline", "prompt-mean"],
    "leave-one-out": ["--baseline", "leave-one-out"],
}
SAMPLES = {"leave-one-out": 4}  # per prompt; else 1
WITH_CRITIC = ("critic", "head")
WINDOW = 5
DRAWS = 2000


def main() -> None:
    """Run what is missing, write results after every run, print Markdown tables."""
    parser = arguments(__doc__, ARMS, "runs/benchmark-critic")
    parser.add_argument("--config", default=PRESET[1], help="preset of the runs")
    parser.add_argument("--sft", type=Path, help="a model to start from; else one is made for every seed")
    parser.add_argument("--responses", type=int, default=128, help="of an iteration, in every arm")
    parser.add_argument("--goals", type=float, nargs="+", default=[0.60, 0.65, 0.70], help="of All-P")
    parser.add_argument("--flags", default="--eval-every 4", help="more flags of every run, in one text")
    given = parser.parse_args()
    runs: list[dict[str, Any]] = []
    for seed in given.seeds:
        sft = given.sft or train_sft(given.out / f"seed-{seed}" / "sft", seed)
        for arm in given.arms:
            samples = SAMPLES.get(arm, 1)
            batch = ["--prompts-per-iteration", str(given.responses // samples)]
            batch += ["--samples-per-prompt", str(samples)]
            flags = [*shlex.split(given.flags), *batch, *ARMS[arm]]
            preset = ["--config", given.config]
            folder = train_ppo(given.out / f"seed-{seed}" / arm, sft, seed, flags, preset)
            runs.append({"seed": seed, "arm": arm, **summary(metrics_of(folder), given.goals)})
            if given.json:
                write(given.json, {"goals": given.goals, "window": WINDOW, "runs": runs})
    print(table(runs))


def summary(rows: list[dict[str, Any]], goals: Sequence[float]) -> dict[str, Any]:
    """What the tables need of one run; the critic's figures where it has one."""
    trained = rows[1:]
    half = trained[len(trained) // 2 :]
    samples = np.cumsum([row["rollout/samples"] for row in trained])
    passed = np.array([row["reward/all_pass"] for row in trained])
    smooth = np.convolve(passed, np.full(WINDOW, 1 / WINDOW), "valid")
    return {
        "samples": int(samples[-1]),
        "explained_var": float(np.mean([row["ppo/explained_var"] for row in half])),
        "explained_var_earned": float(np.mean([row["ppo/explained_var_earned"] for row in half])),
        "all_pass": [round(float(p), 4) for p in passed],
        "validation": validation_of(rows),
        "to_goal": {f"{goal:.2f}": _first(smooth >= goal, samples[WINDOW - 1 :]) for goal in goals},
    }


def table(runs: list[dict[str, Any]]) -> str:
    """One line per arm: means over the seeds, with the lowest and highest seed."""
    reached = list(runs[0]["to_goal"])
    goals = " | ".join(f"to {float(goal):.0%}" for goal in reached)
    lines = [
        f"| arm | explained var. | of what was earned | All-P, whole run % | last validation % | {goals} |",
        "|---" * (5 + len(reached)) + "|",
    ]
    for arm in dict.fromkeys(run["arm"] for run in runs):
        of_arm = [run for run in runs if run["arm"] == arm]
        cells = [arm]
        for name in ("explained_var", "explained_var_earned"):
            known = arm in WITH_CRITIC
            cells.append(spread([run[name] for run in of_arm], ".2f") if known else "")
        cells.append(spread([100 * float(np.mean(run["all_pass"])) for run in of_arm], ".1f"))
        cells.append(spread([100 * run["validation"][-1][1] for run in of_arm], ".1f"))
        cells += [spread([run["to_goal"][goal] for run in of_arm], ".0f") for goal in reached]
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


def _first(reached: np.ndarray, samples: np.ndarray) -> int | None:
    return int(samples[reached.argmax()]) if reached.any() else None


if __name__ == "__main__":
    main()
