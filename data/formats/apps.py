"""APPS and what has its shape: APPS+ (`data/v1/data.json`), rows of the hub, folders, and TACO.

    id or problem_id, question, starter_code, solution(s), difficulty, split, source
    inputs, outputs, fn_name    or    input_output: all three as text of JSON

TACO's rows have no id. Function-call tasks are told by fn_name and by arguments that are no text, never by a
split's name: 2,634 of the 7,413 rows of APPS+ call a function. See data/calls.py for what they give and get.
"""

from dataclasses import replace
from typing import Any

from data.formats.base import Format
from data.forms import problem_of
from data.problem import Problem

_COLUMNS = frozenset(
    "id problem_id question starter_code solution solutions difficulty split source compare inputs outputs "
    "fn_name input_output".split()
)


def read(row: dict[str, Any], number: str) -> Problem:
    """A row of APPS."""
    named = row if "id" in row or "problem_id" in row else {**row, "id": f"apps-{number}"}
    return problem_of(_of_our_types(named))


def read_taco(row: dict[str, Any], number: str) -> Problem:
    """A row of TACO; its `source` is the contest's site."""
    problem = problem_of(_of_our_types({**row, "id": f"taco-{number}"}))
    return replace(problem, source=f"TACO, {row['source']}" if row.get("source") else "TACO")


def _of_our_types(row: dict[str, Any]) -> dict[str, Any]:
    """Difficulties are words or grades, and empty where nobody gave one."""
    difficulty = str(row.get("difficulty") or "").strip() or None
    return {**row, "difficulty": difficulty, "source": (row.get("source") or None)}


APPS = Format(
    "rows of APPS",
    "of the source; APPS itself is MIT",
    frozenset({"question", "inputs", "outputs"}),
    _COLUMNS,
    read,
    as_it_is=True,
)
APPS_HUB = Format("APPS", "MIT", frozenset({"question", "input_output"}), _COLUMNS, read, as_it_is=True)
TACO = Format(
    "TACO",
    "Apache-2.0",
    frozenset({"question", "input_output", "time_limit", "skill_types"}),
    _COLUMNS | {"time_limit", "skill_types"},
    read_taco,
)
