"""Bandit in process: what it finds, what cannot hide from it, and what it must not call clean."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reward import Analyser, RewardError, Scan
from reward.security import MAX_BYTES, MAX_DEPTH, MAX_LINES


@pytest.fixture(scope="module")
def analyser() -> Analyser:
    return Analyser()


FINDINGS = [
    ("print(int(input()) + 1)", []),
    ("eval(input())", [("B307", "MEDIUM", 78)]),
    ("exec(input())", [("B102", "MEDIUM", 78)]),
    ("import os\nos.system(input())", [("B605", "HIGH", 78)]),
    ("import os\ncommand = input()\nos.system(command)", [("B605", "HIGH", 78)]),
    ("import os\nos.system('ls')", [("B605", "LOW", 78), ("B607", "LOW", 78)]),
    ("import hashlib\nhashlib.md5(b'x')", [("B324", "HIGH", 327)]),
    ("assert input()", [("B101", "LOW", 703)]),
    ("import random\nrandom.random()", [("B311", "LOW", 330)]),
    # nosec is a comment like any other
    ("eval(input())  # nosec", [("B307", "MEDIUM", 78)]),
    ("eval(input())  # nosec B307", [("B307", "MEDIUM", 78)]),
    ("# nosec\nimport os\nos.system(input())  #nosec:B605", [("B605", "HIGH", 78)]),
    # known blind spots, stated so that nobody takes R_sec for more than it is
    ("__import__('os').system(input())", []),
    ("e = eval\ne(input())", []),
]


@pytest.mark.parametrize(("source", "expected"), FINDINGS)
def test_findings(analyser: Analyser, source: str, expected: list) -> None:
    scan = analyser.scan(source.encode())
    assert scan.status == "ok"
    assert [(f.id, f.severity, f.cwe) for f in scan.findings] == expected


def test_a_finding_says_where(analyser: Analyser) -> None:
    (finding,) = analyser.scan(b"\n\nx = 1; eval(input())\n").findings
    assert (finding.line, finding.confidence) == (3, "HIGH")


def long_sum(terms: int) -> str:
    return "x = " + "+".join(["1"] * terms) + "\neval('x')\n"


def elif_chain(branches: int) -> str:
    return "x = 1\nif x == -1:\n    pass\n" + "".join(f"elif x == {i}: pass\n" for i in range(branches))


# Programs that compile and run, and that Bandit skips without a finding, or takes seconds for.
UNSCANNABLE = {
    "1500 terms": long_sum(1500),
    "2000 branches": elif_chain(1990) + "eval('x')\n",
    "just too deep": long_sum(MAX_DEPTH),
    "too many lines": "x = 1\n" * (MAX_LINES + 1),
    "too many lines, CR": "x = 1\r" * (MAX_LINES + 1),
    "too large": "x = '" + "a" * MAX_BYTES + "'\n",
}


@pytest.mark.parametrize("name", UNSCANNABLE)
def test_what_bandit_cannot_finish_is_unscannable(analyser: Analyser, name: str) -> None:
    source = UNSCANNABLE[name]
    compile(source, name, "exec")  # it is a program
    scan = analyser.scan(source.encode())
    assert (scan.status, scan.findings) == ("unscannable", ())


def test_what_nests_less_is_scanned(analyser: Analyser) -> None:
    for source in (
        long_sum(MAX_DEPTH - 10),
        elif_chain(100) + "eval('x')\n",
        "x = 1\n" * 1000 + "eval('x')\n",
    ):
        scan = analyser.scan(source.encode())
        assert [f.id for f in scan.findings] == ["B307"], scan


def test_the_callers_stack_does_not_change_the_answer() -> None:
    """Bandit recurses, so what it can finish would depend on how deep the caller is."""

    def deep(levels: int, source: bytes) -> Scan:
        return deep(levels - 1, source) if levels else Analyser().scan(source)

    for source in (long_sum(MAX_DEPTH - 10), long_sum(MAX_DEPTH + 10)):
        assert deep(200, source.encode()) == deep(0, source.encode())
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        assert Analyser().scan(long_sum(1500).encode()).status == "unscannable"
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("source", [b"x ==", b"x = 1\0", b"\xff", b"# coding: nonsense\nx = 1", b"if 1:\nx"])
def test_what_does_not_parse_is_not_scanned(analyser: Analyser, source: bytes) -> None:
    scan = analyser.scan(source)
    assert (scan.status, scan.findings) == ("syntax", ())


@pytest.mark.parametrize(
    "source", [b"", b"# nothing", b"\xef\xbb\xbfx = 1", b"# coding: latin-1\nx = '\xe9'"]
)
def test_odd_sources_that_are_fine(analyser: Analyser, source: bytes) -> None:
    assert analyser.scan(source) == Scan("ok")


def test_a_check_that_fails_inside_makes_the_scan_unscannable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bandit logs such an error and calls the file scanned."""
    analyser = Analyser()

    def broken(context: object, config: object = None) -> None:
        raise KeyError("no such thing")

    tests = analyser._bandit.tests.tests
    monkeypatch.setitem(tests, "Call", [broken, *tests["Call"]])
    broken.__name__ = "broken"
    assert analyser.scan(b"eval(input())").status == "unscannable"
    assert analyser.scan(b"x = 1").status == "ok"  # no call, so the check never ran


def test_answers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    analyser = Analyser(cache_size=2)
    scanned = []
    monkeypatch.setattr(analyser, "_scan", lambda source: scanned.append(source) or Scan("ok"))
    for source in (b"1", b"2", b"1", b"3", b"1", b"2"):  # 3 pushes 2 out: 1 was used since
        analyser.scan(source)
    assert scanned == [b"1", b"2", b"3", b"2"]


def test_missing_bandit_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bandit", None)
    with pytest.raises(RewardError, match=r"bandit==1\.9\.4"):
        Analyser()


def test_another_bandit_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import bandit

    monkeypatch.setattr(bandit, "__version__", "1.8.0")
    with pytest.raises(RewardError, match=r"bandit==1\.9\.4.*1\.8\.0"):
        Analyser()


def test_a_bandit_that_finds_nothing_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from bandit.core import node_visitor

    monkeypatch.setattr(node_visitor.BanditNodeVisitor, "process", lambda self, data: None)
    with pytest.raises(RewardError, match="B307"):
        Analyser()


def test_a_scan_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert Analyser().scan(b"eval('\\d')").status == "ok"
    assert caplog.records == []


def test_loading_bandit_changes_no_warning_of_this_process() -> None:
    """Bandit replaces warnings.formatwarning when it is first imported, hence a fresh process."""
    code = (
        "import warnings, reward; before = warnings.formatwarning; reward.Analyser(); "
        "print(warnings.formatwarning is before)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True
    )
    assert (done.stdout, done.stderr) == (b"True\n", b"")
