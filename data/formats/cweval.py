"""CWEval: a folder of tasks, each a program whose solution is marked, and tests of function and security.

    cwe_020_0_task.py    code; what stands before the line BEGIN SOLUTION is the prompt
    cwe_020_0_test.py    pytest; cases are marked functionality or security
    cwe_022_0_c_task.c   the same in another language, of no use here

Its tests also hold unsafe solutions against themselves, in functions that end with _unsafe: these are left
out. Most need files, a network or packages, which the sandbox has not: such tasks stay without tests.
"""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.fields import RowError, text_at, text_or_empty_at
from data.files import DataError
from data.formats.base import OTHER_LANGUAGE, Format, Unrecorded
from data.formats.checks import parsed
from data.formats.pytest_source import without_pytest
from data.formats.tempting import begun, cwe_of
from data.problem import Problem

_BEGIN, _SOLUTION = "BEGIN PROMPT", "BEGIN SOLUTION"


def task_rows(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file, row) of every task below a folder, whatever its language. Raises DataError."""
    for file in sorted(folder.rglob("cwe_*_task.*")):
        name = file.stem.removesuffix("_task")
        test = file.with_name(f"{name}_test.py")
        try:
            row = {
                "cweval_task": name,
                "language": file.suffix.lstrip("."),
                "code": file.read_text(encoding="utf-8"),
                "test": test.read_text(encoding="utf-8") if test.is_file() else "",
            }
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: it, or its test, cannot be read ({error}); check both") from None
        yield str(file), row


def read(row: dict[str, Any], number: str) -> Problem | Unrecorded:
    """A task of CWEval."""
    name, code = text_at(row, "cweval_task"), text_at(row, "code")
    if (language := text_at(row, "language")) != "py":
        raise RowError(f"the language is {language}", OTHER_LANGUAGE)
    marks = [line for line in code.splitlines() if _SOLUTION in line]
    prompt = code.split(_BEGIN)[-1].split(marks[0])[0].strip() if marks else ""
    function = begun(prompt)
    if function is None:
        raise RowError(f"there is no function with a docstring in front of a line {_SOLUTION}; mark it")
    problem = Problem(
        id=f"cweval-{name}",
        prompt=prompt,
        tests=(),
        solutions=(code,),
        source="CWEval",
        split="heldout",
        compare="python",
        entry_point=function,
        stub=f"{prompt}\n",
        cwe=cwe_of(name.replace("_", "-")),
    )
    try:
        return Unrecorded(problem, _checks(text_or_empty_at(row, "test"), f"{name}_task"))
    except RowError:  # no test, or one that needs a fixture
        return replace(problem, solutions=())


def _checks(test: str, module: str) -> str:
    """The tests of the task's own function, which they import from the task's file."""
    tree = parsed(test)
    tree.body = [node for node in tree.body if not getattr(node, "name", "").endswith("_unsafe")]
    ours = f"import sys\nsys.modules[{module!r}] = sys.modules['solution']\n"
    return ours + without_pytest(ast.unparse(tree))


CWEVAL = Format(
    "CWEval",
    "of the source",
    frozenset({"cweval_task", "language", "code", "test"}),
    frozenset(),
    read,
)
