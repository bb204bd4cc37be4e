"""LiveCodeBench (lite): its public tests only.

    question_id, question_content, starter_code, difficulty
    public_test_cases    as text of JSON: [{input, output, testtype}]
    metadata             as text of JSON: {func_name}, where a function is called

The private tests are pickled, and nothing is unpickled here: they are left out. The set is for measuring, so
all of it is held out.
"""

from typing import Any

from data.fields import text_at
from data.formats.base import Format, cases_at, function_of
from data.forms import posed
from data.problem import Problem


def read(row: dict[str, Any], number: str) -> Problem:
    """A row of LiveCodeBench."""
    cases = cases_at(row, "public_test_cases")
    return posed(
        [(case.get("input"), case.get("output")) for case in cases],
        function=function_of(cases, row.get("metadata")),
        starter=row.get("starter_code"),
        public=[True] * len(cases),
        id=str(row.get("question_id") or f"livecodebench-{number}"),
        prompt=text_at(row, "question_content"),
        solutions=(),
        difficulty=str(row["difficulty"]) if row.get("difficulty") else None,
        source="LiveCodeBench",
        split="heldout",
    )


LIVECODEBENCH = Format(
    "LiveCodeBench, public tests",
    "of the source",
    frozenset({"question_content", "public_test_cases"}),
    frozenset({"question_id", "starter_code", "metadata", "difficulty"}),
    read,
)
