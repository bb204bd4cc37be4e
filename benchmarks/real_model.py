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
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its reward.py would be imported

from benchmarks.runs import ROOT, metrics_of, validation_of, write  # noqa: E402
from cli.ppo_settings import PPOCommand  # noqa: E402
from cli.sample_numbers import kept_numbers  # noqa: E402
from cli.settings import load_preset  # noqa: E402
from cli.study.jobs import run_steps  # noqa: E402
from cli.study.steps import Step, evaluate_step, ppo_step, sft_step  # noqa: E402
from evaluation.paired import paired_difference  # noqa: E402
from reward import RewardConfig  # noqa: E402

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
    os.chdir(ROOT)  # presets and runs are named from there
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

    def measured(name: str, checkpoint: str | Path, after: Step | None) -> Step:
        flags = [*preset, *tested, "--names", name]
        needs = [after.name] if after else []
        return evaluate_step(name, out / f"{name}.json", checkpoint, flags, needs)

    start = out / "sft" if given.sft else given.model
    sft = sft_step("sft", out / "sft", [*preset, "--model", given.model, *trained]) if given.sft else None
    flags = [*preset, *trained, *shlex.split(given.ppo)]
    ppo = ppo_step("ppo", out / "ppo", start, flags, [sft.name] if sft else [])
    steps = [measured("before", start, sft), ppo, measured("after", out / "ppo", ppo)]
    if failed := run_steps([sft, *steps] if sft else steps, times=out / "times.json"):
        raise SystemExit("; ".join(f"{name}: {why}" for name, why in failed.items()))
    return results(out, seed, load_preset(Path(given.config), "ppo", PPOCommand).objective)


# --- the results ---


def results(out: Path, seed: int, objective: RewardConfig) -> dict[str, Any]:
    """What the table and the README need of one seed; R of the differences is by one objective."""
    evaluations = {name: json.loads((out / f"{name}.json").read_text()) for name in ("before", "after")}
    samples = {name: out / f"{name}_evaluation_samples.jsonl" for name in evaluations}
    return {
        "seed": seed,
        **{key: evaluations["before"][key] for key in ("problems", "samples", "temperature")},
        **{name: _measured(content["models"][0]) for name, content in evaluations.items()},
        "differences": differences(samples["before"], samples["after"], objective, seed),
        "times": json.loads((out / "times.json").read_text()),
        "ppo": training(metrics_of(out / "ppo")),
        "shown": {name: pick(read_samples(path)) for name, path in samples.items()},
    }


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The rows of evaluation_samples.jsonl, in the order of problems and samples."""
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def differences(before: Path, after: Path, objective: RewardConfig, seed: int) -> dict[str, dict[str, float]]:
    """After minus before, column by column, paired by problem: see evaluation/paired.py."""
    first, problems = kept_numbers("before", before, objective)
    second, others = kept_numbers("after", after, objective)
    if problems != others:
        raise SystemExit("the two evaluations are not of the same problems; remove them and start again")
    return {key: paired_difference(first.columns[key], second.columns[key], seed) for key in COLUMNS}


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
