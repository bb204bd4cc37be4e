"""LiveCodeBench (lite): its public tests only.

    question_id, question_content, difficulty
    public_test_cases    as text of JSON: [{input, output, testtype}]

The private tests are pickled, and nothing is unpickled here: they are left out.
"""

from typing import Any

from data.fields import text_at
from data.formats.base import Format, cases_at
from data.forms import function_call, tests_of
from data.problem import Problem


def read(row: dict[str, Any], number: str) -> Problem:
    """A row of LiveCodeBench."""
    cases = cases_at(row, "public_test_cases")
    for case in cases:
        if case.get("testtype", "stdin") != "stdin":
            raise function_call(f"a test is of type {case['testtype']!r}")
    return Problem(
        id=str(row.get("question_id") or f"livecodebench-{number}"),
        prompt=text_at(row, "question_content"),
        tests=tests_of([(case.get("input"), case.get("output")) for case in cases], [True] * len(cases)),
        difficulty=str(row["difficulty"]) if row.get("difficulty") else None,
        source="LiveCodeBench",
    )


LIVECODEBENCH = Format(
    "LiveCodeBench, public tests",
    "of the source",
    frozenset({"question_content", "public_test_cases"}),
    frozenset({"question_id", "question_content", "public_test_cases", "difficulty"}),
    read,
)
