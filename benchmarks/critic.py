"""Does the critic earn its place? The embedded default with it, and with what could stand in its place.

    python benchmarks/critic.py --seeds 1 2 3 --json benchmarks/results/critic.json

All arms of a seed start from one SFT model and see equally many responses; the seed is that of SFT and PPO. A
run that is there already is not run again, one that was cut off goes on. Needs about two minutes a run, and
one to two more a seed for SFT, on a quiet core. --arms picks some.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its reward.py would be imported

from benchmarks.runs import arguments, metrics_of, train_ppo, train_sft, validation_of, write  # noqa: E402

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
    given = arguments(__doc__, ARMS, "runs/benchmark-critic").parse_args()
    runs: list[dict[str, Any]] = []
    for seed in given.seeds:
        sft = train_sft(given.out / f"seed-{seed}" / "sft", seed)
        for arm in given.arms:
            flags = ["--eval-every", "4", *ARMS[arm]]
            folder = train_ppo(given.out / f"seed-{seed}" / arm, sft, seed, flags)
            runs.append({"seed": seed, "arm": arm, **summary(metrics_of(folder))})
            if given.json:
                write(given.json, {"goals": GOALS, "window": WINDOW, "runs": runs})
    print(table(runs))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the tables need of one run."""
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


def _first(reached: np.ndarray, samples: np.ndarray) -> int | None:
    return int(samples[reached.argmax()]) if reached.any() else None


if __name__ == "__main__":
    main()
