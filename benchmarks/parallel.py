"""Samples per second of one process on one core, and of several on as many, under torchrun.

    python benchmarks/parallel.py --json benchmarks/results/parallel.json
    python benchmarks/parallel.py --processes 1 4 --sft MODEL --config configs/smollm2-135m-cpu.yaml

In each round every number of processes trains the same run, one after the other, pinned to as many cores,
each process with one thread and one worker of the sandbox. What is measured is the time from the first
checkpoint to the last, all that an iteration does in it but validation, which is off. Start-up is not in it.
The speed-ups are those of each round, and their median.

Cores share caches, memory and often more, so as many cores are not as many times as fast, whatever runs on
them. How fast they are is told by runs of one core each, at the same time, that know nothing of each other.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

if __name__ == "__main__":  # the project, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from benchmarks.runs import ROOT, metrics_of, train_sft
from ppo.run.folder import numbered


def main() -> None:
    """Measure, print a Markdown table, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=6, help="of each run; the first is not measured")
    parser.add_argument("--prompts", type=int, default=256, help="problems per iteration")
    parser.add_argument("--minibatch", type=int, default=128)
    parser.add_argument("--config", default="configs/tiny.yaml", help="preset of sft and ppo")
    parser.add_argument("--sft", type=Path, help="SFT model; else made under the preset")
    parser.add_argument("--out", type=Path, default=Path("runs/parallel"), help="folder for the runs")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    arguments = parser.parse_args()
    result = measure(arguments)
    print(table(result))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Samples per second by number of processes, round by round."""
    sft = arguments.sft or train_sft(arguments.out / "sft", 1, ["--config", arguments.config])
    rates: dict[int, list[float]] = {count: [] for count in arguments.processes}
    apart: dict[int, list[float]] = {count: [] for count in arguments.processes[1:]}
    for number in range(arguments.rounds):
        for count in arguments.processes:
            rates[count].append(together_rate(arguments, sft, count))
            print(f"round {number + 1}: {count} processes, {rates[count][-1]:.2f}/s", file=sys.stderr)
        for count in apart:
            apart[count].append(apart_rate(arguments, sft, count))
            print(f"round {number + 1}: {count} runs apart, {apart[count][-1]:.2f}/s", file=sys.stderr)
    fewest = rates[arguments.processes[0]]
    return {
        "torch": torch.__version__,
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "preset": arguments.config,
        "prompts_per_iteration": arguments.prompts,
        "minibatch_size": arguments.minibatch,
        "iterations": arguments.iterations - 1,
        "rounds": arguments.rounds,
        "samples_per_second": _rounded(rates),
        "samples_per_second_apart": _rounded(apart),
        "speed_up": {str(count): compare(rates[count], fewest) for count in apart},
        "speed_up_apart": {str(count): compare(apart[count], fewest) for count in apart},
        "of_apart": {str(count): compare(rates[count], apart[count]) for count in apart},
    }


def together_rate(arguments: argparse.Namespace, sft: Path, count: int) -> float:
    """Samples per second of one run on `count` cores."""
    out = arguments.out / f"processes-{count}"
    _finish([_start(arguments, sft, out, _cores(count))])
    return _rate(out)


def apart_rate(arguments: argparse.Namespace, sft: Path, count: int) -> float:
    """Samples per second of `count` runs at the same time that know nothing of each other, a core each."""
    outs = [arguments.out / f"apart-{number}" for number in range(count)]
    _finish(_start(arguments, sft, out, [core]) for out, core in zip(outs, _cores(count), strict=True))
    return sum(map(_rate, outs))


def _cores(count: int) -> list[int]:
    cores = sorted(os.sched_getaffinity(0))[:count]
    if len(cores) < count:
        sys.exit(f"error: {count} processes need as many cores, and there are {len(cores)}")
    return cores


def _start(arguments: argparse.Namespace, sft: Path, out: Path, cores: list[int]) -> subprocess.Popen[bytes]:
    """A run on some cores, with a process for each."""
    flags = ["--config", arguments.config, "--sft", sft, "--out", out, "--overwrite", "--validation", "None"]
    flags += ["--device", "cpu", "--threads", 1, "--iterations", arguments.iterations]
    flags += ["--prompts-per-iteration", arguments.prompts, "--minibatch-size", arguments.minibatch]
    flags += ["--save-every", 1, "--keep-checkpoints", arguments.iterations + 1]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", len(cores)]
    return subprocess.Popen(
        [sys.executable, *map(str, torchrun if len(cores) > 1 else []), "train.py", "ppo", *map(str, flags)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )


def _finish(started: Iterable[subprocess.Popen[bytes]]) -> None:
    runs = list(started)  # all of them at once
    statuses = [run.wait() for run in runs]
    for run, status in zip(runs, statuses, strict=True):
        if status:
            raise subprocess.CalledProcessError(status, run.args)


def _rate(out: Path) -> float:
    """Samples per second between the first checkpoint of a run and its last."""
    _, first, *_, last = (path / "state.json" for path in numbered(ROOT / out / "checkpoints"))
    samples = sum(row["rollout/samples"] for row in metrics_of(out)[2:])
    return float(samples / (last.stat().st_mtime - first.stat().st_mtime))


def _rounded(rates: Mapping[int, Sequence[float]]) -> dict[str, list[float]]:
    return {str(count): [round(rate, 3) for rate in found] for count, found in rates.items()}


def compare(these: Sequence[float], those: Sequence[float]) -> dict[str, Any]:
    """How many times as fast these are as those, round by round."""
    ratios = [a / b for a, b in zip(these, those, strict=True)]
    return {"median": round(median(ratios), 3), "rounds": [round(ratio, 3) for ratio in ratios]}


def table(result: dict[str, Any]) -> str:
    """The medians, and how much faster than the first number of them; beside them what runs apart make."""
    lines = ["| processes and cores | samples per second | times as fast | so many runs apart | of those |"]
    lines.append("|---|---|---|---|---|")
    for count, rates in result["samples_per_second"].items():
        ratios = (result[name].get(count) for name in ("speed_up", "speed_up_apart", "of_apart"))
        lines.append(f"| {count} | {median(rates):.2f} | {' | '.join(map(_spread, ratios))} |")
    return "\n".join(lines)


def _spread(ratio: dict[str, Any] | None) -> str:
    """Median [least, most]."""
    if ratio is None:
        return "–"
    return f"{ratio['median']:.2f} [{min(ratio['rounds']):.2f}, {max(ratio['rounds']):.2f}]"


if __name__ == "__main__":
    main()
