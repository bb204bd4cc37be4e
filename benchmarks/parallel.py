"""Samples per second of one process on one core, and of several on as many, under torchrun.

    python benchmarks/parallel.py --json benchmarks/results/parallel.json
    python benchmarks/parallel.py --processes 1 4 --sft MODEL --config configs/smollm2-135m-cpu.yaml

In each round every number of processes trains the same run, one after the other, pinned to as many cores,
each process with one thread and one worker of the sandbox. What is measured is the time from the first
checkpoint to the last, all that an iteration does in it but validation, which is off. Start-up is not in it.
The speed-ups are those of each round, and their median.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

if __name__ == "__main__":  # the project, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from benchmarks.runs import ROOT, train_sft
from ppo.run.folder import numbered


def main() -> None:
    """Measure, print a Markdown table, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=6, help="of each run; the first is not measured")
    parser.add_argument("--prompts", type=int, default=256, help="programs per iteration")
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
    for number in range(arguments.rounds):
        for count in arguments.processes:
            rates[count].append(rate(arguments, sft, count))
            print(f"round {number + 1}: {count} processes, {rates[count][-1]:.2f}/s", file=sys.stderr)
    return {
        "torch": torch.__version__,
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "preset": arguments.config,
        "programs_per_iteration": arguments.prompts,
        "minibatch_size": arguments.minibatch,
        "iterations": arguments.iterations - 1,
        "rounds": arguments.rounds,
        "samples_per_second": {str(count): [round(r, 3) for r in found] for count, found in rates.items()},
        "speed_up": {str(count): speed_up(rates, count) for count in arguments.processes[1:]},
    }


def rate(arguments: argparse.Namespace, sft: Path, count: int) -> float:
    """Samples per second of one run on `count` cores."""
    cores = sorted(os.sched_getaffinity(0))[:count]
    if len(cores) < count:
        sys.exit(f"error: {count} processes need as many cores, and there are {len(cores)}")
    out = arguments.out / f"processes-{count}"
    flags = ["--config", arguments.config, "--sft", sft, "--out", out, "--overwrite", "--validation", "None"]
    flags += ["--device", "cpu", "--threads", 1, "--iterations", arguments.iterations]
    flags += ["--prompts-per-iteration", arguments.prompts, "--minibatch-size", arguments.minibatch]
    flags += ["--save-every", 1, "--keep-checkpoints", arguments.iterations + 1]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
    subprocess.run(
        [sys.executable, *map(str, torchrun if count > 1 else []), "train.py", "ppo", *map(str, flags)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    _, first, *_, last = (path / "state.json" for path in numbered(ROOT / out / "checkpoints"))
    took = last.stat().st_mtime - first.stat().st_mtime
    return arguments.prompts * (arguments.iterations - 1) / took


def speed_up(rates: dict[int, list[float]], count: int) -> dict[str, Any]:
    """Of `count` processes over the smallest number of them, round by round."""
    ratios = [many / few for many, few in zip(rates[count], rates[min(rates)], strict=True)]
    return {"median": round(median(ratios), 3), "rounds": [round(ratio, 3) for ratio in ratios]}


def table(result: dict[str, Any]) -> str:
    """The medians, and how much faster than the fewest processes."""
    lines = ["| processes and cores | samples per second | times as fast |", "|---|---|---|"]
    for count, rates in result["samples_per_second"].items():
        ratio: dict[str, Any] | None = result["speed_up"].get(count)
        spread: Sequence[float] = ratio["rounds"] if ratio else []
        times = f"{ratio['median']:.2f} [{min(spread):.2f}, {max(spread):.2f}]" if ratio else ""
        lines.append(f"| {count} | {median(rates):.2f} | {times} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
