"""Real programs behave as under plain CPython: 150 problems of CodeContests, one human program each."""

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox import Limits, Run, Sandbox, Status

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "codecontests.jsonl"
LIMITS = Limits(cpu_seconds=10, output_kb=4096)

# Plain CPython was given a pipe; these ask fstat() for the size of their input, which only a file has.
READS_BY_SIZE = {"1342_e_placing_rooks_855", "61_e_enemy_is_weak_2240"}


def problems() -> list[dict[str, Any]]:
    if not DATA.exists():
        pytest.skip("the CodeContests sample is not here")
    with open(DATA) as file:
        return [json.loads(line) for line in file]


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def verdict(run: Run, expected: str) -> str:
    if run.status is Status.OK:
        return "OK" if lines(run.stdout.decode()) == lines(expected) else "WA"
    return {Status.CRASH: "RE", Status.TIMEOUT: "TLE"}.get(run.status, run.status.name)


def differences(rows: list[dict[str, Any]]) -> list[tuple[str, int, str, str]]:
    with Sandbox(LIMITS) as box:
        reports = box.map([(row["solutions"][0], row["inputs"]) for row in rows])
    found = []
    for row, report in zip(rows, reports, strict=True):
        assert report.compiles, report.error
        triples = zip(report.runs, row["outputs"], row["plain_python_verdicts"], strict=True)
        for i, (run, expected, plain) in enumerate(triples):
            # The limit of the reference was wall clock: what it calls TLE may end within ten CPU seconds.
            if plain != "TLE" and verdict(run, expected) != plain and row["id"] not in READS_BY_SIZE:
                found.append((row["id"], i, plain, verdict(run, expected)))
    return found


def test_a_sample_behaves_as_plain_python() -> None:
    quick = [row for row in problems() if "TLE" not in row["plain_python_verdicts"]]
    assert differences(quick[:10]) == []


@pytest.mark.slow
def test_all_behave_as_plain_python() -> None:
    assert differences(problems()) == []
