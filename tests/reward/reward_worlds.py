"""Random worlds for the property tests: sandbox reports made by hand, judged as real ones are.

A World is what `judge` is given. Outputs come from a small pool, so that passes, near misses, empty expected
outputs and silent runs all occur often.
"""

from dataclasses import dataclass, replace
from itertools import product

from hypothesis import strategies as st

from reward import Finding, Outcome, RewardConfig, Scan, judge, parse_policy
from reward.scan.tricks import KINDS
from reward.security import Trick
from sandbox import Report, Run, Status

OUTPUTS = (b"", b"1\n", b"2\n", b"1", b"1\n2\n", b"\n1\n", b"\xff\n")
ENDINGS = [status for status in Status if status not in (Status.OK, Status.FAULT)]
UNCLEAN_EXIT = {Status.CRASH: (1, None), Status.DENIED: (None, 31), Status.TIMEOUT: (None, 9)}


def ended(status: Status, stdout: bytes, read: bool = True) -> Run:
    """A run with this status, and an exit code or signal that goes with it; it read its input, or did not."""
    code, signal = (0, None) if status is Status.OK else UNCLEAN_EXIT.get(status, (1, None))
    return Run(status, stdout, "" if status is Status.OK else "Error: x", code, signal, 0.1, 0.2, 9000, read)


@dataclass(frozen=True)
class World:
    """One program's reports: what it wrote against what was expected."""

    compiles: bool
    runs: tuple[Run, ...]  # one per test, whether or not it compiles
    expected: tuple[bytes, ...]
    scan: Scan

    def outcome(self) -> Outcome:
        report = Report(
            self.compiles, None if self.compiles else "SyntaxError: x", self.runs if self.compiles else ()
        )
        outcome = judge(report, self.expected, parse_policy("lines").matches, self.scan)
        assert outcome is not None
        return outcome

    def with_run(self, index: int, run: Run, expected: bytes | None = None) -> "World":
        runs, wants = list(self.runs), list(self.expected)
        runs[index] = run
        if expected is not None:
            wants[index] = expected
        return replace(self, runs=tuple(runs), expected=tuple(wants))

    def with_test(self, run: Run, expected: bytes) -> "World":
        return replace(self, runs=(*self.runs, run), expected=(*self.expected, expected))


def unpaid(world: World, config: RewardConfig) -> bool:
    """It did nothing, which is not paid: the one way in which R does not go by the stage."""
    outcome = world.outcome()
    return outcome.idle is True and not outcome.all_passed and not config.pay_idle


# One draw each, from all that there are: most of a property's time is drawing.
clean_runs = st.sampled_from([ended(Status.OK, *rest) for rest in product(OUTPUTS, (False, True))])
unclean_runs = st.sampled_from([ended(*each) for each in product(ENDINGS, OUTPUTS, (False, True))])
runs = st.one_of(clean_runs, unclean_runs)

findings = st.builds(
    Finding,
    line=st.integers(1, 99),
    id=st.sampled_from(["B101", "B307", "B605"]),
    severity=st.sampled_from(["LOW", "MEDIUM", "HIGH"]),
    confidence=st.sampled_from(["LOW", "MEDIUM", "HIGH"]),
    cwe=st.sampled_from([0, 78, 94]),
    given=st.booleans(),
)
tricks = st.builds(Trick, line=st.integers(1, 99), kind=st.sampled_from(KINDS))
clean_scans = st.just(Scan("ok"))
scans = st.one_of(
    clean_scans,
    st.builds(
        lambda found, others: Scan("ok", tuple(sorted(found)), tricks=tuple(sorted(others))),
        st.lists(findings, max_size=4),
        st.lists(tricks, max_size=2),
    ),
    st.just(Scan("unscannable", reason="nested too deeply")),
)


@st.composite
def worlds(draw: st.DrawFn, compiles: bool | None = None, scan: st.SearchStrategy[Scan] = scans) -> World:
    """Between 1 and 6 tests. More often than by chance everything passes, or nothing is done."""
    count = draw(st.integers(1, 6))
    expected = tuple(draw(st.lists(st.sampled_from(OUTPUTS), min_size=count, max_size=count)))
    results = tuple(draw(st.lists(runs, min_size=count, max_size=count)))
    if draw(st.integers(0, 4)) == 0:
        results = tuple(
            ended(Status.OK, want, run.read_input) for run, want in zip(results, expected, strict=True)
        )
    elif draw(st.integers(0, 4)) == 0:
        results = tuple(ended(run.status, b"", read=False) for run in results)
    parses = draw(st.integers(0, 5)) > 0 if compiles is None else compiles
    return World(parses, results, expected, draw(scan))


@st.composite
def configs(
    draw: st.DrawFn, *, top_step: float = 0.0, smallest_weight: float = 0.0, **fixed: object
) -> RewardConfig:
    """Any configuration; c[4] - c[3] >= `top_step`, alpha and beta >= `smallest_weight`."""
    unit = st.floats(0, 1, allow_subnormal=False)
    lower = sorted(draw(st.lists(unit, min_size=4, max_size=4)))
    lower = [credit * (1 - top_step) for credit in lower]
    top = draw(st.floats(min(1.0, lower[3] + top_step), 1.0))
    alpha = draw(st.floats(smallest_weight, 1 - smallest_weight, allow_subnormal=False))
    values: dict = {
        "mode": draw(st.sampled_from(["partial", "binary"])),
        "alpha": alpha,
        "beta": 1 - alpha,
        "stage_credits": (*lower, top),
        "security": draw(st.sampled_from(["linear", "exp"])),
        "security_gate": draw(st.sampled_from(["off", "parses", "passes", "earned"])),
        "security_floor": draw(st.sampled_from(["low", "medium", "high"])),
        "security_by": draw(st.sampled_from(["severity", "cwe"])),
        "weight_trick": draw(st.sampled_from([0.0, 0.3])),
        "pay_idle": draw(st.booleans()),
    }
    return RewardConfig(**(values | fixed))
