"""What programs write is hostile: whatever judges it takes time linear in it, and raises nothing.

Time is not measured: the characters that a pattern looks at are bounded by its form (no repetition in it can
give back what it took), and what is done per character, token or line is counted.
"""

import random
import re
import sys
from collections.abc import Callable, Iterator

import pytest

from benchmarks.hostile_text import OUTPUTS, SOURCES, hostile_sources, hostile_texts
from data import Problem, TestCase
from data.prompts import extract
from reward import Scan, Scorer, judge, parse_policy
from reward import compare as compare_module
from reward import outcome as outcome_module
from reward import traceback as traceback_module
from reward.compare import _BETWEEN, _NUMBER
from reward.hacking import sentinels as sentinels_module
from reward.outcome import _last_line
from reward.scan import worker
from reward.traceback import compiler_line, failed_lines
from sandbox import Report, Run, Status

POLICIES = ("lines", "exact", "tokens", "float", "float(0.5,0)", "json", "python", "json(0.5,0)")


def patterns() -> list[re.Pattern]:
    modules = (compare_module, outcome_module, sentinels_module, traceback_module, worker)
    return [value for module in modules for value in vars(module).values() if isinstance(value, re.Pattern)]


def retried(parsed: list, last: bool = True) -> Iterator[str]:
    """The repetitions that can give back what they took, to be tried again with what follows them.

    One of a single character at the very end is none of these: nothing follows it.
    """
    for i, (op, argument) in enumerate(parsed):
        name, at_end = str(op), last and i == len(parsed) - 1
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, inner = argument
            single = len(inner) == 1 and str(inner[0][0]) in ("IN", "ANY", "LITERAL")
            if high - low > 9 and not (single and at_end):
                yield f"{name} {inner}"
            yield from retried(list(inner), False)
        elif name == "POSSESSIVE_REPEAT":
            yield from retried(list(argument[2]), False)
        elif name == "SUBPATTERN":
            yield from retried(list(argument[-1]), at_end)
        elif name == "BRANCH":
            for branch in argument[1]:
                yield from retried(list(branch), at_end)


def parsed(pattern: str | bytes) -> list:
    return list(re._parser.parse(pattern))  # type: ignore[attr-defined]


@pytest.mark.parametrize("pattern", patterns(), ids=lambda pattern: repr(pattern.pattern)[:40])
def test_no_pattern_gives_back_what_it_took(pattern: re.Pattern) -> None:
    assert list(retried(parsed(pattern.pattern))) == []


@pytest.mark.parametrize("pattern", [r"\d+\.?\d*", r"(?:a+)+", r"\s*\n", r"(.*)x"])
def test_patterns_that_do_are_known(pattern: str) -> None:
    assert list(retried(parsed(pattern)))


def calls(function: Callable[[], object]) -> int:
    """Python and C calls that it makes: the work that grows with its input, but for what one call does."""
    count = 0

    def see(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_twice_the_output_is_twice_the_work(name: str, policy: str) -> None:
    matches = parse_policy(policy).matches
    once, twice = (OUTPUTS[name](size) for size in (1 << 12, 1 << 13))
    work = [calls(lambda text=text: matches(text, text + b"1")) for text in (once, twice)]
    assert work[1] <= 2.5 * work[0] + 50


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_largest_output_is_compared_in_every_worst_shape(name: str) -> None:
    text = OUTPUTS[name](256 << 10)
    for policy in POLICIES:
        matches = parse_policy(policy).matches
        assert matches(text, text)
        matches(text, text[1:]), matches(text[:-1] + b"0", text[:-1] + b"1")


def test_digits_and_a_letter_are_looked_at_once() -> None:
    """`print('1' * 20000 + 'x')` held the interpreter for 23 s: each digit could be the last."""
    digits = b"1" * (256 << 10)
    assert _NUMBER.fullmatch(digits) and not _NUMBER.fullmatch(digits + b"x")
    assert not parse_policy("float").matches(digits + b"x", digits + b"y")
    assert _BETWEEN.split(digits + b"x") == [digits + b"x"]


@pytest.mark.parametrize("digits", [8, 4300, 4301, 8000])
def test_a_line_number_that_no_line_can_have_is_none(digits: int) -> None:
    """int() refuses 4,301 digits, and the whole batch went with it."""
    text = f'Traceback (most recent call last):\n  File "program.py", line {"1" * digits}, in f\n'
    assert failed_lines(text) == (None, None)
    assert compiler_line(f"SyntaxError: x (program.py, line {'1' * digits})") is None
    assert failed_lines(text.replace("1" * digits, "١٢")) == (None, None)  # digits of another script


@pytest.mark.parametrize("name", OUTPUTS)
def test_any_standard_error_is_read(name: str) -> None:
    text = OUTPUTS[name](8192).decode("utf-8", "replace")
    frames = 'Traceback (most recent call last):\n  File "program.py", line 3, in f\n'
    for stderr in (text, frames + text, text + frames, frames * 200, text.replace("1", "0x")):
        failed_lines(stderr), compiler_line(stderr), _last_line(stderr)
        for status in Status:
            judge(Report(True, None, (Run(status, text.encode(), stderr),)), [b"1"], MATCHES, Scan("ok"))


MATCHES = parse_policy("float").matches
PLUS_ONE = Problem("plus-one", "Read n, print n + 1.", (TestCase("1\n", "2\n"),), compare="float")
RIGHT = "print(int(input()) + 1)"


def check(scorer: Scorer, count: int, seed: int) -> None:
    """Hostile texts in batches with right programs: none raises, and no right program loses its score."""
    texts = hostile_texts(count, random.Random(seed))
    for start in range(0, count, 200):
        programs = [extract(text)[0] for text in texts[start : start + 200]]
        rights = [f"{RIGHT}  # {start + i}" for i in range(len(programs) // 10)]
        outcomes = scorer.outcomes([(PLUS_ONE, program) for program in [*programs, *rights]])
        assert all(o is not None and o.all_passed and o.scan == "ok" for o in outcomes[len(programs) :])
        assert None not in outcomes


def test_hostile_texts_break_nothing(scorer: Scorer) -> None:
    check(scorer, 100, 1)


@pytest.mark.slow
def test_ten_thousand_hostile_texts_break_nothing(scorer: Scorer) -> None:
    check(scorer, 10_000, 2)


def test_the_worst_sources_are_scanned_or_known_not_to_be(scorer: Scorer) -> None:
    """A scan's verdict is a fact about the source: none ends at its clock, which is the machine's."""
    for source in hostile_sources(64 << 10):
        scan = scorer._analyser.scan(source.encode("utf-8", "surrogatepass"))
        assert scan.reason != "the scan was ended by its limits"
    assert len(SOURCES) > 15


def test_what_raises_in_judging_one_program_is_that_programs_trouble(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def raises(*args: object) -> object:
        raise ValueError("a bug of ours")

    pairs = [(PLUS_ONE, f"{RIGHT}  # unseen {i}") for i in range(5)]
    broken = Problem("broken-one", "Read n.", (TestCase("1\n", "2\n"),), compare="float(0.125,0)")
    with monkeypatch.context() as patch:
        patch.setattr(compare_module.Policy, "matches", _unless_broken(raises))
        outcomes = scorer.outcomes([*pairs, (broken, RIGHT)])
    assert outcomes[-1] is None and all(o is not None and o.all_passed for o in outcomes[:-1])
    assert "broken-one" in caplog.text and "a bug of ours" in caplog.text


def _unless_broken(raises: Callable) -> Callable:
    plain = compare_module.Policy.matches

    def matches(self: compare_module.Policy, actual: bytes, expected: bytes) -> bool:
        return raises() if self.absolute == 0.125 else plain(self, actual, expected)

    return matches
