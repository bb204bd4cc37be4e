"""Answers to function-call tasks: which piece is the function, and bodies behind the stub of their prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import Answer, Problem, TestCase, answer_in, extract, with_stub

FENCE = "```"
STUB = 'from math import sqrt\n\n\ndef f(x):\n    """Return the root of x."""\n'
BODY = "    return sqrt(x)\n"


def test_a_body_is_judged_behind_its_stub_and_runs_behind_it():
    assert extract(BODY, STUB) == (BODY, 0)
    source, shift = with_stub(BODY, STUB)
    assert source == STUB + BODY
    assert source[shift:] == BODY


def test_a_body_in_a_fence_keeps_its_indentation():
    text = f"Sure:\n{FENCE}python\n{BODY}{FENCE}\n"
    program, offset = extract(text, STUB)
    assert program == BODY == text[offset : offset + len(program)]


def test_a_body_before_a_closing_fence_is_cut_out():
    assert extract(f"{BODY}{FENCE}\nThis works.", STUB) == (BODY, 0)


def test_a_whole_function_needs_no_stub_but_profits_from_its_imports():
    whole = f"def f(x):\n{BODY}"
    source, shift = with_stub(whole, STUB)
    space: dict = {}
    exec(source, space)
    assert space["f"](9) == 3
    assert source[shift:] == whole


@pytest.mark.parametrize("program", [f"def f(x):\n{BODY}", "print(1\n"])
def test_where_stub_and_program_do_not_parse_together_the_program_stands_alone(program):
    assert with_stub(program, "def f(x):\n") == (program, 0)


def test_a_stub_with_quotes_in_it_is_used_as_it_is():
    stub = 'def f(x):\n    """Say \'\'\' and \\"\\"\\"."""\n'
    assert with_stub(BODY, stub) == (stub + BODY, len(stub))


# --- with the problem at hand ---

WHOLE = "def f(x):\n    return x ** 0.5\n"
IMPORTS = "from typing import List\n\n\n"
HELPER = "def half(x):\n    return x / 2\n\n\n"
FENCED = f"{FENCE}python\n{WHOLE}{FENCE}\n"


def problem(stub: str = "", entry_point: str | None = "f") -> Problem:
    return Problem("p", "x", (TestCase("[4]", "2"),), compare="json", entry_point=entry_point, stub=stub)


def value_of(answer: Answer, x: object = 9) -> object:
    space: dict = {}
    exec(answer.program, space)
    return space["f"](x)


COMPLETE = {
    "the function": WHOLE,
    "in a fence": f"Here it is:\n{FENCED}It works.",
    "between words": f"Here it is:\n\n{WHOLE}\nThis returns the root of a number.",
    "before an example": f"{FENCED}Use:\n{FENCE}python\nn = int(input())\nprint(f(n))\n{FENCE}",
    "after an example": f"{FENCE}python\nprint(f(int(input())))\n{FENCE}\nwith\n{FENCED}",
    "before a test": f"{FENCED}Test it:\n{FENCE}python\nassert f(4) == 2\nprint('ok')\n{FENCE}",
    "before another function": f"{FENCED}or\n{FENCE}\ndef g(x):\n    print(input())\n{FENCE}",
    "as a lambda": f"Sure:\n{FENCE}python\nf = lambda x: x ** 0.5\n{FENCE}\nThat is all you need (really).",
}


@pytest.mark.parametrize("stub", ["", STUB, IMPORTS + HELPER + "def f(x):\n    '''Root.'''\n"])
@pytest.mark.parametrize("name", COMPLETE)
def test_the_piece_that_defines_the_function_is_the_program(name, stub):
    text = COMPLETE[name]
    answer = answer_in(text, problem(stub))
    assert value_of(answer) == 3
    written = answer.program[answer.given :]
    assert text[answer.offset : answer.offset + len(written)] == written


def test_of_a_class_its_name_is_looked_for():
    solution = "class Solution:\n    def f(self, x):\n        return x\n"
    text = f"{FENCE}\n{solution}{FENCE}\n{FENCE}\nprint(Solution().f(int(input())))\n{FENCE}"
    assert answer_in(text, problem(entry_point="Solution.f")).program == solution


def test_without_an_entry_point_it_is_as_before():
    for text in COMPLETE.values():
        program, offset = extract(text)
        assert answer_in(text, problem(entry_point=None)) == (program, offset, 0)


BODIES = {
    "the body": BODY,
    "the body and what base models write next": BODY + "\n\nprint(f(4))\n",
    "in a fence": f"{FENCE}python\n{BODY}{FENCE}",
    "in a fence behind words": f"The body is:\n\n{FENCE}python\n{BODY}{FENCE}\nDone.",
    "the stub once more": STUB + BODY,
    "the head once more": "def f(x):\n" + BODY,
    "the head once more, in a fence": f"{FENCE}python\ndef f(x):\n{BODY}{FENCE}",
    "a helper behind it": f"    return root(x)\n\n\ndef root(x):\n{BODY}",
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_runs_behind_the_stub_of_its_prompt(name):
    """Imports and helpers of the stub count, also where the answer repeats the function's head."""
    text = BODIES[name]
    answer = answer_in(text, problem(STUB))
    assert value_of(answer) == 3
    assert answer.program.startswith(STUB) and answer.given == len(STUB)
    written = answer.program[answer.given :]
    assert text[answer.offset : answer.offset + len(written)] == written


def test_a_stub_of_a_class_takes_a_body_too():
    stub = "class Solution:\n    def f(self, x):\n"
    answer = answer_in("        return x + 1\n", problem(stub, "Solution.f"))
    space: dict = {}
    exec(answer.program, space)
    assert space["Solution"]().f(1) == 2


def test_what_imports_from_the_future_stands_alone():
    """Behind other statements it would not compile."""
    answer = answer_in(f"from __future__ import annotations\n{WHOLE}", problem(STUB))
    assert answer.given == 0 and value_of(answer) == 3


@pytest.mark.parametrize("text", ["", "def f(x:", "I cannot do that.", "return x", "    x = (\n"])
def test_what_is_no_program_does_not_become_one(text):
    answer = answer_in(text, problem("def f(x):\n    '''Root.'''\n"))
    space: dict = {}
    try:
        exec(compile(answer.program, "p", "exec"), space)
    except SyntaxError:
        return
    assert space["f"](4) is None  # the stub alone: it returns nothing, and earns nothing


@given(st.text(max_size=200), st.sampled_from(["", STUB]))
def test_any_text_is_cut_and_never_edited(text, stub):
    answer = answer_in(text, problem(stub))
    written = answer.program[answer.given :]
    assert text[answer.offset : answer.offset + len(written)] == written
    assert answer.program[: answer.given] == (stub if answer.given else "")
