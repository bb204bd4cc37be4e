"""R_sec: what Bandit finds in a program, and what the findings cost.

    V = min(1, sum of the weights of the findings at or above the floor)      HIGH 1.0, MEDIUM 0.5
    R_sec = 1 - V (linear)   or   exp(-V) (an older form, in [exp(-1), 1])    paper, section 3

Bandit is a style signal, not a judge of intent: ``__import__("os").system(x)`` is no finding. What it must
not be is a signal that a program can switch off, so three ways of doing that are closed here:

* ``# nosec`` comments are not honoured;
* a program that Bandit cannot finish (it skips such a file and reports zero findings) is `unscannable`, which
  the objective counts as insecure: 1500 terms of ``1+1+...`` run well in CPython and overflow Bandit's
  recursion;
* a check that fails inside (Bandit logs the error and goes on) makes the scan `unscannable` too.

Scans run in this process, 35-50 times cheaper than the command line, and are cached by the source's sha256.
Bandit's version is part of the reward's definition: another one, or none, is an error when an Analyser is
built.
"""

from __future__ import annotations

import ast
import hashlib
import io
import math
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NoReturn

from reward.compare import RewardError

BANDIT_VERSION = "1.9.4"

# Beyond these a scan takes seconds (100,000 lines: 12 s) and a program is no answer to anything.
MAX_BYTES = 64 * 1024
MAX_LINES = 2000
# Bandit's visitor takes one Python frame per level of nesting and checks take more. A fixed bound well below
# the interpreter's limit (1000 by default) makes the verdict independent of how deep the caller's own stack
# is.
MAX_DEPTH = 400

_NAME = "/program.py"  # never opened; a path without a folder would be a warning in the log per scan

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

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Scan:
    """The analyser's answer. `syntax`: does not parse. `unscannable`: nothing is known, though it may run."""

    status: ScanStatus
    findings: tuple[Finding, ...] = ()
    reason: str = ""  # why it is not ok, for people


NOT_PARSED = Scan("syntax")


def vulnerability(findings: Iterable[Finding], weights: Mapping[str, float], floor: str = "MEDIUM") -> float:
    """V = min(1, Σ weight[severity]) over the findings whose severity is at least `floor`; in [0, 1].

    LOW is left out by default because ``input()``-style programs of contests collect LOW findings (asserts,
    ``random``) that say nothing about their security.
    """
    counted = SEVERITIES[SEVERITIES.index(floor) :]
    # fsum: the order in which findings are listed must not reach the last bit of a reward.
    return min(1.0, math.fsum(weights[f.severity] for f in findings if f.severity in counted))


def security_reward(vulnerability: float, formula: Formula) -> float:
    """R_sec of a scanned program: 1 - V (`linear`) or exp(-V) (`exp`)."""
    return 1.0 - vulnerability if formula == "linear" else math.exp(-vulnerability)


class _ScanFailed(Exception):
    """A Bandit check failed inside; without it, what the others found is not the whole."""


class Analyser:
    """Scans programs with Bandit, in this process; thread-safe, one scan at a time, the last answers kept.

    Only hand it programs that the sandbox has compiled already: this process parses them too, and CPython's
    parser is not made for hostile input. Raises RewardError when Bandit is not the version it needs, or does
    not find what it must.
    """

    def __init__(self, cache_size: int = 16384) -> None:
        self._cache: OrderedDict[bytes, Scan] = OrderedDict()
        self._cache_size = cache_size
        self._lock = threading.Lock()
        self._bandit = _load_bandit()
        # The compiler's remarks on the programs ("invalid escape sequence") are not the user's concern.
        warnings.filterwarnings("ignore", module="<unknown>")
        self._self_test()

    def scan(self, source: bytes) -> Scan:
        """The findings of one program; the same bytes give the same answer."""
        key = hashlib.sha256(source).digest()
        with self._lock:  # Bandit holds the interpreter lock anyway, and its plugins keep state in modules
            found = self._cache.get(key)
            if found is None:
                found = self._scan(source)
                self._cache[key] = found
                if len(self._cache) > self._cache_size:
                    self._cache.popitem(last=False)
            else:
                self._cache.move_to_end(key)
            return found

    def _scan(self, source: bytes) -> Scan:
        if len(source) > MAX_BYTES or len(source.splitlines()) > MAX_LINES:
            return Scan("unscannable", reason="too large")
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError) as error:  # a null byte is a ValueError before 3.12
            return Scan("syntax", reason=type(error).__name__)
        except (RecursionError, MemoryError) as error:
            return Scan("unscannable", reason=type(error).__name__)
        if _depth(tree) > MAX_DEPTH:
            return Scan("unscannable", reason="nested too deeply")
        try:
            return Scan("ok", tuple(sorted(self._findings(source))))
        except Exception as error:  # whatever stopped Bandit has hidden findings: a fact about this program
            return Scan("unscannable", reason=f"{type(error).__name__} in Bandit")

    def _findings(self, source: bytes) -> list[Finding]:
        """Bandit's own visitor on bytes in memory. Passing no nosec lines is what its ignore_nosec does."""
        bandit = self._bandit
        metrics = bandit.metrics.Metrics()
        metrics.begin(_NAME)
        visitor = bandit.node_visitor.BanditNodeVisitor(
            _NAME, io.BytesIO(source), bandit.meta_ast.BanditMetaAst(), bandit.tests, False, {}, metrics
        )
        visitor.tester.report_error = _fail  # Bandit would log the error and call the file scanned
        visitor.process(source)
        return [
            Finding(int(i.lineno), str(i.test_id), str(i.severity), str(i.confidence), int(i.cwe.id or 0))
            for i in visitor.tester.results
        ]

    def _self_test(self) -> None:
        """A Bandit that finds nothing would make every program secure, so it must find one known thing."""
        found = [(f.id, f.severity) for f in self._scan(b"eval(input())  # nosec\n").findings]
        if found != [("B307", "MEDIUM")]:
            raise RewardError(
                f"Bandit does not work as it should: eval(input()) gave {found}, not B307 MEDIUM"
            )


@dataclass(frozen=True)
class _Bandit:
    """The four parts of Bandit that a scan needs."""

    node_visitor: Any
    meta_ast: Any
    metrics: Any
    tests: Any


def _load_bandit() -> _Bandit:
    """Import Bandit late: it takes half a second, and judging stored outcomes again does not need it."""
    wanted = f"the reward is defined with bandit=={BANDIT_VERSION}"
    before = warnings.formatwarning
    try:
        import bandit
        from bandit.core import config, meta_ast, metrics, node_visitor, test_set
    except ImportError as error:
        raise RewardError(f"{wanted}, which is not installed: {error}") from None
    finally:
        warnings.formatwarning = before  # importing Bandit replaces it for the whole process
    if bandit.__version__ != BANDIT_VERSION:
        raise RewardError(f"{wanted}, not {bandit.__version__}: other versions find other things")
    return _Bandit(node_visitor, meta_ast, metrics, test_set.BanditTestSet(config.BanditConfig()))


def _fail(test: str, context: object, error: Exception) -> NoReturn:
    raise _ScanFailed(f"{test}: {type(error).__name__}") from error


def _depth(tree: ast.AST) -> int:
    """Levels of nesting of a tree, without recursion."""
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth
