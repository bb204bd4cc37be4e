"""DeepCoder-Preview, in its four configurations.

    problem, solutions, starter_code
    tests      as text of JSON: {inputs, outputs, fn_name}, or a list of {input, output, fn_name} with their
               type, as `type` or `testtype`
    metadata   {func_name}, of LiveCodeBench's tasks

Types are named `stdin_stdout` or `stdin`, and `function_call` or `functional`; a list that names none reads
standard input. Reference programs stand in fences.
"""

from typing import Any

from data.extraction import extract
from data.fields import RowError, kind, text_at
from data.formats.base import Format, cases_at, function_of
from data.forms import json_at, pairs_of, posed
from data.problem import Problem


def read(row: dict[str, Any], number: str) -> Problem:
    """A row of DeepCoder-Preview."""
    solutions = row.get("solutions") or []
    if isinstance(solutions, str):
        solutions = [solutions]
    if not isinstance(solutions, list):
        raise RowError(f"'solutions' is {kind(solutions)}, not a list; correct it")
    pairs, function = _pairs(row)
    return posed(
        pairs,
        function=function,
        starter=row.get("starter_code"),
        id=f"deepcoder-{number}",
        prompt=text_at(row, "problem"),
        solutions=tuple(extract(text)[0] for text in solutions if isinstance(text, str) and text.strip()),
        source="DeepCoder-Preview",
    )


def _pairs(row: dict[str, Any]) -> tuple[list[tuple[Any, Any]], object]:
    """(pairs, the function that is called if there is one)."""
    tests = json_at(row, "tests", object, [])
    if isinstance(tests, dict):
        return pairs_of(tests), tests.get("fn_name")
    cases = cases_at({"tests": tests}, "tests")
    return [(case.get("input"), case.get("output")) for case in cases], function_of(
        cases, row.get("metadata")
    )


DEEPCODER = Format(
    "DeepCoder-Preview",
    "MIT",
    frozenset({"problem", "tests"}),
    frozenset({"problem", "tests", "solutions", "starter_code", "metadata"}),
    read,
)
