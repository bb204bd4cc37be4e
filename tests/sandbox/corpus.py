"""Runs a folder of hostile programs and prints the verdict of each: `python corpus.py FOLDER ISOLATION`.

A script of its own so that another user can run it, under a Python that has nothing but the standard library.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from sandbox import Limits, Report, Sandbox, Status

SHORT = Limits(cpu_seconds=0.5, wall_seconds=2.0, memory_mb=128, output_kb=64)
VERDICTS = {
    Status.CRASH: "RE",
    Status.TIMEOUT: "TLE",
    Status.MEMORY: "MLE",
    Status.OUTPUT: "OLE",
    Status.DENIED: "DENIED",
    Status.FAULT: "FAULT",
}


def lines(text: bytes) -> list[bytes]:
    return [line.rstrip() for line in text.rstrip().split(b"\n")]


def verdict(report: Report, expected: str) -> str:
    """In the corpus's words."""
    if not report.compiles:
        return "MLE" if "memory limit" in str(report.error) else "CE"
    run = report.runs[0]
    if run.status is Status.OK:
        return "AC" if lines(run.stdout) == lines(expected.encode()) else "WA"
    return VERDICTS[run.status]


def main(folder: Path, isolation: str) -> dict[str, str]:
    cases = json.loads((folder / "expected.json").read_text())
    with Sandbox(SHORT, isolation=isolation) as box:
        jobs = [((folder / f"{name}.py").read_bytes(), [case["stdin"]]) for name, case in cases.items()]
        reports = box.map(jobs)
        found = {
            name: verdict(report, cases[name]["expect"]) for name, report in zip(cases, reports, strict=True)
        }
        return {"tier": box.tier, **found}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
