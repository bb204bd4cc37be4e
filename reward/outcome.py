"""What happened to a program: facts, no weights.

An Outcome says how every test ended, how many were passed, how far the program got and what the analyser
found. Everything that a configuration can change (credits, weights, gates) is left to `objective`, so one
stored outcome can be judged again under any configuration, without running anything.

`judge` is a pure function of the sandbox's report, the expected outputs and the scan. It holds the two rules
that no configuration may change: a run counts as passed only if it ended with exit status 0 within its limits
*and* wrote the expected output, and a fault of the sandbox is no outcome at all.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from data.preview import preview
from reward.compare import RewardError
from reward.functional import Stage
from reward.security import NOT_PARSED, SCAN_STATUSES, Finding, Scan, ScanStatus, Trick
from reward.traceback import compiler_line, failed_lines
from sandbox import Report, Run, SandboxError, Status

VERSION = 4  # of the record that to_dict writes; raised when a fact is added or means something else
_READABLE = (2, 3, VERSION)  # 2 does not say whether a run was idle; 2 and 3 have no input, no expected
ERROR_CHARS = 200  # of the last line of standard error, or of the compiler's message

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_STATUSES = {status.value for status in Status if status is not Status.FAULT}
# What a run had written when the clock or the memory watch ended it is chance; records must not be.
_CHANCE = (Status.TIMEOUT, Status.MEMORY)
_NONE = b"null"  # the result of a function that returns nothing


@dataclass(frozen=True)
class Verdict:
    """One test: how the run ended, whether it was passed, and what it wrote."""

    status: str  # a sandbox Status by its value: "ok", "crash", "timeout"...; never "fault"
    passed: bool
    stdout_size: int  # bytes; 0 for white space alone, and where the amount written is chance, see _CHANCE
    stdout_sha256: str  # of all of it, so that stored outputs can be told apart
    stdout: str = ""  # its first `preview_bytes`, unreadable bytes escaped; for people, not for comparing
    error: str = ""  # last line of standard error, if the run was not clean
    top_line: int | None = None  # of a traceback: the line of the module's own code, and ...
    error_line: int | None = None  # ... the innermost line of the program
    # Neither read its input nor printed, however it ended; of a function: was not called, or returned None.
    idle: bool | None = None  # None: not known
    input: str | None = None  # what it was given to read, and ...
    expected: str | None = None  # ... what it should write, cut like `stdout`; None: an old record

    def __post_init__(self) -> None:
        if self.status not in _STATUSES:
            raise RewardError(f"no verdict has the status {self.status!r}")
        if self.passed and not self.clean:
            raise RewardError(f"a run that ended with {self.status} cannot have passed its test")
        if self.idle and self.printed:
            raise RewardError("a run that printed was not idle")

    @property
    def clean(self) -> bool:
        """Ended with exit status 0 within its limits."""
        return self.status == Status.OK.value

    @property
    def printed(self) -> bool:
        """Wrote more than white space to standard output; of a function: returned a value other than None."""
        return self.stdout_size > 0


@dataclass(frozen=True)
class Outcome:
    """The facts about one program on one problem. `stage` and `passed` follow from the verdicts."""

    compiles: bool
    num_tests: int  # tests given; the only denominator there is. 0: it was compiled and scanned, that is all
    verdicts: tuple[Verdict, ...]  # one per test, in order; none if it does not compile: nothing was run
    scan: ScanStatus  # `syntax` exactly when it does not compile
    findings: tuple[Finding, ...] = ()
    error: str = ""  # the compiler's message, if it does not compile
    scan_reason: str = ""  # why it is unscannable
    tricks: tuple[Trick, ...] = ()  # dangerous calls that the analyser does not see
    sentinels: tuple[str, ...] | None = ()  # signs of playing the reward; None: nobody looked

    def __post_init__(self) -> None:
        if self.num_tests < 0:
            raise RewardError(f"no program has {self.num_tests} tests")
        if len(self.verdicts) != (self.num_tests if self.compiles else 0):
            raise RewardError(f"{len(self.verdicts)} verdicts for {self.num_tests} tests")
        if self.scan not in SCAN_STATUSES or (self.scan == "syntax") == self.compiles:
            raise RewardError(f"scan status {self.scan!r} of a program with compiles={self.compiles}")
        if (self.findings or self.tricks) and self.scan != "ok":
            raise RewardError(f"findings of a program whose scan status is {self.scan!r}")

    @property
    def passed(self) -> int:
        """k: the number of tests passed."""
        return sum(verdict.passed for verdict in self.verdicts)

    @property
    def all_passed(self) -> bool:
        return 0 < self.passed == self.num_tests

    @property
    def idle(self) -> bool | None:
        """Whether it compiles and neither reads nor prints in any run; None: an old record cannot tell."""
        did_something = [verdict.printed or verdict.idle is False for verdict in self.verdicts]
        if not self.compiles or any(did_something):
            return False
        return None if any(verdict.idle is None for verdict in self.verdicts) else True

    @property
    def tracebacks(self) -> tuple[tuple[int | None, int] | None, ...]:
        """(top line, innermost line) for every run, None for one that ended without a traceback.

        Of a program that does not compile: the line that the compiler names, as the one entry.
        """
        if not self.compiles:
            line = compiler_line(self.error)
            return () if line is None else ((None, line),)
        return tuple(
            None if verdict.error_line is None else (verdict.top_line, verdict.error_line)
            for verdict in self.verdicts
        )

    @property
    def stage(self) -> Stage:
        """The highest stage that some run reached."""
        if not self.compiles:
            return Stage.SYNTAX_ERROR
        if self.passed:
            return Stage.PASSES
        clean = [verdict for verdict in self.verdicts if verdict.clean]
        if any(verdict.printed for verdict in clean):
            return Stage.PRINTS
        return Stage.RUNS if clean else Stage.PARSES

    def to_dict(self) -> dict[str, Any]:
        """JSON-able. `stage` and `passed` are there for readers; `from_dict` checks that they follow."""
        return {
            "version": VERSION,
            "stage": self.stage.label,
            "passed": self.passed,
            "num_tests": self.num_tests,
            "preview_bytes": preview_bytes(self.num_tests),
            "compiles": self.compiles,
            "error": self.error,
            "verdicts": [dict(vars(verdict)) for verdict in self.verdicts],
            "scan": self.scan,
            "scan_reason": self.scan_reason,
            "findings": [finding.to_dict() for finding in self.findings],
            "tricks": [trick.to_dict() for trick in self.tricks],
            "sentinels": None if self.sentinels is None else list(self.sentinels),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Outcome:
        """What `to_dict` writes, or wrote as version 2 or 3, which leave unknown what they do not say.

        Raises RewardError for other versions, and for a record that contradicts itself.
        """
        fields = dict(record)
        if (version := fields.pop("version", 1)) not in _READABLE:
            known = ", ".join(map(str, _READABLE))
            raise RewardError(f"the record has version {version}, this program reads versions {known}")
        try:
            stage, passed = fields.pop("stage"), fields.pop("passed")
            if version > 3:
                fields.pop("preview_bytes")
            verdicts = tuple(Verdict(**verdict) for verdict in fields.pop("verdicts"))
            findings = tuple(Finding(**finding) for finding in fields.pop("findings"))
            tricks = tuple(Trick(**trick) for trick in fields.pop("tricks"))
            seen = fields.pop("sentinels")
            sentinels = None if seen is None else tuple(seen)
            outcome = cls(verdicts=verdicts, findings=findings, tricks=tricks, sentinels=sentinels, **fields)
        except (KeyError, TypeError) as error:
            raise RewardError(f"not the record of an outcome: {error}") from None
        if (outcome.stage.label, outcome.passed) != (stage, passed):
            raise RewardError(f"the record says {stage}, {passed} passed; its verdicts say otherwise")
        return outcome


def has_fault(report: Report) -> bool:
    """Whether the sandbox failed, after its own retry, on any part of this program."""
    return any(run.status is Status.FAULT for run in report.runs)


def preview_bytes(num_tests: int) -> int:
    """How much a record shows of each test's input, expected and actual output: of few tests, nearly all.

    They share 24,000 bytes (or have 40 each), so that hundreds of tests make no record of megabytes.
    """
    return max(40, min(1000, 8000 // max(1, num_tests)))


def judge(
    report: Report,
    expected: Sequence[bytes],
    matches: Callable[[bytes, bytes], bool],
    scan: Scan,
    inputs: Sequence[str | bytes] | None = None,
    *,
    calls: bool = False,
) -> Outcome | None:
    """The outcome of a report on the tests whose expected outputs are given, or None after a sandbox fault.

    `calls`: each run called a function, under `data.harness.call_harness`. To print is then to return a value
    other than None, and to read is to be called: the harness reads when the function is defined.

    `matches(stdout, expected)` is the problem's comparison. The report holds one run per test if the program
    compiles; if it does not, its runs are not looked at. `inputs`: what the runs read, for the record.
    """
    if has_fault(report):
        return None
    num_tests = len(expected)
    if not report.compiles:
        return Outcome(False, num_tests, (), NOT_PARSED.status, error=_last_line(report.error or ""))
    if len(report.runs) != num_tests:  # a missing run must not shrink the denominator, nor count as failed
        raise SandboxError(f"the sandbox returned {len(report.runs)} runs for {num_tests} inputs")
    read: Sequence[str | bytes | None] = [None] * num_tests if inputs is None else inputs
    limit = preview_bytes(num_tests)
    verdicts = tuple(
        _beside(
            _verdict(run, is_pass(run, want, matches), limit, calls=calls),
            None if given is None else preview(given, limit),
            preview(want, limit),
        )
        for run, want, given in zip(report.runs, expected, read, strict=True)
    )
    # CPython compiled it: an analyser that cannot parse it has seen nothing, which is not the same as clean.
    status: ScanStatus = "unscannable" if scan.status == "syntax" else scan.status
    return Outcome(
        True, num_tests, verdicts, status, scan.findings, scan_reason=scan.reason, tricks=scan.tricks
    )


def _beside(verdict: Verdict, given: str | None, want: str) -> Verdict:
    """A verdict with what its test reads and expects. Thousands are kept, so equal texts are one."""
    want = _shared(want)
    stdout = want if verdict.stdout == want else verdict.stdout
    return replace(verdict, stdout=stdout, input=None if given is None else _shared(given), expected=want)


@lru_cache(maxsize=8192)
def _shared(text: str) -> str:
    """The one copy of a text: what a problem gives and expects is in the outcome of each of its programs."""
    return text


def weight(outcome: Outcome) -> int:
    """Bytes that an outcome takes, about, without what it shares with others of its problem."""
    own = [v.error if v.stdout is v.expected else v.error + v.stdout for v in outcome.verdicts]
    things = len(outcome.findings) + len(outcome.tricks)
    return 500 + 350 * len(own) + sum(map(sys.getsizeof, own)) + 200 * things


def is_pass(run: Run, expected: bytes, matches: Callable[[bytes, bytes], bool]) -> bool:
    """Clean and right. A right answer followed by a crash, a non-zero exit or a timeout is not a pass."""
    return run.status is Status.OK and matches(run.stdout, expected)


def _verdict(run: Run, passed: bool, limit: int, *, calls: bool) -> Verdict:
    """How one run ended; `limit`: how many bytes of its output are kept."""
    chance = run.status in _CHANCE
    said = b"" if run.stdout.strip() == (_NONE if calls else b"") else run.stdout
    stdout = b"" if chance else said
    top_line, error_line = failed_lines(run.stderr) if run.status is Status.CRASH else (None, None)
    return Verdict(
        status=run.status.value,
        passed=passed,
        stdout_size=len(stdout),
        stdout_sha256=hashlib.sha256(stdout).hexdigest(),
        stdout=preview(stdout, limit),
        error="" if chance or run.status is Status.OK else _last_line(run.stderr),
        top_line=top_line,
        error_line=error_line,
        # Of what it had written when it was killed: whether there was any is as certain as the kill itself.
        # A function that was called and failed has tried; one that returned None has done nothing.
        idle=not said and (not run.read_input or (calls and run.status is Status.OK)),
    )


def _last_line(text: str) -> str:
    """The last line that says something; addresses, which differ from run to run, are blanked."""
    stripped = text.strip()
    line = stripped.splitlines()[-1] if stripped else ""
    return _ADDRESS.sub("0x...", line)[:ERROR_CHARS]
