"""Reading and writing files of problems.

The forms of rows are in data/forms.py, recognised by their content, never by the file's name: this project's
JSONL, the v2.0 JSON prompt file of SecureCodeRL, and APPS-shaped rows as JSONL, one JSON list or APPS's own
folders; each also gzipped. Anything a problem cannot be made from is a DataError of one line that names file
and line. This module compares no outputs (reward/compare.py does) and runs no program.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data.fields import RowError
from data.files import DataError, located_rows, write_atomically
from data.formats.known import format_of
from data.forms import FUNCTION_CALL, NO_TESTS, problem_of, row_of
from data.problem import Problem, TestCase

__all__ = [
    "FUNCTION_CALL",
    "NO_TESTS",
    "DataError",
    "Problem",
    "TestCase",
    "load_problems",
    "write_problems",
]


_ONLY_SECURITY = (
    "the problem has no tests: it measures whether programs are clean (evaluate.py --suite security), "
    "and nothing can be earned by it"
)


def load_problems(
    path: str | os.PathLike[str], *, skipped: Counter[str] | None = None, untested: bool = False
) -> list[Problem]:
    """Read every problem of a file, or raise DataError.

    Public files are full of rows that can earn no reward: without tests, or with the arguments of a function
    that they do not name. By default they are errors like any other. Hand in a Counter as `skipped` and they
    are left out and counted in it, under NO_TESTS, FUNCTION_CALL and the like: nobody skips without a count.
    `untested`: tasks without tests that measure security alone are wanted, too.
    """
    path = Path(path)
    problems: list[Problem] = []
    first: dict[str, str] = {}
    left_out = 0
    rows = located_rows(path)
    for where, row in rows:
        try:
            problem = problem_of(row)
            if not (problem.tests or untested):
                raise RowError(_ONLY_SECURITY, NO_TESTS)
        except RowError as error:
            if skipped is not None and error.skippable is not None:
                skipped[error.skippable] += 1
                left_out += 1
                continue
            if error.skippable == FUNCTION_CALL:
                raise DataError(f"{where}: {error}{_how_many(len(problems), rows)}") from None
            form = format_of(row) if isinstance(row, dict) else None
            if form is not None and not form.as_it_is:
                advice = "`train.py prepare` makes problems of such files"
                raise DataError(f"{where}: a row of {form.name}; {advice}") from None
            raise DataError(f"{where}: {error}") from None
        if problem.id in first:
            used = first[problem.id].removeprefix(f"{path}:")
            raise DataError(
                f"{where}: id {problem.id!r} was used on line {used}; give every problem an id of its own"
            )
        first[problem.id] = where
        problems.append(problem)
    if not problems and not left_out:
        raise DataError(f"{path}:1: the file holds no problem; write at least one")
    return problems


def write_problems(path: str | os.PathLike[str], problems: Sequence[Problem]) -> None:
    """Write this project's JSONL, one problem per line; the file appears whole or not at all.

    What is written reads back equal: each row is checked as load_problems checks it, before any is written.
    """
    path = Path(path)
    if not problems:
        raise DataError(f"{path}:1: nothing to write; a file of problems holds at least one")
    lines: list[str] = []
    seen: set[str] = set()
    for number, problem in enumerate(problems, 1):
        row = row_of(problem)
        try:
            if problem_of(row) != problem:
                raise RowError("the problem does not survive writing; use tuples of TestCase and of str")
        except RowError as error:
            raise DataError(f"{path}:{number}: {error}") from None
        if problem.id in seen:
            raise DataError(f"{path}:{number}: id {problem.id!r} occurs twice; give every problem its own")
        seen.add(problem.id)
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_atomically(path, "".join(lines).encode("utf-8"))


def _how_many(good: int, rest: Iterator[tuple[str, Any]]) -> str:
    """How many rows are of this kind, for the message: is it one row, or the whole file?"""
    bad = 1
    for _, row in rest:
        try:
            problem_of(row)
            good += 1
        except RowError as error:
            bad += error.skippable == FUNCTION_CALL
            good += error.skippable != FUNCTION_CALL
    return f" ({bad} of {good + bad} rows here); `train.py prepare` leaves such rows out"
