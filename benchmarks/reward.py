"""What scoring a program costs: this project's engine against the published artifact's method, in CPU time.

    python benchmarks/reward.py --json benchmarks/results/reward.json

The artifact starts one `python` per test and one `bandit` per program. The engine is measured with and
without the scan, and with a fresh child per input and with shared ones. Every program is new to it, so
nothing comes from a cache. Programs are right ones of the embedded corpus, of 5 tests each,
or the first solutions of a file of problems (`--problems FILE`), of which up to 5 tests are used.

CPU time is user + system of this process and of all it started, which repeats on a busy machine where wall
time does not. What the engine costs to start is told apart: the cost per program is that of all programs less
that of the first quarter, each in an engine of its own, with one worker: more take as much CPU, faster.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

if __name__ == "__main__":  # not this folder: its reward.py would be imported
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import Problem, load_problems
from data.tiny.corpus import TinyCorpusConfig, tiny_split
from reward import Scan, Scorer

TESTS = 5
BANDIT = ("-m", "bandit", "--quiet", "-ll", "-f", "json")
# name -> (share_children, scan)
ENGINES = {
    "fresh children": (False, True),
    "shared children": (True, True),
    "fresh children, no scan": (False, False),
    "shared children, no scan": (True, False),
}
Pair = tuple[Problem, str]


@dataclass(frozen=True)
class Cost:
    """Seconds."""

    cpu: float
    wall: float

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.cpu - other.cpu, self.wall - other.wall)

    def __truediv__(self, count: int) -> "Cost":
        return Cost(self.cpu / count, self.wall / count)


def main() -> None:
    """Measure, print a Markdown table, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=int, default=240, help="programs per round of the engine")
    parser.add_argument("--artifact-programs", type=int, default=8, help="programs per round of the artifact")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; the median and all values are told")
    parser.add_argument("--problems", type=Path, help="a file of problems with solutions")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    arguments = parser.parse_args()
    result = measure(arguments)
    print(table(result))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every method in every round, one after the other, so that a slow minute of the machine hits all."""
    pairs = programs(arguments.problems, arguments.programs)
    few = pairs[: arguments.artifact_programs]
    costs: dict[str, list[Cost]] = {name: [] for name in ("artifact", *ENGINES)}
    quarter, starts = len(pairs) // 4, []
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
        costs["artifact"].append(cost(partial(artifact, few)) / len(few))
        for name, (share, scan) in ENGINES.items():
            first = cost(partial(engine, pairs[:quarter], share, scan))
            whole = cost(partial(engine, pairs, share, scan))
            costs[name].append((whole - first) / (len(pairs) - quarter))
            starts.append(first.cpu - quarter * costs[name][-1].cpu)
    return {
        **machine(),
        "source": str(arguments.problems.name if arguments.problems else "embedded corpus"),
        "programs": len(pairs),
        "tests_per_program": sum(len(problem.tests) for problem, _ in pairs) / len(pairs),
        "rounds": arguments.rounds,
        "start_cpu_ms": round(1000 * median(starts)),
        "methods": {name: summary(name, costs) for name in costs},
    }


def programs(path: Path | None, count: int) -> list[Pair]:
    """Problems with at most TESTS tests, and a solution of each; no two programs are the same text."""
    if path is None:
        config = TinyCorpusConfig(heldout=20 * count, validation=0, rl=0, sft=0)
        problems = [problem for problem in tiny_split("heldout", config) if len(problem.tests) >= TESTS]
    else:
        problems = [problem for problem in load_problems(path, skipped=Counter()) if problem.solutions]
    if not problems:
        sys.exit("error: no problem there has a solution")
    return [
        (replace(problem, tests=problem.tests[:TESTS]), f"{problem.solutions[0]}\n# {number}\n")
        for number, problem in enumerate(problems[:count])
    ]


def artifact(pairs: Sequence[Pair]) -> None:
    """One `python` per test, as long as it needs up to 5 s, and one `bandit` per program."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        for problem, program in pairs:
            path.write_text(program)
            for test in problem.tests:
                command = [sys.executable, str(path)]
                done = subprocess.run(command, input=test.input, capture_output=True, text=True, timeout=5)
                if done.stdout.split() != test.output.split():
                    sys.exit(f"error: the solution of {problem.id} does not pass; leave it out")
            subprocess.run([sys.executable, *BANDIT, str(path)], capture_output=True, check=False)


def engine(pairs: Sequence[Pair], share_children: bool, scan: bool) -> None:
    """The same programs through a Scorer that has seen none of them."""
    with Scorer(workers=1, share_children=share_children) as scorer:
        if not scan:
            scorer._analyser.scan = lambda source: Scan("ok")  # type: ignore[method-assign]
        for (problem, _), reward in zip(pairs, scorer.score(pairs), strict=True):
            if reward is None or not reward.outcome.all_passed:
                sys.exit(f"error: the solution of {problem.id} does not pass; leave it out")


def cost(work: Callable[[], None]) -> Cost:
    """What a piece of work takes, with everything that it starts and waits for."""
    before, start = _cpu(), time.perf_counter()
    work()
    return Cost(_cpu() - before, time.perf_counter() - start)


def _cpu() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def summary(name: str, costs: dict[str, list[Cost]]) -> dict[str, Any]:
    """Median CPU ms per program, and how many times cheaper than the artifact: median, least and most."""
    ratios = [theirs.cpu / ours.cpu for theirs, ours in zip(costs["artifact"], costs[name], strict=True)]
    return {
        "cpu_ms": round(1000 * median(c.cpu for c in costs[name]), 2),
        "wall_ms": round(1000 * median(c.wall for c in costs[name]), 2),
        "times_cheaper": [round(value, 1) for value in (median(ratios), min(ratios), max(ratios))],
        "cpu_ms_by_round": [round(1000 * c.cpu, 2) for c in costs[name]],
    }


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| method | CPU ms per program | wall ms | times cheaper [least-most] |", "|---|---|---|---|"]
    for name, row in result["methods"].items():
        middle, least, most = row["times_cheaper"]
        lines.append(f"| {name} | {row['cpu_ms']} | {row['wall_ms']} | {middle} [{least}-{most}] |")
    tests = result["tests_per_program"]
    lines.append(f"\n{result['programs']} programs of {result['source']}, {tests:g} tests each.")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What was measured, and where."""
    return {
        "python": platform.python_version(),
        "bandit": version("bandit"),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
    }


if __name__ == "__main__":
    main()
