"""The scan of one program: what Bandit finds, what cannot hide from it, and what it must not call clean.

In this process, without the process around it: see test_reward_analyser.
"""

import ast
import sys

import pytest

from reward.scan.worker import MAX_BYTES, MAX_DEPTH, MAX_LINES, MAX_NODES, Scanner, SetupError, load_scanner


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return load_scanner()


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
def test_findings(scanner: Scanner, source: str, expected: list) -> None:
    scan = scanner.scan(source.encode())
    assert scan["status"] == "ok"
    assert [(test, severity, cwe) for _, test, severity, _, cwe in scan["findings"]] == expected


def test_a_finding_says_where(scanner: Scanner) -> None:
    (finding,) = scanner.scan(b"\n\nx = 1; eval(input())\n")["findings"]
    assert finding == (3, "B307", "MEDIUM", "HIGH", 78)


def long_sum(terms: int) -> str:
    return "x = " + "+".join(["1"] * terms) + "\neval('x')\n"


def elif_chain(branches: int) -> str:
    return "x = 1\nif x == -1:\n    pass\n" + "".join(f"elif x == {i}: pass\n" for i in range(branches))


# Programs that compile and run, and that Bandit skips without a finding, or takes seconds for.
UNSCANNABLE = {
    "1500 terms": long_sum(1500),
    "2000 branches": elif_chain(1990) + "eval('x')\n",
    "just too deep": long_sum(MAX_DEPTH),
    "too many parts": "x = [" + "1, " * MAX_NODES + "]\n",
    "64 KiB of braces": "f'" + "{a}" * 21000 + "'\n",
    "64 KiB of sums": ("''+" * 390 + "''\n") * (MAX_BYTES // 1174),
    "too many lines": "x = 1\n" * (MAX_LINES + 1),
    "too many lines, CR": "x = 1\r" * (MAX_LINES + 1),
    "too large": "x = '" + "a" * MAX_BYTES + "'\n",
}


@pytest.mark.parametrize("name", UNSCANNABLE)
def test_what_bandit_cannot_finish_is_unscannable(scanner: Scanner, name: str) -> None:
    source = UNSCANNABLE[name]
    compile(source, name, "exec")  # it is a program
    scan = scanner.scan(source.encode())
    assert scan.keys() == {"status", "reason"} and scan["status"] == "unscannable"


def test_what_nests_less_is_scanned(scanner: Scanner) -> None:
    for source in (
        long_sum(MAX_DEPTH - 10),
        elif_chain(100) + "eval('x')\n",
        "x = 1\n" * 1000 + "eval('x')\n",
        "x = [" + "1, " * (MAX_NODES - 12) + "eval('x')]\n",
    ):
        scan = scanner.scan(source.encode())
        assert [finding[1] for finding in scan["findings"]] == ["B307"], scan


def test_how_much_is_scanned_is_a_count(scanner: Scanner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a time, which is the machine's: one node more and Bandit is not asked."""
    asked = []
    monkeypatch.setattr(Scanner, "_findings", lambda self, text: asked.append(text) or [])
    for elements, status in ((MAX_NODES - 6, "ok"), (MAX_NODES - 5, "unscannable")):
        source = "x = [" + "1, " * elements + "]"  # with Module, Assign, Name, Store, List and its Load
        assert len(list(ast.walk(ast.parse(source)))) == elements + 6
        assert scanner.scan(source.encode())["status"] == status
    assert len(asked) == 1


@pytest.mark.parametrize("source", [b"x ==", b"x = 1\0", b"\xff", b"x = '\xed\xa0\x80'", b"if 1:\nx"])
def test_what_does_not_parse_is_not_scanned(scanner: Scanner, source: bytes) -> None:
    scan = scanner.scan(source)
    assert scan.keys() == {"status", "reason"} and scan["status"] == "syntax"


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"# nothing",
        b"\xef\xbb\xbfx = 1",
        b"# coding: nonsense\nx = 1",  # a program is text: an encoding named in it means nothing
        b"#\r# coding: shift_jis\rx = '\xc3\xa9'",
    ],
)
def test_odd_sources_that_are_fine(scanner: Scanner, source: bytes) -> None:
    scan = scanner.scan(source)
    assert (scan["status"], scan["findings"], scan["tricks"]) == ("ok", [], [])


def test_a_check_that_fails_inside_makes_the_scan_unscannable(
    scanner: Scanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bandit logs such an error and calls the file scanned."""

    def broken(context: object, config: object = None) -> None:
        raise KeyError("no such thing")

    tests = scanner.tests.tests
    monkeypatch.setitem(tests, "Call", [broken, *tests["Call"]])
    broken.__name__ = "broken"
    assert scanner.scan(b"eval(input())")["status"] == "unscannable"
    assert scanner.scan(b"x = 1")["status"] == "ok"  # no call, so the check never ran


def test_missing_bandit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bandit", None)
    with pytest.raises(SetupError, match=r"bandit==1\.9\.4"):
        load_scanner()


def test_another_bandit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import bandit

    monkeypatch.setattr(bandit, "__version__", "1.8.0")
    with pytest.raises(SetupError, match=r"bandit==1\.9\.4.*1\.8\.0"):
        load_scanner()


def test_a_bandit_that_finds_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from bandit.core import node_visitor

    monkeypatch.setattr(node_visitor.BanditNodeVisitor, "process", lambda self, data: None)
    with pytest.raises(SetupError, match="B307"):
        load_scanner()
