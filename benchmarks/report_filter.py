"""What the report costs: bytes and seconds to write, and milliseconds to filter in the browser.

    .venv/bin/python benchmarks/report_filter.py --rounds 3 --json benchmarks/results/report_filter.json

Samples are made here: an answer of about 900 characters to one of 2,000 problems with five tests. Times are
those of headless Chromium (Debian: apt-get install chromium), from the change of a filter until list and
opened sample are made, and until they are drawn. They are wall-clock times: the fastest of `--rounds`, which
says most on a busy machine, the median and the slowest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from benchmarks.chromium import BROWSER, Page, chromium  # noqa: E402
from report import write_report  # noqa: E402

PER_ITERATION = 100
STAGES = ("syntax_error", "parses", "runs", "prints", "passes")
WORDS = "value total count index result first second number line item left right best sum".split()

FILTERS = {
    "stage": "document.querySelector('#stages button').click()",
    "verdict": "set('verdict', 'all')",
    "advantage": "set('sign', 'up')",
    "iteration": "set('iteration', '1')",
    "problem": "set('problem', '7')",
    "search": "set('words', 'best = total')",
    "search, nothing found": "set('words', 'no program says this')",
    "order": "set('order', 'advantage')",
}
SET = """globalThis.set = (id, value) => {
  const control = document.getElementById(id);
  control.value = value;
  control.dispatchEvent(new Event(id === "words" ? "input" : "change"));
}; null"""
TIMED = """new Promise((done) => {{
  const start = performance.now();
  {action};
  const chosen = performance.now() - start;
  requestAnimationFrame(() => setTimeout(() => done([chosen, performance.now() - start])));
}})"""
FREE = """for (const id of ["iteration", "problem", "verdict", "sign", "words"]) set(id, "");
set("order", "sampled");
for (let b; (b = document.querySelector("#stages [aria-pressed=true]")); ) b.click();"""


def samples(count: int) -> Iterator[dict[str, Any]]:
    """Rows of a samples.jsonl."""
    draw = random.Random(1)
    for number in range(count):
        stage = draw.choice(STAGES)
        problem, passed = draw.randrange(2_000), 5 if stage == "passes" else 0
        lines = [
            f"    {draw.choice(WORDS)} = {draw.choice(WORDS)} + {draw.randrange(999)}" for _ in range(35)
        ]
        program = "\n".join(["def solve(n):", *lines, "print(solve(int(input())))", ""])
        tests = [
            {
                "status": "ok",
                "passed": bool(passed),
                "input": f"{problem} {test}\n",
                "expected": f"{problem * test}\n",
                "stdout": f"{problem * test + (not passed)}\n",
            }
            for test in range(5)
        ]
        yield {
            "iteration": 1 + number // PER_ITERATION,
            "problem": f"problem-{problem}",
            "problem_text": f"Read two numbers of problem {problem} and print what they make. " * 5,
            "prompt": f"### Instruction:\nRead two numbers of problem {problem} and print.\n### Response:\n",
            "response": f"```python\n{program}```\n",
            "program": program,
            "offset": 10,
            "given": 0,
            "ended": True,
            "score": STAGES.index(stage) / 4,
            "advantage": draw.gauss(0, 1),
            "verdict": {"stage": stage, "passed": passed, "num_tests": 5, "verdicts": tests},
        }


def write(folder: Path, count: int) -> dict[str, float]:
    """A report of a run with so many samples: bytes and seconds."""
    iterations = 1 + (count - 1) // PER_ITERATION
    rows = [{"iteration": i, "reward/mean": 0.5} for i in range(iterations + 1)]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with (folder / "samples.jsonl").open("w") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in samples(count))
    start = time.perf_counter()
    write_report(folder / "report.html", [folder])
    took = time.perf_counter() - start
    read, written = ((folder / name).stat().st_size / 1e6 for name in ("samples.jsonl", "report.html"))
    return {"samples_mb": read, "report_mb": written, "write_s": took}


def filtering(page: Page, report: Path, rounds: int) -> dict[str, Any]:
    """Milliseconds of every filter until the page is made: fastest, median, slowest; until it is drawn:
    fastest."""
    start = time.perf_counter()
    page.open(report)
    found: dict[str, Any] = {"open_s": time.perf_counter() - start}
    page.run(SET)
    for name, action in FILTERS.items():
        times = []
        for _ in range(rounds):
            page.run(FREE)
            times.append(page.run(TIMED.format(action=action)))
        made, drawn = zip(*times, strict=True)
        found[name] = [round(x, 1) for x in (min(made), statistics.median(made), max(made), min(drawn))]
    assert not page.complaints, page.complaints
    return found


def told(value: Any) -> str:
    """Seconds, or the four numbers of a filter."""
    if isinstance(value, float):
        return f"{value:.2f} s"
    fastest, median, slowest, drawn = value
    return f"{fastest:6.1f} ms (median {median:.1f}, slowest {slowest:.1f}), drawn {drawn:.1f}"


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[2_000, 10_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="where to keep the result")
    given = parser.parse_args()
    if BROWSER is None:
        sys.exit("error: needs Chromium (Debian: apt-get install chromium)")
    version = subprocess.run([BROWSER, "--version"], capture_output=True, text=True).stdout.strip()
    result: dict[str, Any] = {"browser": version, "machine": platform.machine(), "rounds": given.rounds}
    result["load"] = round(os.getloadavg()[0], 1)
    for count in given.samples:
        with tempfile.TemporaryDirectory() as name, chromium() as page:
            page.look()
            written = write(Path(name), count)
            timed = filtering(page, Path(name) / "report.html", given.rounds)
        result[str(count)] = {key: round(value, 2) for key, value in written.items()} | timed
        print(f"{count:,} samples: {written['report_mb']:.2f} MB of {written['samples_mb']:.1f} MB")
        for key, value in timed.items():
            print(f"  {key:22} {told(value)}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
