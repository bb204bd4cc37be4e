"""The whole job on a pretrained model: SFT, evaluate, PPO, evaluate; a table with paired differences.

    python benchmarks/real_model.py --model HuggingFaceTB/SmolLM2-135M-Instruct --seeds 1 2 \\
        --json benchmarks/results/real_model.json
    python benchmarks/real_model.py --model ... --no-sft --ppo "--objective.withhold silent constant_output"
    python benchmarks/real_model.py --model ... --no-sft --problems mbpp_train.jsonl \\
        --validation mbpp_validation.jsonl --test mbpp_test.jsonl --config my.yaml

Settings are those of the preset (--config), which has three sections: sft, ppo and evaluate. Every step is
the command a user would give, and what is done is not done again: stop it at any time and give the same
command to go on; a PPO run that was cut off resumes from its newest checkpoint. Before and after are
measured on the same problems with the same random numbers, after PPO at the checkpoint that the validation
problems chose.
"""

import argparse
import json
import resource
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its reward.py would be imported

from benchmarks.runs import ROOT, call, metrics_of, train_ppo, validation_of, write  # noqa: E402
from evaluation.intervals import bootstrap_interval  # noqa: E402
from reward import Outcome  # noqa: E402

PRESET = "configs/smollm2-135m-cpu.yaml"
SHOWN = 10  # samples before and after, of problems evenly spread over the test set
_SHOWN_KEYS = ("problem", "problem_text", "program", "outcome", "score")
COLUMNS = {  # of evaluation.json -> heading, factor, format
    "syntax": ("Syn. %", 100, ".1f"),
    "any_pass": ("≥1-P %", 100, ".1f"),
    "all_pass": ("All-P %", 100, ".1f"),
    "reward": ("mean R", 1, ".3f"),
    "length": ("length", 1, ".1f"),
}


def main() -> None:
    """Do what is missing, seed by seed; write results after each, print the table and the samples."""
    given = _arguments()
    runs: list[dict[str, Any]] = []
    for seed in given.seeds:
        runs.append(run_seed(given, seed, given.out / f"seed-{seed}"))
        if given.json:
            job = {name: str(getattr(given, name)) for name in ("model", "config", "problems", "test", "ppo")}
            write(given.json, {**job, "sft": given.sft, "runs": runs})
    print(table(runs))
    print(shown_samples(runs[0]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder or hub name")
    parser.add_argument("--config", default=PRESET, help="preset of all steps")
    parser.add_argument("--no-sft", dest="sft", action="store_false", help="PPO on the model as it is")
    parser.add_argument("--problems", help="a file to train on (with SFT: with solutions); else the preset's")
    parser.add_argument("--validation", help="a file that chooses the checkpoint; else the preset's")
    parser.add_argument("--test", help="a file to measure on; else the preset's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of SFT, PPO and evaluation alike")
    parser.add_argument("--threads", help="CPU threads; else the preset's")
    parser.add_argument("--ppo", default="", help="more flags of PPO in one text, such as '--epochs 2'")
    parser.add_argument("--out", type=Path, default=Path("runs/real-model"), help="folder for the runs")
    parser.add_argument("--json", type=Path, help="file to write the results to")
    return parser.parse_args()


# --- the steps ---


def run_seed(given: argparse.Namespace, seed: int, out: Path) -> dict[str, Any]:
    """One seed: whatever steps are missing, then its results."""
    preset = ["--config", given.config, "--seed", str(seed)]
    preset += ["--threads", given.threads] if given.threads else []
    trained = ["--problems", given.problems] if given.problems else []
    trained += ["--validation", given.validation] if given.validation else []
    tested = ["--problems", given.test] if given.test else []

    def sft() -> None:
        if not (ROOT / out / "sft" / "model" / "model.safetensors").is_file():
            flags = ["--model", given.model, *trained, "--out", str(out / "sft"), "--overwrite"]
            call("train.py", "sft", *preset, *flags)

    def evaluate(name: str, checkpoint: str) -> Callable[[], None]:
        def step() -> None:
            if not (ROOT / out / f"{name}.json").is_file():
                flags = ["--names", name, "--out", str(out / f"{name}.json")]
                call("evaluate.py", checkpoint, *preset, *tested, *flags)

        return step

    def ppo() -> None:
        train_ppo(out / "ppo", start, seed, [*trained, *shlex.split(given.ppo)], preset)

    start = str(out / "sft") if given.sft else given.model
    if given.sft:
        timed(out, "sft", sft)
    timed(out, "before", evaluate("before", start))
    timed(out, "ppo", ppo)
    timed(out, "after", evaluate("after", str(out / "ppo")))
    return results(out, seed)


def timed(out: Path, name: str, step: Callable[[], None]) -> None:
    """Do a step and add what it took to times.json, also if it is cut off."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    try:
        step()
    finally:
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if cpu:  # there was something to do
            path = ROOT / out / "times.json"
            times = json.loads(path.read_text()) if path.is_file() else {}
            known = times.get(name, {"cpu_minutes": 0.0, "minutes": 0.0})
            times[name] = {
                "cpu_minutes": round(known["cpu_minutes"] + cpu / 60, 2),
                "minutes": round(known["minutes"] + (time.monotonic() - start) / 60, 2),
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(times))


# --- the results ---


def results(out: Path, seed: int) -> dict[str, Any]:
    """What the table and the README need of one seed."""
    folder = ROOT / out
    evaluations = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("before", "after")}
    before, after = (read_samples(folder / f"{name}_evaluation_samples.jsonl") for name in evaluations)
    rows = metrics_of(out / "ppo")
    return {
        "seed": seed,
        **{key: evaluations["before"][key] for key in ("problems", "samples", "temperature")},
        **{name: _measured(content["models"][0]) for name, content in evaluations.items()},
        "differences": differences(before, after, seed),
        "times": json.loads((folder / "times.json").read_text()),
        "ppo": training(rows),
        "shown": {"before": pick(before), "after": pick(after)},
    }


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The rows of evaluation_samples.jsonl, in the order of problems and samples."""
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def differences(
    before: list[dict[str, Any]], after: list[dict[str, Any]], seed: int
) -> dict[str, dict[str, float]]:
    """After minus before, column by column, with the 95 % bootstrap interval over problems.

    Paired: both answered the same problems, so what makes a problem hard is in both and cancels.
    """
    if [(r["problem"], r["sample"]) for r in before] != [(r["problem"], r["sample"]) for r in after]:
        raise SystemExit("the two evaluations are not of the same problems; remove them and start again")
    per_problem = 1 + max(row["sample"] for row in before)
    found = {}
    for column in COLUMNS:
        gaps = np.array([_value(b, column) - _value(a, column) for a, b in zip(before, after, strict=True)])
        found[column] = bootstrap_interval(gaps.reshape(-1, per_problem), seed)
    return found


def _value(row: dict[str, Any], column: str) -> float:
    """One number of one sample; NaN where the sandbox failed."""
    if row["verdict"] is None:
        return float("nan")
    outcome = Outcome.from_dict(row["verdict"])
    return float(
        {
            "syntax": outcome.compiles,
            "any_pass": outcome.passed > 0,
            "all_pass": outcome.all_passed,
            "reward": row["score"],
            "length": len(row["program"]),
        }[column]
    )


def training(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How PPO went: the validation curve, and the means of some metrics over its first and second half."""
    trained = [row for row in rows if row["iteration"] > 0]
    half = len(trained) // 2
    names = (
        *("reward/mean", "reward/all_pass", "rollout/length", "rollout/ended", "hack/any"),
        *("ppo/approx_kl", "ppo/clip_frac", "ppo/ref_kl", "ppo/entropy", "ppo/explained_var"),
        "ppo/explained_var_earned",
    )
    halves = {}
    for name, part in (("first_half", trained[:half]), ("second_half", trained[half:])):
        seen = {key: [row[key] for row in part if key in row] for key in names}
        halves[name] = {key: round(float(np.mean(values)), 4) for key, values in seen.items() if values}
    return {
        "iterations": len(trained),
        "samples": int(sum(row["rollout/samples"] for row in trained)),
        "validation": validation_of(rows),
        "all_pass": [round(row["reward/all_pass"], 4) for row in trained],
        **halves,
        "warnings": sorted({key for row in trained for key in row if key.startswith("warning/")}),
    }


def pick(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first sample of some problems, evenly spread, so that nobody chose them."""
    firsts = [row for row in rows if row["sample"] == 0]
    chosen = [firsts[i * len(firsts) // SHOWN] for i in range(min(SHOWN, len(firsts)))]
    return [{key: row[key] for key in _SHOWN_KEYS} for row in chosen]


def _measured(model: dict[str, Any]) -> dict[str, Any]:
    return {column: model[column] for column in COLUMNS} | {"stages": model["stages"]}


# --- for the reader ---


def table(runs: list[dict[str, Any]]) -> str:
    """Before, after and their paired difference, seed by seed."""
    headings = " | ".join(heading for heading, _, _ in COLUMNS.values())
    lines = [f"| seed | | {headings} |", "|---" * (2 + len(COLUMNS)) + "|"]
    for run in runs:
        for name in ("before", "after", "difference"):
            measured = run["differences"] if name == "difference" else run[name]
            sign = "+" if name == "difference" else ""
            cells = [
                "{} [{} to {}]".format(
                    *(format(factor * measured[column][key], sign + form) for key in ("mean", "low", "high"))
                )
                for column, (_, factor, form) in COLUMNS.items()
            ]
            lines.append("| " + " | ".join([str(run["seed"]), name, *cells]) + " |")
    first = runs[0]
    lines.append(
        f"\n{first['problems']} problems x {first['samples']}, T = {first['temperature']}; "
        "[95 % interval with problems as the unit], differences paired by problem."
    )
    return "\n".join(lines)


def shown_samples(run: dict[str, Any]) -> str:
    """What it wrote before and after, problem by problem."""
    lines = []
    for before, after in zip(run["shown"]["before"], run["shown"]["after"], strict=True):
        lines.append(f"\n# {before['problem_text']}")
        for name, row in (("before", before), ("after", after)):
            lines.append(f"-- {name}: {row['outcome']}, {row['score']:.2f}\n{row['program'].rstrip()}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
