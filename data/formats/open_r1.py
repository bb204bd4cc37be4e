"""Verifiable coding problems (open-r1 and the set it was made from).

    problem_id, problem_statement, gold_standard_solution
    verification_info   {language, test_cases [{type, fn_name, input, output}]}, as it is or as text of JSON

A case is of type `stdin_stdout` or `function_call`; reference programs often stand in a fence.
"""

from typing import Any

from data.extraction import extract
from data.fields import RowError, text_at
from data.formats.base import OTHER_LANGUAGE, Format, cases_at, function_of
from data.forms import json_at, posed
from data.problem import Problem


def read(row: dict[str, Any], number: str) -> Problem:
    """A row of verifiable coding problems."""
    info = json_at(row, "verification_info", dict, {})
    if info.get("language", "python") != "python":
        raise RowError(f"a program in {info['language']!r:.40} is asked for", OTHER_LANGUAGE)
    cases = cases_at({"test_cases": info.get("test_cases") or []}, "test_cases")
    solution = row.get("gold_standard_solution")
    return posed(
        [(case.get("input"), case.get("output")) for case in cases],
        function=function_of(cases),
        starter=None,
        id=str(row.get("problem_id") or f"open-r1-{number}"),
        prompt=text_at(row, "problem_statement"),
        solutions=(extract(solution)[0],) if isinstance(solution, str) and solution.strip() else (),
        source="verifiable-coding-problems",
    )


OPEN_R1 = Format(
    "verifiable-coding-problems",
    "of the source",
    frozenset({"problem_statement", "verification_info"}),
    frozenset({"problem_id", "problem_statement", "verification_info", "gold_standard_solution"}),
    read,
)
