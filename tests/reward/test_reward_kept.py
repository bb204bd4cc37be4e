"""What is kept of programs takes no more memory than was said, whatever programs do."""

import tracemalloc
from dataclasses import replace

import pytest

from reward import Analyser, Scan
from reward.kept import Kept
from reward.outcome import judge, weight
from reward.scan import analyser
from reward.security import Finding, Traits, Trick
from sandbox import Report, Run, Status

LONG = b"7 " * 30_000


def judged(stdout: bytes, scan: Scan | None = None, tests: int = 8):
    """On a problem of long tests, whose texts are encoded anew for each program."""
    report = Report(True, None, (Run(Status.OK, bytes(bytearray(stdout))),) * tests)
    given, wanted = [LONG.decode() + "!"] * tests, [bytes(bytearray(LONG))] * tests
    outcome = judge(report, wanted, lambda a, b: a == b, scan or Scan("ok"), given)
    assert outcome is not None
    return outcome


def test_the_number_is_bounded_and_the_latest_stay() -> None:
    kept: Kept[str, int] = Kept(2, 100, lambda value: 0)
    for key in "abacb":  # c pushes b out, then b pushes a out
        kept.put(key, ord(key))
    assert list(kept) == ["c", "b"] and kept.get("b") == 98
    assert kept.get("a") is None and "a" not in kept and "c" in kept


def test_so_is_what_they_weigh() -> None:
    kept: Kept[str, int] = Kept(100, 10, lambda value: value)
    for key, value in (("a", 4), ("b", 4), ("b", 6)):  # in the place of the other b
        kept.put(key, value)
    assert list(kept) == ["a", "b"]
    kept.put("c", 1)
    assert list(kept) == ["b", "c"]
    kept.put("d", 11)  # more than there is room for
    assert list(kept) == []
    kept.put("e", 10)
    assert list(kept) == ["e"]


def test_the_texts_of_a_problem_are_there_once() -> None:
    first, second = judged(b"1").verdicts[0], judged(LONG).verdicts[7]
    assert first.input is second.input and first.expected is second.expected
    assert second.stdout is second.expected and first.stdout == "1"


@pytest.mark.parametrize("stdout", [b"1", LONG, b"8 " * 30_000])
@pytest.mark.parametrize("findings", [0, 400])
def test_an_outcome_takes_about_what_it_is_said_to(stdout: bytes, findings: int) -> None:
    found = Scan("ok", tuple(Finding(i, "B101", "LOW", "HIGH", 703) for i in range(findings)))
    judged(stdout, found)
    tracemalloc.start()
    kept = [
        judged(stdout, replace(found, findings=tuple(replace(f) for f in found.findings))) for _ in range(20)
    ]
    taken = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    assert taken / 1.5 < weight(kept[0]) < taken * 2.5


def test_words_of_findings_are_there_once_and_answers_have_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyser, "CACHE_BYTES", 10_000)
    with Analyser() as scans:
        first, second = (scans.scan(b"x = %d\neval(input())" % i).findings[0] for i in range(2))
        assert (first.id, first.severity) == ("B307", "MEDIUM")
        assert first.id is second.id and first.severity is second.severity
        assert len(list(scans._cache)) == 2
        scans.scan(b"assert 1\n" * 100)  # which is more than may be kept
        assert len(list(scans._cache)) == 0


def test_what_an_answer_weighs() -> None:
    light = Scan("ok")
    heavy = Scan("ok", tricks=(Trick(1, "alias"),), traits=Traits(literals=("a" * 1000,), keys=("b" * 1000,)))
    assert analyser._weight(light) + 2000 < analyser._weight(heavy) < analyser._weight(light) + 3500
