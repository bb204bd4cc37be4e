"""What a call of a function costs beside a run on standard input: the same sum, five tests of each, in turn.

    .venv/bin/python benchmarks/calls.py --json benchmarks/results/calls.json

CPU is the children's own, as their accounts say, wall clock is the caller's; on a busy machine read ratios.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its sandbox.py would be imported

from data.harness import call_harness  # noqa: E402
from sandbox import Sandbox, Status  # noqa: E402

READS = "a, b = int(input()), int(input())\nprint(a + b)\n"
DEFINES = "def add(a, b):\n    return a + b\n"
TESTS = 5


def measure(box: Sandbox, count: int, *, call: bool) -> dict[str, float]:
    """Milliseconds of one test, over `count` programs of five tests."""
    inputs = ["[20, 22]" if call else "20\n22\n"] * TESTS
    program, harness = (DEFINES, call_harness("add")) if call else (READS, None)
    cpu, start = 0.0, time.perf_counter()
    for _ in range(count):
        runs = box.run(program, inputs, harness=harness).runs
        assert all(run.status is Status.OK and run.stdout == b"42\n" for run in runs), runs
        cpu += sum(run.cpu_seconds for run in runs)
    wall = time.perf_counter() - start
    return {"cpu_ms": 1000 * cpu / count / TESTS, "wall_ms": 1000 * wall / count / TESTS}


def compare(rounds: int, count: int) -> dict[str, Any]:
    """Medians over the rounds of both ways, and of their ratio in a round."""
    found: dict[str, list[float]] = {}
    with Sandbox(workers=1) as box:
        for warm in (True, False):
            measure(box, 5, call=warm)
        for _ in range(rounds):
            reads, calls = (measure(box, count, call=call) for call in (False, True))
            for name in reads:
                found.setdefault(f"reads/{name}", []).append(reads[name])
                found.setdefault(f"calls/{name}", []).append(calls[name])
                found.setdefault(f"ratio/{name}", []).append(calls[name] / reads[name])
    return {name: round(statistics.median(values), 2) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=40, help="programs of a round (40)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args()
    result = {
        "python": platform.python_version(),
        "rounds": given.rounds,
        **compare(given.rounds, given.count),
    }
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
