"""Problems: what they are, and reading and writing files of them.

Three forms are recognised by their content, never by the file's name: this project's JSONL, the v2.0 JSON
prompt file of SecureCodeRL, and APPS-shaped rows (question, inputs, outputs, solution or solutions) as
JSONL or one JSON list. Anything a problem cannot be made from is a DataError of one line that names file and
line. This module compares no outputs (reward/compare.py does) and runs no program.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data.comparison import parse_comparison
from data.fields import RowError, check_encodable, identifier_at, kind, list_at, optional_at, text_at
from data.rows import RowsError, rows

FUNCTION_CALL = "function-call task"
NO_TESTS = "no tests"

_OWN_KEYS = ("id", "prompt", "tests", "solutions", "difficulty", "source", "split", "compare")


class DataError(ValueError):
    """A file of problems that cannot be used; one line: where it is, what is wrong, what to do."""


@dataclass(frozen=True)
class TestCase:
    """One run of a program: what it reads on standard input, what it must print."""

    __test__: ClassVar[bool] = False  # or pytest would try to collect it

    input: str
    output: str


@dataclass(frozen=True)
class Problem:
    """A task in words, and the tests that decide whether a program solves it."""

    id: str
    prompt: str
    tests: tuple[TestCase, ...]
    solutions: tuple[str, ...] = ()
    difficulty: str | None = None
    source: str | None = None
    split: str | None = None
    compare: str = "lines"


def load_problems(path: str | os.PathLike[str], *, skipped: Counter[str] | None = None) -> list[Problem]:
    """Read every problem of a file, or raise DataError.

    Function-call tasks and problems without tests cannot be rewarded by standard input and output, and public
    files are full of them. By default they are errors like any other. Hand in a Counter as `skipped` and they
    are left out and counted in it, under FUNCTION_CALL and NO_TESTS: nobody skips without holding a count.
    """
    path = Path(path)
    problems: list[Problem] = []
    first_line: dict[str, int] = {}
    left_out = 0
    for line, row in _located_rows(path):
        try:
            problem = _problem(row)
        except RowError as error:
            if skipped is not None and error.skippable is not None:
                skipped[error.skippable] += 1
                left_out += 1
                continue
            raise DataError(f"{path}:{line}: {error}") from None
        if problem.id in first_line:
            raise DataError(
                f"{path}:{line}: id {problem.id!r} was used on line {first_line[problem.id]}; "
                "give every problem an id of its own"
            )
        first_line[problem.id] = line
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
        row = _to_row(problem)
        try:
            if _problem(row) != problem:
                raise RowError("the problem does not survive writing; use tuples of TestCase and of str")
        except RowError as error:
            raise DataError(f"{path}:{number}: {error}") from None
        if problem.id in seen:
            raise DataError(f"{path}:{number}: id {problem.id!r} occurs twice; give every problem its own")
        seen.add(problem.id)
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    _write_atomically(path, "".join(lines).encode("utf-8"))


def _to_row(problem: Problem) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": problem.id,
        "prompt": problem.prompt,
        "tests": [{"input": test.input, "output": test.output} for test in problem.tests],
    }
    if problem.solutions:
        row["solutions"] = list(problem.solutions)
    for key in ("difficulty", "source", "split"):
        if (value := getattr(problem, key)) is not None:
            row[key] = value
    if problem.compare != "lines":
        row["compare"] = problem.compare
    return row


def _write_atomically(path: Path, payload: bytes) -> None:
    """Temporary file in the same folder, fsync, rename: a reader or a crash never meets half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}:1: cannot be written ({error.strerror}); check folder and space") from None
    finally:
        temporary.unlink(missing_ok=True)


def _located_rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        yield from rows(_read(path))
    except RowsError as error:
        raise DataError(f"{path}:{error.line}: {error}") from None


def _read(path: Path) -> str:
    try:
        payload = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}:1: there is no such file; check the path") from None
    except OSError as error:
        raise DataError(f"{path}:1: cannot be read ({error.strerror}); check type and permissions") from None
    try:
        text = payload.decode("utf-8-sig")  # a byte order mark, as Windows editors write it, is no content
    except UnicodeDecodeError as error:
        line = payload.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8 (byte {error.start}); convert the file to UTF-8") from None
    if not text.strip():
        raise DataError(f"{path}:1: the file is empty; write one problem per line as JSON")
    return text


# --- one row -> one problem ---


def _problem(row: Any) -> Problem:
    if not isinstance(row, dict):
        raise RowError(f"the row is {kind(row)}, not an object; write {{...}}")
    if "question" in row:
        return _from_apps(row)
    if "test_cases" in row:
        return _from_v2(row)
    if "tests" in row or "id" in row:
        return _from_own(row)
    raise RowError(
        f"a row of no known form (keys: {', '.join(sorted(row)) or 'none'}); "
        "write id, prompt, tests, or question, inputs, outputs"
    )


def _from_own(row: dict[str, Any]) -> Problem:
    if unknown := sorted(row.keys() - set(_OWN_KEYS)):
        raise RowError(f"unknown key {unknown[0]!r}; the keys are {', '.join(_OWN_KEYS)}")
    tests = list_at(row, "tests")
    pairs = []
    for number, test in enumerate(tests):
        if not isinstance(test, dict) or test.keys() != {"input", "output"}:
            raise RowError(
                f"tests[{number}] is not an object of 'input' and 'output'; write both and no more"
            )
        pairs.append((test["input"], test["output"]))
    return Problem(
        id=text_at(row, "id"),
        prompt=text_at(row, "prompt"),
        tests=_tests(pairs),
        solutions=_solutions(row),
        difficulty=optional_at(row, "difficulty"),
        source=optional_at(row, "source"),
        split=optional_at(row, "split"),
        compare=_compare(row),
    )


def _from_v2(row: dict[str, Any]) -> Problem:
    cases = row["test_cases"]
    if not isinstance(cases, dict):
        raise RowError(
            f"'test_cases' is {kind(cases)}, not an object; write {{inputs: [...], outputs: [...]}}"
        )
    tests = _tests(_pairs(cases))
    count = row.get("num_tests", len(tests))
    if count != len(tests):
        raise RowError(f"num_tests is {count!r} but there are {len(tests)} tests; correct one of them")
    return Problem(
        id=identifier_at(row, "problem_id"),
        prompt=text_at(row, "prompt"),
        tests=tests,
        difficulty=optional_at(row, "difficulty"),
        compare=_compare(row),
    )


def _from_apps(row: dict[str, Any]) -> Problem:
    if row.get("fn_name") is not None:
        raise _function_call("fn_name is set")
    pairs = _pairs(row)
    return Problem(
        id=identifier_at(row, "id"),
        prompt=text_at(row, "question"),
        tests=_tests(pairs),
        solutions=_solutions(row),
        difficulty=optional_at(row, "difficulty"),
        source=optional_at(row, "source"),
        split=optional_at(row, "split"),
        compare=_compare(row),
    )


def _compare(row: dict[str, Any]) -> str:
    """How outputs are compared: `lines` where a row does not say."""
    if "compare" not in row:
        return "lines"
    text = text_at(row, "compare")
    try:
        parse_comparison(text)
    except ValueError as error:
        raise RowError(f"'compare': {error}") from None
    return text


def _pairs(row: dict[str, Any]) -> list[tuple[Any, Any]]:
    inputs, outputs = list_at(row, "inputs"), list_at(row, "outputs")
    if len(inputs) != len(outputs):  # pairing as many as there are would shift answers to the wrong questions
        raise RowError(f"{len(inputs)} inputs but {len(outputs)} outputs; give every input its output")
    return list(zip(inputs, outputs, strict=True))


def _tests(pairs: list[tuple[Any, Any]]) -> tuple[TestCase, ...]:
    if not pairs:
        raise RowError("the problem has no tests; give it at least one or remove it", NO_TESTS)
    for number, (given, expected) in enumerate(pairs):
        if given is None or expected is None:
            raise RowError(
                f"test {number} has a null in it; write a string, or remove input and output together"
            )
        if not isinstance(given, str):
            raise _function_call(f"the input of test {number} is {kind(given)}, not a string")
        if not isinstance(expected, str):
            raise RowError(
                f"the output of test {number} is {kind(expected)}, not a string; write what is printed"
            )
        for text in (given, expected):
            check_encodable(text, f"test {number}")
    return tuple(TestCase(given, expected) for given, expected in pairs)


def _function_call(why: str) -> RowError:
    return RowError(
        f"a function-call task ({why}); programs here read standard input: remove the row or skip such rows",
        FUNCTION_CALL,
    )


def _solutions(row: dict[str, Any]) -> tuple[str, ...]:
    if row.get("solutions") is None:
        return () if row.get("solution") is None else (text_at(row, "solution"),)
    solutions = list_at(row, "solutions")
    for number, solution in enumerate(solutions):
        if not isinstance(solution, str):
            raise RowError(f"solutions[{number}] is {kind(solution)}, not a string; write the program's text")
        check_encodable(solution, f"solutions[{number}]")
    return tuple(solutions)
