"""The figures of the README: the demo over several seeds (of SFT, PPO and evaluation alike).

    python benchmarks/demo.py --seeds 1 2 3 --json benchmarks/results/demo.json --figure docs/demo.svg

Every seed is a whole `train.py demo` in a folder of its own below --out. Needs about five minutes a seed on
two cores.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("syntax", "any_pass", "all_pass", "reward", "reward_pass_fraction", "length")


def main() -> None:
    """Run the seeds and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-demo"), help="folder for the runs")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    parser.add_argument("--figure", type=Path, help="SVG file to draw the learning curves to")
    arguments = parser.parse_args()
    runs = [run_demo(seed, arguments.out / f"seed-{seed}") for seed in arguments.seeds]
    print(table(runs))
    if arguments.figure:
        draw(arguments.figure, [arguments.out / f"seed-{seed}" for seed in arguments.seeds])
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({**machine(), "runs": runs}, indent=2) + "\n")


def run_demo(seed: int, out: Path) -> dict[str, Any]:
    """One demo; its evaluation, and how long it took."""
    start = time.monotonic()
    command = [sys.executable, "train.py", "demo", "--seed", str(seed), "--out", str(out.resolve())]
    subprocess.run(command, cwd=ROOT, check=True)
    evaluation = json.loads((out / "evaluation.json").read_text())
    models = {m["name"]: {c: m[c] for c in (*COLUMNS, "stages")} for m in evaluation["models"]}
    return {
        "seed": seed,
        "seconds": round(time.monotonic() - start),
        "problems": evaluation["problems"],
        "samples": evaluation["samples"],
        "temperature": evaluation["temperature"],
        "models": models,
    }


def table(runs: list[dict[str, Any]]) -> str:
    """Mean [95 % interval over problems] per seed and model, and the gain in All-P."""
    lines = [
        "| seed | model | Syn. % | ≥1-P % | All-P % | mean R | R with k/T | length | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        for name, model in run["models"].items():
            shares = [_cell(model[column], 100, ".0f") for column in COLUMNS[:3]]
            rewards = [_cell(model[column], 1, ".3f") for column in COLUMNS[3:5]]
            length = _cell(model["length"], 1, ".0f")
            cells = [str(run["seed"]), name, *shares, *rewards, length, str(run["seconds"])]
            lines.append("| " + " | ".join(cells) + " |")
    gains = [
        run["models"]["PPO"]["all_pass"]["mean"] / run["models"]["SFT"]["all_pass"]["mean"] for run in runs
    ]
    lines.append("\nAll-P, PPO over SFT: " + ", ".join(f"{gain:.2f}x" for gain in gains))
    return "\n".join(lines)


def draw(path: Path, folders: list[Path]) -> None:
    """Validation curves: one line per seed, one panel per column."""
    panels = (
        ("validation/syntax", "programs that parse"),
        ("validation/all_pass", "programs that pass all tests"),
    )
    matplotlib.rcParams["svg.hashsalt"] = "demo"  # the same curves give the same file
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for folder in folders:
            rows = [json.loads(line) for line in (folder / "ppo" / "metrics.jsonl").open()]
            points = [(row["iteration"], 100 * row[metric]) for row in rows if metric in row]
            axes.plot(
                *zip(*points, strict=True), marker="o", markersize=3, label=folder.name.replace("-", " ")
            )
        axes.set(title=title, xlabel="iteration", ylabel="% of validation problems", ylim=(0, 100))
        axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def machine() -> dict[str, Any]:
    """What the figures were measured with."""
    packages = {name: version(name) for name in ("torch", "transformers", "peft", "bandit")}
    return {"python": platform.python_version(), "machine": platform.machine(), "packages": packages}


def _cell(interval: dict[str, float], factor: float, form: str) -> str:
    mean, low, high = (format(factor * interval[key], form) for key in ("mean", "low", "high"))
    return f"{mean} [{low}-{high}]"


if __name__ == "__main__":
    main()
