"""AceCode-87K: a question, asserts, and what several models answered.

    id, source, question
    test_cases    assert statements
    inferences    [{model_name, completion, pass_rate, ...}]

There is no reference. Answers that passed every assert when the set was made stand in for one; each is run
as any reference is. A row without such an answer is left out: its asserts were written by a model, and
nobody can say that they are right.
"""

from typing import Any

from data.extraction import extract
from data.fields import RowError, identifier_at, text_at, texts_at
from data.formats.base import Format, Unrecorded, columns_of
from data.formats.checks import asked, comparison_of, function_called, lines_of
from data.problem import Problem

NO_ANSWER = "no answer passed every test"
_MAX_ANSWERS = 8  # of dozens; a problem needs one that passes


def read(row: dict[str, Any], number: str) -> Unrecorded:
    """A row of AceCode-87K."""
    asserts = texts_at(row, "test_cases")
    answers = columns_of(row.get("inferences"), ("completion", "pass_rate"))
    passed = [text for text, rate in answers if rate == 1 and isinstance(text, str)]
    if not passed:
        raise RowError(f"none of {len(answers)} answers passed every test", NO_ANSWER)
    programs = tuple(dict.fromkeys(extract(text)[0] for text in passed))[:_MAX_ANSWERS]
    function, checks = function_called(asserts, programs), lines_of(asserts)
    problem = Problem(
        id=identifier_at(row, "id"),
        prompt=asked(text_at(row, "question"), function),
        tests=(),
        solutions=programs,
        source=f"AceCode-87K, {row['source']}" if row.get("source") else "AceCode-87K",
        compare=comparison_of(checks),
        entry_point=function,
    )
    return Unrecorded(problem, checks)


ACECODE = Format(
    "AceCode-87K",
    "MIT",
    frozenset({"question", "test_cases", "inferences"}),
    frozenset({"id", "source"}),
    read,
)
