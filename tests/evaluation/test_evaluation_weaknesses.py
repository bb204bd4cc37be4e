"""What was found in programs, by weakness: who is counted, of how many, and in which order."""

import numpy as np
import pytest

from evaluation.tables import markdown
from evaluation.weaknesses import by_task, findings_of, weaknesses


def record(*findings: tuple[int, str, str, bool], scan: str = "ok", tricks: tuple[str, ...] = ()) -> dict:
    names = ("cwe", "id", "severity", "given")
    found = [dict(zip(names, finding, strict=True)) for finding in findings]
    return {"scan": scan, "findings": found, "tricks": [{"kind": kind, "line": 1} for kind in tricks]}


SHELL, AGAIN = (78, "B602", "HIGH", False), (78, "B605", "MEDIUM", False)
LOW, GIVEN = (78, "B404", "LOW", False), (89, "B608", "MEDIUM", True)
RECORDS = [
    record(SHELL, AGAIN, LOW),  # one program has a weakness once, however often it is found
    record(AGAIN),
    record(GIVEN),  # the prompt's, not the program's
    record(tricks=("ctypes",)),
    record(scan="unscannable"),
    None,
]


def test_programs_are_counted_of_those_that_could_be_scanned():
    rows = weaknesses(findings_of(RECORDS, 2), lambda cwe: f"family of {cwe}")
    told = [(row["cwe"], row["counted"], row["ids"], row["programs"], row["rate"]["mean"]) for row in rows]
    assert told == [
        (78, True, ["B602", "B605"], 2, pytest.approx(2 / 4)),
        (0, True, ["trick: ctypes"], 1, pytest.approx(1 / 4)),
        (78, False, ["B404"], 1, pytest.approx(1 / 4)),
    ]
    assert rows[0]["family"] == "family of 78" and rows[0]["name"] == "OS command injection"


def test_nothing_found_is_no_row():
    assert weaknesses(findings_of([record(), None], 1), str) == []


def test_rates_by_task_leave_out_what_has_no_value():
    columns = {"clean": np.array([[1.0], [np.nan], [0.0], [1.0]]), "all_pass": np.full((4, 1), np.nan)}
    rows = by_task(columns, ["crypto", "crypto", "crypto", ""], 1)
    (row,) = rows
    assert (row["family"], row["problems"], row["clean"]["mean"]) == ("crypto", 3, pytest.approx(0.5))
    assert "all_pass" not in row


def test_the_table_joins_the_models_and_says_zero_where_one_has_none():
    def model(name: str, *records: dict) -> dict:
        return {"name": name, "weaknesses": weaknesses(findings_of(records, 1), str)}

    models = [model("a", record(SHELL), record()), model("b", record(LOW), record())]
    text = markdown({"problems": 2, "samples": 1, "temperature": 0, "models": models})
    assert "| CWE-78 OS command injection | B602 | 1 (50.0 %) | 0 |" in text
    assert "| (low) CWE-78 OS command injection | B404 | 0 | 1 (50.0 %) |" in text
