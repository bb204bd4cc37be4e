"""Outcomes: what cannot be built, what a record holds, and that a tampered record is refused."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from reward_worlds import World, ended

from reward import Outcome, RewardConfig, RewardError, Scan, Verdict, judge, objective
from sandbox import Report, Run, Status

OK = Verdict("ok", True, 2, "0" * 64)
GOOD = World(
    True, (ended(Status.OK, b"1\n"), ended(Status.CRASH, b"\xff")), (b"1\n", b"1\n"), Scan("ok")
).outcome()


@pytest.mark.parametrize(
    "fields",
    [
        {"num_tests": -1, "verdicts": ()},
        {"num_tests": 0},  # a verdict of no test
        {"num_tests": 2},  # a verdict is missing
        {"compiles": False},  # verdicts without runs
        {"compiles": False, "verdicts": ()},  # scanned although it does not parse
        {"scan": "syntax"},  # parses and does not
        {"scan": "clean"},
        {"scan": "unscannable", "findings": ("x",)},
    ],
)
def test_contradictions_cannot_be_built(fields: dict) -> None:
    good = {"compiles": True, "num_tests": 1, "verdicts": (OK,), "scan": "ok"}
    assert Outcome(**good).passed == 1
    with pytest.raises(RewardError):
        Outcome(**(good | fields))


@pytest.mark.parametrize("status", ["crash", "timeout", "fault", "OK", "passed"])
def test_only_a_clean_run_can_pass(status: str) -> None:
    with pytest.raises(RewardError):
        Verdict(status, True, 2, "0" * 64)


@pytest.mark.parametrize(
    "change",
    [
        {"passed": 2},
        {"stage": "prints"},
        {"num_tests": 3},
        {"scan": "syntax"},
        {"verdicts": []},
        {"unknown": 1},
        {"verdicts": [{"status": "ok"}]},
    ],
)
def test_a_tampered_record_is_refused(change: dict) -> None:
    assert Outcome.from_dict(GOOD.to_dict()) == GOOD
    with pytest.raises(RewardError):
        Outcome.from_dict(GOOD.to_dict() | change)


@pytest.mark.parametrize("key", [key for key in GOOD.to_dict() if key not in ("error", "scan_reason")])
def test_a_record_without_one_of_its_facts_is_refused(key: str) -> None:
    """The two left out are remarks for people, and may be missing."""
    record = GOOD.to_dict()
    del record[key]
    with pytest.raises(RewardError):
        Outcome.from_dict(record)


def test_what_a_record_holds() -> None:
    long = b"a" * 5000
    outcome = World(
        True, (ended(Status.OK, long), ended(Status.CRASH, b"\xff")), (b"", b""), Scan("ok")
    ).outcome()
    record = json.loads(json.dumps(objective(outcome, RewardConfig()).record))
    assert record == {
        "version": 4,
        "tricks": [],
        "sentinels": [],
        "stage": "prints",
        "passed": 0,
        "num_tests": 2,
        "preview_bytes": 1000,
        "compiles": True,
        "error": "",
        "scan": "ok",
        "scan_reason": "",
        "findings": [],
        "verdicts": [
            {
                "status": "ok",
                "passed": False,
                "stdout_size": 5000,
                "stdout_sha256": hashlib.sha256(long).hexdigest(),
                "stdout": "a" * 1000 + "… (4000 more bytes)",
                "error": "",
                "top_line": None,
                "error_line": None,
                "idle": False,
                "input": None,
                "expected": "",
            },
            {
                "status": "crash",
                "passed": False,
                "stdout_size": 1,
                "stdout_sha256": hashlib.sha256(b"\xff").hexdigest(),
                "stdout": "\\xff",
                "error": "Error: x",
                "top_line": None,
                "error_line": None,
                "idle": False,
                "input": None,
                "expected": "",
            },
        ],
    }


def test_a_record_holds_what_a_reader_needs_and_no_more() -> None:
    """Each test's input, expected and actual output, cut at a limit that the record names; bounded in all."""
    runs = tuple(ended(Status.OK, f"{n} ".encode() * 9000) for n in range(300))
    long = "x" * 9000
    for count in (1, 8, 24, 200, 300):
        outcome = judge(
            Report(True, None, runs[:count]),
            [long.encode()] * count,
            lambda out, want: False,
            Scan("ok"),
            [long] * count,
        )
        assert outcome is not None
        record = outcome.to_dict()
        for number, verdict in enumerate(record["verdicts"]):
            for key, begin in (("input", long), ("expected", long), ("stdout", f"{number} " * 9000)):
                shown, dots, _ = verdict[key].partition("… (")
                assert dots and shown == begin[: record["preview_bytes"]]
        texts = sum(len(v[key]) for v in record["verdicts"] for key in ("input", "expected", "stdout"))
        assert texts < 24_000 + count * (3 * 40 + 3 * 24)
        assert Outcome.from_dict(json.loads(json.dumps(record))) == outcome


def test_records_of_earlier_versions_say_less() -> None:
    """Version 3 had neither inputs nor expected outputs, version 2 not whether a run was idle."""
    for version, unknown in ((3, ("input", "expected")), (2, ("input", "expected", "idle"))):
        record = GOOD.to_dict() | {"version": version}
        del record["preview_bytes"]
        record["verdicts"] = [
            {key: value for key, value in verdict.items() if key not in unknown}
            for verdict in record["verdicts"]
        ]
        read = Outcome.from_dict(record)
        assert all(getattr(verdict, key) is None for verdict in read.verdicts for key in unknown)
        assert (read.stage, read.passed) == (GOOD.stage, GOOD.passed)


# --- whether it did anything


def program(*runs: Run, expected: bytes = b"1\n", compiles: bool = True) -> Outcome:
    return World(compiles, runs, (expected,) * len(runs), Scan("ok")).outcome()


IDLE, SILENT = ended(Status.OK, b"", read=False), ended(Status.OK, b"")
ALMOST_IDLE = {
    "reads": (IDLE, SILENT),
    "prints": (IDLE, ended(Status.OK, b"2\n", read=False)),
    "prints and crashes": (IDLE, ended(Status.CRASH, b"2\n", read=False)),
    "reads and never ends": (IDLE, ended(Status.TIMEOUT, b"")),
    "prints and never ends": (IDLE, ended(Status.TIMEOUT, b"2\n", read=False)),
}


def as_version_2(outcome: Outcome) -> dict:
    """What this program wrote before it knew whether a run was idle."""
    record = json.loads(json.dumps(outcome.to_dict())) | {"version": 2}
    del record["preview_bytes"]
    for verdict in record["verdicts"]:
        del verdict["idle"], verdict["input"], verdict["expected"]
    return record


@pytest.mark.parametrize("status", [Status.OK, Status.CRASH, Status.TIMEOUT, Status.MEMORY, Status.DENIED])
def test_neither_reading_nor_printing_is_idle_however_it_ends(status: Status) -> None:
    assert program(IDLE, ended(status, b"", read=False)).idle is True


@pytest.mark.parametrize("name", ALMOST_IDLE)
def test_one_run_that_does_something_is_enough(name: str) -> None:
    assert program(*ALMOST_IDLE[name]).idle is False


def test_what_does_not_compile_is_not_idle() -> None:
    assert program(IDLE, compiles=False).idle is False


def test_silence_where_silence_is_right_earns_everything() -> None:
    silent = program(IDLE, IDLE, expected=b"")
    assert silent.idle is True and objective(silent, RewardConfig()).total == 1.0


def test_what_is_not_known_is_paid() -> None:
    """Records of version 2 are judged as they were; what they can tell, they tell."""
    unknown = Outcome.from_dict(as_version_2(program(IDLE, IDLE)))
    assert unknown.idle is None and objective(unknown, RewardConfig()).total == pytest.approx(0.4)
    assert objective(program(IDLE, IDLE), RewardConfig(pay_idle=True)).total == pytest.approx(0.4)
    assert objective(program(IDLE, IDLE), RewardConfig()).total == 0.0
    printed = program(IDLE, ended(Status.OK, b"2\n", read=False))
    assert Outcome.from_dict(as_version_2(printed)).idle is False
    assert Outcome.from_dict(as_version_2(unknown)) == unknown


def test_a_run_that_printed_was_not_idle() -> None:
    with pytest.raises(RewardError, match="idle"):
        Verdict("ok", False, 2, "0" * 64, idle=True)


def test_addresses_in_error_messages_are_blanked() -> None:
    errors = set()
    for address in ("0x7f00aa", "0x7f00bb"):
        run = ended(Status.CRASH, b"")
        object.__setattr__(run, "stderr", f"Traceback\n  line\nTypeError: <object at {address}>\n")
        errors.add(World(True, (run,), (b"",), Scan("ok")).outcome().verdicts[0].error)
    assert errors == {"TypeError: <object at 0x...>"}


def test_the_room_imports_without_torch_and_without_bandit() -> None:
    """None in sys.modules makes an import fail as if the package were not installed."""
    code = (
        "import sys; sys.modules['torch'] = sys.modules['bandit'] = None; "
        "import reward; print(reward.RewardConfig().mode)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
    )
    assert (done.stdout, done.stderr) == (b"partial\n", b"")
