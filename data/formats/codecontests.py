"""CodeContests (DeepMind), as JSON lines or Parquet.

    name, description, difficulty, input_file, output_file
    public_tests, private_tests, generated_tests   {input[], output[]}
    solutions                                      {language[], solution[]}

Languages are numbers: 1 is Python 2 and 3 is Python 3. There are no checkers: where several answers are
right, the reference fails on some tests, and `prepare` leaves the problem out.
"""

from typing import Any

from data.fields import RowError, text_at
from data.formats.base import READS_A_FILE, Format, columns_of
from data.forms import tests_of, with_result
from data.problem import Problem

_PYTHON3 = (3, "3", "PYTHON3")
_MAX_SOLUTIONS = 8  # of hundreds; a problem needs one that passes
_TESTS = ("public_tests", "private_tests", "generated_tests")


def read(row: dict[str, Any], number: str) -> Problem:
    """A row of CodeContests; its public tests are the examples of the text."""
    for name in ("input_file", "output_file"):
        if row.get(name):
            raise RowError(f"{name} is {row[name]!r}; programs here read standard input", READS_A_FILE)
    pairs = [(name, pair) for name in _TESTS for pair in columns_of(row.get(name), ("input", "output"))]
    programs = columns_of(row.get("solutions"), ("language", "solution"))
    python = [text for language, text in programs if language in _PYTHON3 and isinstance(text, str)]
    problem = Problem(
        id=text_at(row, "name"),
        prompt=text_at(row, "description"),
        tests=tests_of([pair for _, pair in pairs], [name == _TESTS[0] for name, _ in pairs]),
        solutions=tuple(python[:_MAX_SOLUTIONS]),
        difficulty=None if row.get("difficulty") is None else str(row["difficulty"]),
        source="CodeContests",
    )
    return with_result(problem)


CODECONTESTS = Format(
    "CodeContests",
    "CC BY 4.0",
    frozenset({"description", "public_tests", "private_tests"}),
    frozenset({"name", "description", "difficulty", "input_file", "output_file", "solutions", *_TESTS}),
    read,
)
