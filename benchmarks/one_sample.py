"""What it costs to score programs one at a time, as other trainers ask, beside a batch of the same programs.

    python benchmarks/one_sample.py --programs 10000 --json benchmarks/results/one_sample.json

The programs are all different, so nothing comes from a cache. Each way has a scorer of its own, its start
and end included; they take turns over the rounds.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its reward.py would be imported

from benchmarks.runs import write  # noqa: E402
from data import Problem, TestCase  # noqa: E402
from data.forms import row_of  # noqa: E402
from reward import Scorer  # noqa: E402
from reward.adapters import shared  # noqa: E402
from reward.adapters.verl import compute_score  # noqa: E402

PROBLEM = Problem("double", "Print twice n.", tuple(TestCase(f"{n}\n", f"{2 * n}\n") for n in range(3)))
CALLERS = 32


def main() -> None:
    """Measure both ways round by round; print medians and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--programs", type=int, default=2000, help="per round and way")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to write the results to")
    given = parser.parse_args()
    ways = {"batch": batch, "one at a time": one_at_a_time}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(given.rounds):
        programs = [
            f"# {number} {index}\nn = int(input())\nprint({1 + index % 2} * n)"
            for index in range(given.programs)
        ]
        for name, way in ways.items():
            taken[name].append(measured(way, programs))
    results = {
        name: {
            unit: round(1000 * statistics.median(column) / given.programs, 3)
            for unit, column in zip(("cpu_ms", "wall_ms"), zip(*rows, strict=True), strict=True)
        }
        for name, rows in taken.items()
    }
    ratio = results["one at a time"]["cpu_ms"] / results["batch"]["cpu_ms"]
    for name, row in results.items():
        print(f"{name:14} {row['cpu_ms']:6.2f} CPU ms a program, {row['wall_ms']:6.2f} ms of wall clock")
    print(f"one at a time, from {CALLERS} threads, costs {ratio:.2f} times the CPU of a batch")
    if given.json:
        about = {"programs": given.programs, "rounds": given.rounds, "callers": CALLERS, "tests": 3}
        write(given.json, {**about, "results": results, "cpu_ratio": round(ratio, 3)})


def measured(way: Callable[[Scorer, list[str]], None], programs: list[str]) -> tuple[float, float]:
    """CPU and wall-clock seconds. The end of the scorer is included: its processes count when they end."""
    before, start = cpu_seconds(), time.monotonic()
    with Scorer() as scorer:
        way(scorer, programs)
    return cpu_seconds() - before, time.monotonic() - start


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def batch(scorer: Scorer, programs: list[str]) -> None:
    """All programs in one call."""
    found = scorer.score([(PROBLEM, program) for program in programs])
    assert None not in found


def one_at_a_time(scorer: Scorer, programs: list[str]) -> None:
    """Each in a call of its own, from several threads, through an adapter."""
    shared._scorers[os.getpid()] = scorer
    truth = json.dumps(row_of(PROBLEM))
    with ThreadPoolExecutor(CALLERS) as threads:
        found = list(threads.map(lambda program: compute_score("", program, truth)["score"], programs))
    shared._scorers.clear()
    assert len(found) == len(programs)


if __name__ == "__main__":
    main()
