"""MBPP (Google Research), in full and sanitized.

    task_id, code, test_list
    text, test_setup_code, challenge_test_list    in full
    prompt, test_imports                          sanitized

A text does not name the function: the first test is shown behind it, as is the field's practice. The split is
in the number of the task: 1 to 10 are the examples of few-shot prompts, 11 to 510 are for measuring, 511 to
600 for choosing settings, and the rest for training. Lines of references end in CR LF; here in LF.
"""

from typing import Any

from data.fields import RowError, kind, text_at, text_or_empty_at, texts_at
from data.formats.base import Format, Unrecorded
from data.formats.checks import asked, comparison_of, function_called, lines_of
from data.problem import Problem

_SPLITS = ((10, "prompt"), (510, "heldout"), (600, "validation"))  # up to this number


def read(row: dict[str, Any], number: str) -> Unrecorded:
    """A row of MBPP; its tests are what its asserts call."""
    task = row["task_id"]
    if not isinstance(task, int) or isinstance(task, bool):
        raise RowError(f"'task_id' is {kind(task)}; write the task's whole number")
    code = text_at(row, "code").replace("\r\n", "\n")
    asserts = texts_at(row, "test_list")
    function = function_called(asserts, [code])
    setup = [*texts_at(row, "test_imports"), text_or_empty_at(row, "test_setup_code")]
    checks = lines_of([*setup, *asserts, *texts_at(row, "challenge_test_list")])
    problem = Problem(
        id=f"Mbpp/{task}",  # as EvalPlus names it
        prompt=asked(text_at(row, "text" if "text" in row else "prompt"), function, example=asserts[0]),
        tests=(),
        solutions=(code,),
        source="MBPP",
        split=next((split for last, split in _SPLITS if task <= last), "train"),
        compare=comparison_of(checks),
        entry_point=function,
    )
    return Unrecorded(problem, checks)


_COLUMNS = frozenset({"task_id", "code", "test_list"})

MBPP = Format(
    "MBPP",
    "CC BY 4.0",
    _COLUMNS | {"text"},
    frozenset({"test_setup_code", "challenge_test_list"}),
    read,
)
MBPP_SANITIZED = Format(
    "MBPP, sanitized", "CC BY 4.0", _COLUMNS | {"prompt"}, frozenset({"test_imports"}), read
)
