"""What a run in the sandbox costs: CPU and wall milliseconds per program, in one run beside plain Python.

    .venv/bin/python benchmarks/sandbox.py --json benchmarks/results/sandbox.json

Times are of everything involved (caller, server, children). Wall-clock times, and CPU times a little, grow on
a busy machine, so read the ratios; the ways are measured in turn, `--rounds` times, and the median printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its sandbox.py would be imported

from sandbox import Limits, Report, Run, Sandbox, Status  # noqa: E402

PROGRAM = "print(int(input()) + 1)\n"


def cpu_seconds() -> float:
    """Of this process and all its children that have ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


def measure(work: Callable[[], None]) -> tuple[float, float]:
    """CPU and wall seconds of `work`, which must end every process that it starts."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    work()
    return cpu_seconds() - cpu, time.perf_counter() - wall


def plain(command: list[str], count: int) -> Callable[[], None]:
    """`count` runs of an interpreter on the program."""

    def work() -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(PROGRAM)
            file.flush()
            for _ in range(count):
                done = subprocess.run([*command, file.name], input=b"41\n", capture_output=True)
                assert done.stdout == b"42\n", done

    return work


def always(i: int, run: Run) -> bool:
    """Any run may share its child with the next."""
    return run.status is Status.OK


def boxed(isolation: str, inputs: int, shared: bool, count: int, workers: int = 1) -> Callable[[], None]:
    """`count` programs in a sandbox, each on `inputs` inputs."""

    def work() -> None:
        with Sandbox(workers=workers, isolation=isolation) as box:
            texts = [f"{i}\n" for i in range(inputs)]
            job = (PROGRAM, texts, always if shared else None)
            check(box.map([job] * count), inputs)

    return work


def check(reports: list[Report], inputs: int) -> None:
    expected = [b"%d\n" % (i + 1) for i in range(inputs)]
    assert all([run.stdout for run in report.runs] == expected for report in reports), reports[0]


# A bare fork of the server itself, without program, limits or filter: no sandbox that forks goes below it.
BARE_FORK = """
import gc, os, resource, sys
sys.path.insert(0, {root!r})
from sandbox.kernel import preload, lockdown
preload.load(False, "")
gc.collect(); gc.freeze(); gc.disable()
def cpu():
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))
def forks(fork, count):
    before = cpu()
    for _ in range(count):
        pid = fork()
        if pid == 0: os._exit(0)
        os.waitpid(pid, 0)
    return (cpu() - before) / count
print(forks(os.fork, {count}), forks(lockdown.fork, {count}))
"""


def page_faults() -> dict[str, int]:
    """Of a child that runs a program of one line, and with four more inputs: most of its cost."""
    program = "import resource\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)"
    with Sandbox(workers=1) as box:
        for _ in range(10):  # the server, too, learns in its first runs
            runs = box.run(program, [""] * 5, accept=always).runs
    return {"1 input": int(runs[0].stdout), "5 inputs": int(runs[4].stdout)}


def bare_forks(count: int) -> tuple[float, float]:
    """CPU seconds of fork, exit and wait in a process like a server: by os.fork, and as servers do it."""
    script = BARE_FORK.format(root=str(Path(__file__).resolve().parents[1]), count=count)
    done = subprocess.run(
        [sys.executable, "-S", "-s", "-P", "-X", "utf8", "-c", script], capture_output=True, check=True
    )
    first, second = map(float, done.stdout.split())
    return first, second


def costs(rounds: int, count: int) -> dict[str, dict[str, float]]:
    """CPU and wall milliseconds per input of each way, medians over the rounds."""
    isolations = ["base"]
    with Sandbox(workers=1) as box:
        isolations += ["full"] if box.tier == "full" else []
    ways: dict[str, tuple[Callable[[int], Callable[[], None]], int]] = {
        "python program.py": (partial(plain, [sys.executable]), 1),
        "python -I -S -E program.py": (partial(plain, [sys.executable, "-I", "-S", "-E"]), 1),
    }
    for isolation in isolations:
        for inputs, shared in ((1, False), (5, False), (5, True)):
            name = f"sandbox {isolation}, {inputs} input{'s' * (inputs > 1)}{', one child' * shared}"
            ways[name] = (partial(boxed, isolation, inputs, shared), inputs)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    forks = []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for name, (make, inputs) in ways.items():
            # The difference of two counts: the start of servers and their self-test drop out.
            few, many = measure(make(count // 10)), measure(make(count + count // 10))
            per_input = 1000 / (count * inputs)
            found[name].append(((many[0] - few[0]) * per_input, (many[1] - few[1]) * per_input))
        forks.append(bare_forks(count))
    table = {
        name: {
            "cpu_ms": statistics.median(c for c, _ in pairs),
            "wall_ms": statistics.median(w for _, w in pairs),
        }
        for name, pairs in found.items()
    }
    for name, column in (("bare os.fork of the server", 0), ("bare fork of the server", 1)):
        table[name] = {"cpu_ms": 1000 * statistics.median(pair[column] for pair in forks)}
    return table


def throughput(rounds: int, count: int) -> dict[str, float]:
    """Programs per second by number of workers, medians; programs that compute for a few milliseconds."""
    program = "n = int(input())\nprint(sum(i * i % 7 for i in range(100_000)) * 0 + n)"
    result = {}
    for workers in sorted({1, 2, len(os.sched_getaffinity(0))}):
        with Sandbox(workers=workers) as box:
            box.map([(program, ["1"])] * workers)
            rates = []
            for _ in range(rounds):
                start = time.perf_counter()
                box.map([(program, ["1"])] * count)
                rates.append(count / (time.perf_counter() - start))
        result[str(workers)] = statistics.median(rates)
    return result


def soak(runs: int) -> dict[str, Any]:
    """Memory and descriptors before and after many runs of mixed programs."""
    programs = [
        PROGRAM,
        "x =",
        "1 / 0",
        "import os\nos.fork()",
        "x = bytearray(1 << 40)",
        "print('x' * 10**6)",
    ]
    with Sandbox(Limits(cpu_seconds=1), workers=2) as box:
        jobs = [(programs[i % len(programs)] if i % 3 else PROGRAM, ["1\n"]) for i in range(1000)]
        box.map(jobs)
        before = state(box)
        for done in range(0, runs, len(jobs)):
            faults = [run for report in box.map(jobs) for run in report.runs if run.status is Status.FAULT]
            assert not faults
            print(f"soak: {done + len(jobs)} of {runs}", end="\r", file=sys.stderr)
        print(file=sys.stderr)
        return {"runs": runs, "before": before, "after": state(box)}


def state(box: Sandbox) -> dict[str, int]:
    """Of the caller and the processes that hold the servers."""
    pids = [os.getpid(), *(pid for worker in box._workers for pid in worker.pids)]
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "processes": len(pids),
        "caller_mb": pages[0] * os.sysconf("SC_PAGE_SIZE") >> 20,
        "threads": len(os.listdir("/proc/self/task")),
    }


def ratios(table: dict[str, dict[str, float]]) -> dict[str, float]:
    """The claims."""
    python, bare = table["python program.py"]["cpu_ms"], table["bare os.fork of the server"]["cpu_ms"]
    tier = "full" if "sandbox full, 1 input" in table else "base"
    one, shared = (
        table[f"sandbox {tier}, 1 input"]["cpu_ms"],
        table[f"sandbox {tier}, 5 inputs, one child"]["cpu_ms"],
    )
    return {
        "python / sandbox, one input": python / one,
        "python / sandbox, an input of five in one child": python / shared,
        "sandbox, one input / bare os.fork": one / bare,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=200, help="programs per way and round")
    parser.add_argument("--soak", type=int, default=50_000, help="runs of the soak; 0 for none")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    table = costs(arguments.rounds, arguments.count)
    for name, row in table.items():
        print(
            f"{name:36} {row['cpu_ms']:8.2f} CPU ms"
            + (f" {row['wall_ms']:8.2f} wall ms" if "wall_ms" in row else "")
        )
    result: dict[str, Any] = {"ms_per_input": table, "ratios": ratios(table)}
    for name, value in result["ratios"].items():
        print(f"{name:52} {value:6.1f}")
    result["page_faults"] = page_faults()
    print(f"page faults of a child: {result['page_faults']}")
    result["programs_per_second"] = throughput(arguments.rounds, arguments.count)
    for workers, rate in result["programs_per_second"].items():
        print(f"{workers} workers: {rate:.0f} programs/s")
    if arguments.soak:
        result["soak"] = soak(arguments.soak)
        print(result["soak"])
    result["machine"] = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
