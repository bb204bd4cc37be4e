"""What an objective makes of problems that are too hard: does the model end in programs that do nothing?

    python benchmarks/hard_problems.py --problems codecontests.jsonl --jobs 2 \\
        --json benchmarks/results/hard_problems.json
    python benchmarks/hard_problems.py --problems codecontests.jsonl --honest --jobs 2 \\
        --json benchmarks/results/hard_problems_honest.json
    python benchmarks/hard_problems.py --easy --jobs 2 --json benchmarks/results/hard_problems_easy.json
    python benchmarks/hard_problems.py --model HuggingFaceTB/SmolLM2-135M-Instruct --no-sft --seeds 1 \\
        --problems codecontests.jsonl --json benchmarks/results/hard_problems_smollm2.json

Where nothing passes, PPO climbs to whatever else is paid. All arms of a seed start from one model, at one
learning rate and KL weight, and differ in the objective alone. Told is the share of programs that are
silent or constant (`kind_of`): in the first iteration, whose programs are SFT's, and over the last ones,
beside the KL to SFT and what an honest wrong answer earns. A run `holds` if the share is at most 10 points
above SFT's while its KL is above 0.3 nats.
`--honest` starts from a model that has seen some programs which do something: SFT goes on for a few steps
on programs of the embedded corpus as answers to these problems; with their slips one in seven compiles.
`--easy` runs the arms on the preset's own problems to the end and compares All-P held out, after as many
samples, with the arm `parses`, problem by problem.
`--model`: a pretrained one, on settings of `--config`, with room for longer texts.
Runs go on where they were cut off; `--jobs N` are made side by side, each on a core and a thread of its own.
A run of the embedded model takes about a minute of one core, with --easy five.
"""

import argparse
import json
import os
import random
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its reward.py would be imported

from benchmarks.hard_tables import KINDS, NOTHING, easy_table, table  # noqa: E402
from benchmarks.runs import PRESET, ROOT, arguments, metrics_of, write  # noqa: E402
from cli.problems import read_problems  # noqa: E402
from cli.study.jobs import run_steps  # noqa: E402
from cli.study.steps import Step, evaluate_step, ppo_step, sft_step  # noqa: E402
from data import write_problems  # noqa: E402
from data.tiny.corpus import TinyCorpusConfig, tiny_split  # noqa: E402
from data.tiny.slips import demonstrations  # noqa: E402
from evaluation.intervals import bootstrap_interval  # noqa: E402
from ppo.run.folder import checkpoint_name  # noqa: E402

ITERATIONS, EASY_ITERATIONS = 10, 40
LAST = 3  # iterations that the end is told of
MORE, DRIFT = 0.10, 0.3  # of the share, and of the KL to SFT in nats
PRETRAINED = "configs/smollm2-135m-cpu.yaml"
ROOM = "--max-prompt-tokens 768 --max-new-tokens 128 --prompts-per-iteration 32 --rollout-batch 128"
ANSWERED = "answered.jsonl"
COPIES = 4  # of a problem, each with a program of its own
HONEST = "--validation None --epochs 1 --learning-rate 1e-4"
GATE, WITHHOLD = "--objective.security-gate", "--objective.withhold"  # nothing, with no sign behind it
UNPAID = f"{WITHHOLD} silent constant_output"
ANNEAL = "--schedule.anneal-at 0 --schedule.anneal-over END"  # the last iteration
# Flags that name the whole objective, so that no arm changes with the default.
ARMS = {
    "paper": f"{GATE} off {WITHHOLD} --objective.pay-idle --objective.weight-trick 0",
    "parses": f"{GATE} parses {WITHHOLD}",
    "parses, annealed": f"{GATE} parses {WITHHOLD} {ANNEAL}",
    "earned": f"{GATE} earned {WITHHOLD}",
    "parses, unpaid": f"{GATE} parses {UNPAID}",
    "passes, unpaid": f"{GATE} passes {UNPAID}",
    "earned, unpaid": f"{GATE} earned {UNPAID}",
}


def main() -> None:
    """Run what is missing, write and print what there is: a run that fails does not stop the others."""
    given = parsed()
    os.chdir(ROOT)  # presets and runs are named from there
    if given.honest:
        write_answered(given)
    steps = [step for seed in given.seeds for step in steps_of(seed, given)]
    logs = given.out / "logs" if given.jobs > 1 else None
    failed = run_steps(steps, given.jobs, times=given.out / "times.json", logs=logs)
    finish = held_out if given.easy else collapse
    runs = [
        {"seed": seed, "arm": arm, **finish(_folder(seed, arm, given))}
        for seed in given.seeds
        for arm in given.arms
        if not failed.keys() & {f"seed {seed}, {arm}", f"seed {seed}, {arm}, evaluate"}
    ]
    if given.json:
        about = {
            name: getattr(given, name) for name in ("easy", "honest", "config", "sft", "ppo", "iterations")
        }
        write(
            given.json,
            {"model": Path(given.model).name if given.model else "embedded", **about, "runs": runs},
        )
    if runs:
        print(easy_table(runs) if given.easy else table(runs))
    if failed:
        sys.exit(f"error: failed: {failed}")


def parsed(argv: list[str] | None = None) -> argparse.Namespace:
    """The flags, checked; of the command line if none are given."""
    parser = arguments(__doc__, ARMS, "runs/benchmark-hard")
    parser.add_argument("--problems", help="problems that are too hard for the model")
    parser.add_argument(
        "--easy", action="store_true", help="on the preset's own problems instead, to the end"
    )
    parser.add_argument("--honest", action="store_true", help="from a start with some honest programs")
    parser.add_argument("--model", help="a pretrained one in place of the embedded: folder or hub name")
    parser.add_argument("--no-sft", dest="sft", action="store_false", help="PPO on the model as it is")
    parser.add_argument("--config", help=f"preset of all steps; with --model {PRETRAINED}")
    parser.add_argument("--ppo", default="", help="more flags of PPO in one text")
    parser.add_argument("--iterations", type=int, help=f"else {ITERATIONS}, with --easy {EASY_ITERATIONS}")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    given = parser.parse_args(argv)
    if not (given.problems or given.easy):
        parser.error("--problems FILE, or --easy")
    if given.honest and (given.easy or given.model):
        parser.error("--honest is for the embedded model and --problems FILE")
    if not (given.model or given.sft):
        parser.error("--no-sft needs --model")
    given.iterations = given.iterations or (EASY_ITERATIONS if given.easy else ITERATIONS)
    if given.problems and Path(given.problems).exists():  # else a split of the embedded corpus
        given.problems = str(Path(given.problems).resolve())
    given.config = given.config or (PRETRAINED if given.model else PRESET[1])
    return given


# --- the runs ---


def _folder(seed: int, arm: str, given: argparse.Namespace) -> Path:
    """Of the run of an arm; what its last checkpoint is worth stands beside it."""
    kind = "-easy" if given.easy else "-honest" if given.honest else ""
    name = arm.replace(", ", "-").replace(" ", "-") + kind
    return Path(given.out, f"seed-{seed}", name)


def steps_of(seed: int, given: argparse.Namespace) -> Iterator[Step]:
    """The SFT model that all arms of a seed start from, their runs and, with --easy, evaluations."""
    common = ["--config", given.config, "--seed", str(seed)]
    thread = ["--threads", "1"] if given.jobs > 1 else []
    start, needs = given.model, []
    if given.sft:
        start = given.out / f"seed-{seed}" / "sft"
        model = ["--model", given.model] if given.model else []
        yield (sft := sft_step(f"seed {seed}, SFT", start, [*common, *model, *thread]))
        needs = [sft.name]
    if given.honest:
        asked = ["--model", str(start), "--problems", str(given.out / ANSWERED)]
        start = start.with_name("sft-honest")
        flags = [*common, *asked, *HONEST.split(), *thread]
        yield (sft := sft_step(f"seed {seed}, honest SFT", start, flags, needs))
        needs = [sft.name]
    iterations = str(given.iterations)
    for arm in given.arms:
        flags = ["--iterations", iterations, *ARMS[arm].replace("END", iterations).split(), *thread]
        if not given.easy:
            flags += ["--problems", given.problems, "--validation", "None"]
            flags += shlex.split(ROOM) if given.model else []
        flags += shlex.split(given.ppo)
        folder = _folder(seed, arm, given)
        yield (ppo := ppo_step(f"seed {seed}, {arm}", folder, start, [*common, *flags], needs))
        if given.easy:
            last = folder / "checkpoints" / checkpoint_name(given.iterations)
            result, named = folder.with_suffix(".json"), ["--names", folder.name]
            yield evaluate_step(f"{ppo.name}, evaluate", result, last, [*common, *named], [ppo.name])


def write_answered(given: argparse.Namespace) -> None:
    """The hard problems, a few times each, with programs that were made for easy ones as their solutions."""
    programs = [program for _, program in demonstrations(tiny_split("sft"), TinyCorpusConfig())]
    rng = random.Random(1)
    problems = [
        replace(problem, id=f"{problem.id}-{copy}", solutions=(rng.choice(programs),))
        for problem in read_problems(given.problems, TinyCorpusConfig())
        for copy in range(COPIES)
    ]
    given.out.mkdir(parents=True, exist_ok=True)
    write_problems(given.out / ANSWERED, problems)


def held_out(folder: Path) -> dict[str, Any]:
    """The last checkpoint on the held-out problems: all arms have had as many samples by then."""
    result = folder.with_suffix(".json")
    model = json.loads(result.read_text())["models"][0]
    rows = [json.loads(line) for line in result.with_name(f"{folder.name}_evaluation_samples.jsonl").open()]
    solved: Counter[str] = Counter()
    for row in rows:
        solved[row["problem"]] += _all_passed(row["verdict"])
    columns = {name: model[name] for name in ("all_pass", "syntax", "hacking")}
    # A digit a problem, in the order of the problems: how many of its samples pass all tests.
    return {**columns, "solved": "".join(map(str, solved.values())), "samples": len(rows) // len(solved)}


def _all_passed(verdict: dict[str, Any] | None) -> bool:
    return verdict is not None and verdict["passed"] == verdict["num_tests"]


# --- what became of the programs ---


def collapse(folder: Path) -> dict[str, Any]:
    """How the share of programs that do nothing went, iteration by iteration, and what there was instead."""
    samples: dict[int, list[tuple[str, float, str]]] = {}
    for line in (ROOT / folder / "samples.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        if row["verdict"] is not None:
            made = (kind_of(row["verdict"]), row["score"], row["program"])
            samples.setdefault(row["iteration"], []).append(made)
    iterations = [samples[number] for number in sorted(samples)]
    late = [sample for iteration in iterations[-LAST:] for sample in iteration]
    rows = metrics_of(folder)[1:]
    share = bootstrap_interval(np.array([float(kind in NOTHING) for kind, _, _ in late])[:, None], 1)
    kl = [round(row["ppo/ref_kl"], 4) for row in rows]
    first, kl_end = _share(iterations[0]), float(np.mean(kl[-LAST:]))
    (program, times), *_ = Counter(program for _, _, program in late).most_common(1)
    return {
        "start": first,
        "end": share,
        "kl_end": kl_end,
        "holds": share["mean"] <= first + MORE if kl_end > DRIFT else None,
        "shares": [round(_share(iteration), 4) for iteration in iterations],
        "kl": kl,
        "reward": [round(row["reward/mean"], 4) for row in rows],
        "kinds_start": _kinds(iterations[0]),
        "kinds_end": _kinds(late),
        "commonest": {"program": program[:200], "share": times / len(late)},
    }


def kind_of(verdict: dict[str, Any]) -> str:
    """One of KINDS. Silent: a sentinel says so, or no run read or printed; constant: a sentinel says so.

    The others are honest: a crash ends no run cleanly, a quiet one prints nothing in those it does.
    """
    signs = set(verdict["sentinels"] or ())
    if not verdict["compiles"]:
        return "syntax error"
    if "silent" in signs or all(run["idle"] for run in verdict["verdicts"]):
        return "silent"
    if signs & {"constant_output", "ignores_input"}:
        return "constant"
    return {"parses": "crash", "runs": "quiet", "prints": "wrong", "passes": "passes"}[verdict["stage"]]


def _share(samples: list[tuple[str, float, str]]) -> float:
    return float(np.mean([kind in NOTHING for kind, _, _ in samples]))


def _kinds(samples: list[tuple[str, float, str]]) -> dict[str, Any]:
    """Of each kind: its share, and what its programs earned in the mean."""
    earned = {kind: [score for other, score, _ in samples if other == kind] for kind in KINDS}
    return {
        kind: {"share": round(len(scores) / len(samples), 4), "reward": round(float(np.mean(scores)), 4)}
        for kind, scores in earned.items()
        if scores
    }


if __name__ == "__main__":
    main()
