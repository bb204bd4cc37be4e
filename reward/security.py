"""R_sec: what findings cost.

    V = min(1, sum of the weights of the findings at or above the floor)      HIGH 1.0, MEDIUM 0.5
    R_sec = 1 - V (linear)   or   exp(-V) (an older form, in [exp(-1), 1])    paper, section 3

Bandit is a style signal, not a judge of intent: ``__import__("os").system(x)`` is no finding. How programs
are scanned, and what makes one unscannable, is in scan/worker.py; families of weaknesses are in cwe.py, what
Bandit does not see in tricks.py. This module is arithmetic on facts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

ScanStatus = Literal["ok", "syntax", "unscannable"]
SCAN_STATUSES: tuple[ScanStatus, ...] = ("ok", "syntax", "unscannable")
SEVERITIES = ("LOW", "MEDIUM", "HIGH")  # ascending; Bandit's UNDEFINED ranks below all and weighs nothing

Formula = Literal["linear", "exp"]
FORMULAS: tuple[Formula, ...] = ("linear", "exp")


@dataclass(frozen=True, order=True)
class Finding:
    """One issue, as Bandit reports it: facts, no weight."""

    line: int
    id: str  # the test, e.g. "B307"
    severity: str  # LOW, MEDIUM, HIGH
    confidence: str  # LOW, MEDIUM, HIGH
    cwe: int  # number of the weakness, 0 where Bandit names none
    given: bool = False  # the prompt contains it already: not the program's, and never charged

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, order=True)
class Trick:
    """One dangerous call that Bandit does not see."""

    line: int
    kind: str  # see tricks.KINDS

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Traits:
    """What the source says, for the sentinels; see traits.py."""

    literals: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    uses_input: bool = False
    leaves_early: bool = False
    introspects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scan:
    """The analyser's answer. `syntax`: does not parse. `unscannable`: nothing is known, though it may run."""

    status: ScanStatus
    findings: tuple[Finding, ...] = ()
    reason: str = ""  # why it is not ok, for people
    tricks: tuple[Trick, ...] = ()
    traits: Traits = Traits()


NOT_PARSED = Scan("syntax")

GivenCode = Counter[tuple[str, str]]  # (finding's id, text of its line) -> how often the prompt has it


def charged(findings: Iterable[Finding], floor: str = "MEDIUM") -> list[Finding]:
    """The findings that count: the program's own, of severity `floor` or more.

    LOW is left out by default because ``input()``-style programs of contests collect LOW findings (asserts,
    ``random``) that say nothing about their security.
    """
    counted = SEVERITIES[SEVERITIES.index(floor) :]
    return [f for f in findings if f.severity in counted and not f.given]


def severity_sum(findings: Iterable[Finding], weights: Mapping[str, float]) -> float:
    """Σ weight[severity]; fsum, so that the order of the findings does not reach the last bit of a reward."""
    return math.fsum(weights[finding.severity] for finding in findings)


def security_reward(vulnerability: float, formula: Formula) -> float:
    """R_sec of a scanned program: 1 - V (`linear`) or exp(-V) (`exp`)."""
    return 1.0 - vulnerability if formula == "linear" else math.exp(-vulnerability)


def given_code(scan: Scan, source: bytes) -> GivenCode:
    """The findings of code that the prompt contains, by what is wrong and on which line of text."""
    text = _lines(source)
    return Counter((finding.id, text.get(finding.line, "")) for finding in scan.findings)


def mark_given(findings: Iterable[Finding], source: bytes, given: GivenCode) -> tuple[Finding, ...]:
    """The findings of a program, those marked that repeat a line of the prompt's.

    Each occurrence in the prompt excuses one: a program that writes the same line again is charged for it.
    """
    left, text = Counter(given), _lines(source)
    marked = []
    for finding in findings:
        key = (finding.id, text.get(finding.line, ""))
        left[key] -= 1
        marked.append(replace(finding, given=True) if left[key] >= 0 else finding)
    return tuple(marked)


def _lines(source: bytes) -> dict[int, str]:
    """Lines by number, as the parser counts them, without indentation."""
    return {n: line.strip().decode("latin-1") for n, line in enumerate(source.splitlines(), start=1)}
