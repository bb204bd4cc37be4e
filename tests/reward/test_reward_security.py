"""What findings cost, and which of them are the program's own."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward import Finding
from reward.security import Scan, charged, given_code, mark_given, security_reward, severity_sum

WEIGHTS = {"HIGH": 1.0, "MEDIUM": 0.5, "LOW": 0.1}


def finding(line: int, severity: str = "MEDIUM", test: str = "B307", cwe: int = 78) -> Finding:
    return Finding(line, test, severity, "HIGH", cwe)


@pytest.mark.parametrize(
    ("severities", "floor", "total"),
    [
        ([], "MEDIUM", 0.0),
        (["LOW"], "MEDIUM", 0.0),
        (["LOW"], "LOW", 0.1),
        (["MEDIUM"], "MEDIUM", 0.5),
        (["MEDIUM", "MEDIUM", "HIGH"], "MEDIUM", 2.0),
        (["MEDIUM", "HIGH"], "HIGH", 1.0),
        (["UNDEFINED"], "LOW", 0.0),
    ],
)
def test_what_findings_weigh(severities: list[str], floor: str, total: float) -> None:
    found = [finding(1, severity) for severity in severities]
    assert severity_sum(charged(found, floor), WEIGHTS) == pytest.approx(total)


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_vulnerability_never_earns_more(one: float, other: float) -> None:
    low, high = sorted((one, other))
    for formula in ("linear", "exp"):
        assert 0 <= security_reward(high, formula) <= security_reward(low, formula) <= 1
        assert security_reward(0.0, formula) == 1.0


PROMPT = b"import os\n\ndef run(c):\n    return eval(c)\n"


def marked(program: bytes, *lines: int) -> list[bool]:
    given = given_code(Scan("ok", (finding(4),)), PROMPT)
    return [f.given for f in mark_given([finding(line) for line in lines], program, given)]


def test_a_line_of_the_prompt_is_not_charged() -> None:
    assert marked(b"# mine\n" + PROMPT, 5) == [True]


def test_indentation_does_not_make_it_the_programs_own() -> None:
    assert marked(b"return eval(c)\n", 1) == [True]


def test_another_line_with_the_same_fault_is_the_programs_own() -> None:
    assert marked(PROMPT + b"print(eval(input()))\n", 4, 5) == [True, False]


def test_each_line_of_the_prompt_excuses_one() -> None:
    assert marked(PROMPT + b"    return eval(c)\n", 4, 5) == [True, False]


def test_another_fault_on_that_line_is_charged() -> None:
    given = given_code(Scan("ok", (finding(4),)), PROMPT)
    (found,) = mark_given([finding(4, test="B605")], PROMPT, given)
    assert not found.given


def test_what_the_prompt_has_weighs_nothing() -> None:
    found = mark_given([finding(4, "HIGH")], PROMPT, Counter({("B307", "return eval(c)"): 1}))
    assert charged(found, "LOW") == []
