"""HumanEval (OpenAI), HumanEval+ as the hub has it, and LeetCodeDataset, whose tests have the same shape.

    task_id, prompt, entry_point, canonical_solution, test    the solution continues the prompt
    task_id, problem_description, starter_code, prompt, completion, entry_point, test    LeetCodeDataset

`test` defines check(candidate). HumanEval is for measuring, so all of it is held out.
"""

from typing import Any

from data.fields import text_at
from data.formats.base import Format, Unrecorded
from data.formats.checks import asked, comparison_of
from data.problem import Problem


def read(row: dict[str, Any], number: str) -> Unrecorded:
    """A row of HumanEval: its prompt is the beginning of the program."""
    prompt, checks = text_at(row, "prompt"), text_at(row, "test")
    problem = Problem(
        id=text_at(row, "task_id"),
        prompt=prompt,
        tests=(),
        solutions=(prompt + text_at(row, "canonical_solution"),),
        source="HumanEval",
        split="heldout",
        compare=comparison_of(checks),
        entry_point=text_at(row, "entry_point"),
        stub=prompt,
    )
    return Unrecorded(problem, checks)


def read_leetcode(row: dict[str, Any], number: str) -> Unrecorded:
    """A row of LeetCodeDataset; its `prompt` is what the solutions may use, imports and classes."""
    called, checks = text_at(row, "entry_point"), text_at(row, "test")  # Solution().name
    function = called.replace("().", ".")
    problem = Problem(
        id=text_at(row, "task_id"),
        prompt=asked(text_at(row, "problem_description"), function, starter=text_at(row, "starter_code")),
        tests=(),
        solutions=(f"{row.get('prompt') or ''}\n{text_at(row, 'completion')}",),
        difficulty=str(row["difficulty"]) if row.get("difficulty") else None,
        source="LeetCodeDataset",
        compare=comparison_of(checks),
        entry_point=function,
    )
    # The recorder would hand the class to a function named check.
    return Unrecorded(problem, f"{checks}\n\n_check = check\ndel check\n_check({called})\n")


HUMANEVAL = Format(
    "HumanEval",
    "MIT; HumanEval+ Apache-2.0",
    frozenset({"task_id", "prompt", "entry_point", "canonical_solution", "test"}),
    frozenset(),
    read,
)
LEETCODE = Format(
    "LeetCodeDataset",
    "Apache-2.0",
    frozenset(
        {"task_id", "problem_description", "starter_code", "prompt", "completion", "entry_point", "test"}
    ),
    frozenset({"difficulty"}),
    read_leetcode,
)
