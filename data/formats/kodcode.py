"""KodCode-V1: a question, a solution, and a file of pytest that imports it.

    question_id, question, solution, gpt_difficulty
    test or test_code    pytest source: from solution import f
    test_info            [{function_name, function_declaration, ...}]

Questions often leave out the function's name; then its declaration stands behind them. Tasks of several
functions or of a class are left out, and so are tests that need fixtures.
"""

from typing import Any

from data.fields import RowError, optional_at, text_at, text_or_empty_at
from data.formats.base import Format, Unrecorded, cases_at
from data.formats.checks import NO_FUNCTION, asked, comparison_of
from data.formats.pytest_source import without_pytest
from data.problem import Problem


def read(row: dict[str, Any], number: str) -> Unrecorded:
    """A row of KodCode-V1."""
    functions = cases_at(row, "test_info")
    names = {text_at(info, "function_name") for info in functions}
    if len(names) != 1:
        raise RowError(f"{len(names)} functions are asked for", NO_FUNCTION)
    (name,) = names
    tests = text_at(row, "test" if "test" in row else "test_code")
    problem = Problem(
        id=f"kodcode-{row.get('question_id') or number}",
        prompt=asked(
            text_at(row, "question"), name, starter=text_or_empty_at(functions[0], "function_declaration")
        ),
        tests=(),
        solutions=(text_at(row, "solution"),),
        difficulty=optional_at(row, "gpt_difficulty"),
        source="KodCode-V1",
        compare=comparison_of(tests),
        entry_point=name,
    )
    return Unrecorded(problem, without_pytest(tests))


_KEYS = frozenset({"question", "solution", "test_info"})
_COLUMNS = frozenset({"question_id", "gpt_difficulty"})
KODCODE = Format("KodCode-V1", "CC BY-NC 4.0", _KEYS | {"test"}, _COLUMNS, read)
KODCODE_FIRST = Format("KodCode-V1, first form", "CC BY-NC 4.0", _KEYS | {"test_code"}, _COLUMNS, read)
