"""Does a run that goes on fall back? The embedded default for twice the demo's iterations, with the adaptive
and with a fixed KL coefficient; then the last checkpoint and the best one on the held-out problems.

    python benchmarks/collapse.py --seeds 1 2 3 --json benchmarks/results/collapse.json

`holds`: All-P of the last checkpoint is not below the 95 % interval of the best (chosen on the validation
problems, as ever). Runs go on where they were cut off. Needs about four minutes a run on a quiet core.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its reward.py would be imported

from benchmarks.runs import (  # noqa: E402
    PRESET,
    ROOT,
    arguments,
    call,
    metrics_of,
    train_ppo,
    train_sft,
    validation_of,
    write,
)

ITERATIONS = 80
ARMS = {"adaptive": [], "fixed": ["--kl-controller", "fixed"]}


def main() -> None:
    """Run what is missing, write results after every run, print a Markdown table."""
    parser = arguments(__doc__, ARMS, "runs/benchmark-collapse")
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    given = parser.parse_args()
    runs: list[dict[str, Any]] = []
    for seed in given.seeds:
        sft = train_sft(given.out / f"seed-{seed}" / "sft", seed)
        for arm in given.arms:
            flags = ["--iterations", str(given.iterations), *ARMS[arm]]
            folder = train_ppo(given.out / f"seed-{seed}" / arm, sft, seed, flags)
            runs.append({"seed": seed, "arm": arm, **judge(folder, seed)})
            if given.json:
                write(given.json, {"iterations": given.iterations, "runs": runs})
    print(table(runs))


def judge(run: Path, seed: int) -> dict[str, Any]:
    """A run's best and last checkpoint on the held-out problems, and how it got there."""
    result = run.with_suffix(".json")  # beside the run
    if not (ROOT / result).is_file():
        last = max((ROOT / run / "checkpoints").glob("iteration-*"))
        flags = ["--names", "best", "last", "--seed", str(seed), "--out", str(result)]
        call("evaluate.py", str(run / "checkpoints" / "best"), str(last), *PRESET, *flags)
    models = {model["name"]: model["all_pass"] for model in json.loads((ROOT / result).read_text())["models"]}
    rows = metrics_of(run)
    validation = validation_of(rows)
    return {
        "best_iteration": max(validation, key=lambda point: point[1])[0],
        "best": models["best"],
        "last": models["last"],
        "holds": models["last"]["mean"] >= models["best"]["low"],
        "validation": validation,
        "kl": [row["ppo/ref_kl"] for row in rows[1:]],
        "kl_coef": rows[-1]["ppo/kl_coef"],
        "entropy": [row["ppo/entropy"] for row in rows[1:]],
        "explained_var": [row["ppo/explained_var"] for row in rows[1:]],
        "explained_var_earned": [row["ppo/explained_var_earned"] for row in rows[1:]],
    }


def table(runs: list[dict[str, Any]]) -> str:
    """One line per run."""
    lines = [
        "| KL coefficient | seed | best at | All-P best % | All-P last % | holds | KL at the end | entropy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        cells = [
            run["arm"],
            str(run["seed"]),
            str(run["best_iteration"]),
            _cell(run["best"]),
            _cell(run["last"]),
        ]
        cells += ["yes" if run["holds"] else "no", f"{run['kl'][-1]:.2f}", f"{run['entropy'][-1]:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(interval: dict[str, float]) -> str:
    mean, low, high = (f"{100 * interval[key]:.1f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}-{high}]"


if __name__ == "__main__":
    main()
