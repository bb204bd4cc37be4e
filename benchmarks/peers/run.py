"""This project and other trainers on the same PPO step, a step each in turn on one core.

    sh benchmarks/peers/setup.sh FOLDER          # their venvs, outside the project
    .venv/bin/python benchmarks/peers/run.py --venvs FOLDER --json benchmarks/results/peers.json
    .venv/bin/python benchmarks/peers/run.py --venvs FOLDER --model DIR --steps 2 --with trl_classic

On a machine that does other things too, seconds come and go by tens of per cent; what holds are the ratios
of steps taken one after the other. All processes are pinned to one core, have one thread, and wait (at no
cost) while another takes its step. Each trainer gets the same weights, prompts and adapters, and stops if its
version of transformers misreads the model. Ratios are this project's figure by the other's: medians over
rounds, the first left out. Memory is the peak above what is resident after imports.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)

from benchmarks.peers.meter import GO, READY, machine  # noqa: E402

HERE = Path(__file__).resolve().parent
OURS = "ours"
PEERS = ("trl_classic", "trl_last", "transformers_generate")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
QUIET = {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "CUDA_VISIBLE_DEVICES": ""}


class Runner:
    """One process, which takes a step when it is told to."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name, self.log, self.json = name, folder / f"{name}.log", folder / f"{name}.json"
        self.process = subprocess.Popen(
            [*command, "--in-turn", "--json", str(self.json)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
            env={**os.environ, **ONE_THREAD, **QUIET},
        )
        self.runs = True
        self._until_it_waits()

    def step(self) -> None:
        """One step, while all others wait; after the last the process writes its figures and ends."""
        assert self.process.stdin is not None
        print(GO, file=self.process.stdin, flush=True)
        self._until_it_waits()

    def _until_it_waits(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == READY:
                return
        self.runs = False
        if self.process.wait():
            raise SystemExit(f"{self.name} failed:\n{self.log.read_text()[-2000:]}")


def compare(commands: dict[str, list[str]], folder: Path) -> dict[str, dict[str, Any]]:
    """Run all of them in turn; the figures of each by name."""
    runners = [Runner(name, command, folder) for name, command in commands.items()]
    while any(runner.runs for runner in runners):
        for runner in runners:
            if runner.runs:
                runner.step()
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {runner.name: json.loads(runner.json.read_text(encoding="utf-8")) for runner in runners}


def ratios(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each trainer: this project's figures by its own. What only samples is compared in sampling alone."""
    ours = found[OURS]
    result: dict[str, dict[str, float]] = {}
    for name, theirs in found.items():
        row = {"tokens_per_second": ours["tokens_per_second"] / theirs["tokens_per_second"]}
        if "cpu.update" in theirs:
            rounds = zip(ours["cpu.steps"], theirs["cpu.steps"], strict=True)
            row["cpu.total"] = median(a / b for a, b in rounds)
            row["rss.above_imports"] = ours["rss.above_imports"] / theirs["rss.above_imports"]
        if name != OURS:
            result[name] = {key: round(value, 3) for key, value in row.items()}
    return result


def table(found: dict[str, dict[str, Any]], against: dict[str, dict[str, float]]) -> str:
    """Markdown: a line for each trainer, its figures and then this project's by them."""
    columns = {
        "CPU s": "cpu.total",
        "rollout": "cpu.rollout",
        "scoring": "cpu.forward",
        "update": "cpu.update",
        "tokens/s": "tokens_per_second",
        "peak GiB": "rss.peak",
        "above imports": "rss.above_imports",
    }
    compared = {"CPU": "cpu.total", "speed": "tokens_per_second", "memory": "rss.above_imports"}
    lines = [["", *columns, *(f"ours by theirs: {name}" for name in compared)]]
    lines.append(["---"] * len(lines[0]))
    for name, row in found.items():
        shown = [(row, key) for key in columns.values()]
        shown += [(against.get(name, {}), key) for key in compared.values()]
        lines.append([name, *(f"{part[key]:.2f}" if key in part else "–" for part, key in shown)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Prepare the workload, run, print, write."""
    given = _arguments()
    os.sched_setaffinity(0, {given.core})  # and all that is started from here
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        model = ["--model", str(given.model)] if given.model else []
        script = [sys.executable, str(ROOT / "benchmarks" / "workload.py"), str(folder)]
        subprocess.run(
            [*script, "--steps", str(given.steps), *model], check=True, env={**os.environ, **QUIET}
        )
        flags = ["--steps", str(given.steps), "--micro", str(given.micro)]
        commands = {
            OURS: [sys.executable, str(ROOT / "benchmarks" / "ppo_step.py"), "--task", str(folder), *flags]
        }
        for name in given.peers:
            venv = given.venvs / name / "bin" / "python"
            python = str(venv) if venv.exists() else sys.executable
            if python == sys.executable and name != "transformers_generate":
                raise SystemExit(f"{venv} is not there: sh benchmarks/peers/setup.sh {given.venvs}")
            commands[name] = [python, str(HERE / f"{name}.py"), str(folder), *flags]
        found = compare(commands, folder)
    against = ratios(found)
    print(table(found, against))
    about = {"model": given.model.name if given.model else "random", "steps": given.steps, **machine()}
    if given.json:
        text = json.dumps({**about, "ratios": against, "runs": found}, indent=1)
        given.json.write_text(text + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--venvs", type=Path, required=True, help="folder of benchmarks/peers/setup.sh")
    parser.add_argument("--with", dest="peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--steps", type=int, default=5, help="rounds; the first is not counted (5)")
    parser.add_argument("--micro", type=int, default=4, help="responses of a backward pass, of all (4)")
    parser.add_argument("--model", type=Path, help="folder of a model with its tokenizer; 64 sampled tokens")
    last = max(os.sched_getaffinity(0))
    parser.add_argument("--core", type=int, default=last, help=f"the core that all share ({last})")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
