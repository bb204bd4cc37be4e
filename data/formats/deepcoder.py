"""DeepCoder-Preview, in its four configurations.

    problem, solutions, starter_code
    tests   as text of JSON: {inputs, outputs, fn_name}, or a list of {input, output, fn_name} with their
            type, as `type` or `testtype`

Types are named `stdin_stdout` or `stdin`, and `function_call` or `functional`; a list that names none reads
standard input. Reference programs stand in fences.
"""

from typing import Any

from data.extraction import extract
from data.fields import RowError, kind, text_at
from data.formats.base import Format, cases_at
from data.forms import function_call, json_at, pairs_of, tests_of
from data.problem import Problem

_STDIN = ("stdin_stdout", "stdin", None)


def read(row: dict[str, Any], number: str) -> Problem:
    """A row of DeepCoder-Preview."""
    solutions = row.get("solutions") or []
    if isinstance(solutions, str):
        solutions = [solutions]
    if not isinstance(solutions, list):
        raise RowError(f"'solutions' is {kind(solutions)}, not a list; correct it")
    return Problem(
        id=f"deepcoder-{number}",
        prompt=text_at(row, "problem"),
        tests=tests_of(_pairs(row)),
        solutions=tuple(extract(text)[0] for text in solutions if isinstance(text, str) and text.strip()),
        source="DeepCoder-Preview",
    )


def _pairs(row: dict[str, Any]) -> list[tuple[Any, Any]]:
    tests = json_at(row, "tests", object, [])
    if isinstance(tests, dict):
        if tests.get("fn_name"):
            raise function_call("fn_name is set")
        return pairs_of(tests)
    cases = cases_at({"tests": tests}, "tests")
    for case in cases:
        named = case.get("type", case.get("testtype"))
        if case.get("fn_name") or named not in _STDIN:
            raise function_call(f"a test is of type {named!r}")
    return [(case.get("input"), case.get("output")) for case in cases]


DEEPCODER = Format(
    "DeepCoder-Preview",
    "MIT",
    frozenset({"problem", "tests"}),
    frozenset({"problem", "tests", "solutions"}),
    read,
)
