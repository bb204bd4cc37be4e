"""HumanEval+ and MBPP+ of EvalPlus, as its JSONL, and MBPP+ as the hub has it.

    task_id, prompt, canonical_solution, entry_point, base_input, plus_input, atol, assertion
    task_id, prompt, code, test_list, test, test_imports    the hub's

Inputs are lists of arguments; what the reference returns for them is right. JSON knows no tuples, so those of
MBPP+ have become lists: arguments get the types that the asserts of their task show. All of it is for
measuring. (HumanEval+ of the hub has the shape of HumanEval.)
"""

import ast
from typing import Any

from data.fields import RowError, identifier_at, kind, text_at, text_or_empty_at, texts_at
from data.formats.base import Format, Unrecorded
from data.formats.checks import asked, function_called, lines_of, parsed
from data.forms import json_at
from data.problem import Problem
from data.shown import calls_shown

_FLOATS = (1e-6, 1e-7)  # (absolute, relative): by how much EvalPlus lets floats differ


def read(row: dict[str, Any], number: str) -> Unrecorded:
    """A row of EvalPlus's JSONL."""
    prompt, solution = text_at(row, "prompt"), text_at(row, "canonical_solution")
    function = text_at(row, "entry_point")
    text = _docstring(prompt)  # MBPP+ has its text in one, HumanEval+ the beginning of the program
    asserts = text_or_empty_at(row, "assertion")
    inputs = [*_inputs(row, "base_input"), *_inputs(row, "plus_input")]
    if text is not None and (shown := calls_shown(f"{prompt}\n{asserts}", function)):
        inputs = [with_types(given, list(shown[0][0])) for given in inputs]
    problem = Problem(
        id=text_at(row, "task_id"),
        prompt=prompt if text is None else _as_text(text, function),
        tests=(),
        solutions=(prompt + solution if text is None else solution,),
        source="EvalPlus",
        split="heldout",
        compare=_compare(row),
        entry_point=function,
        stub=prompt if text is None else "",
    )
    calls = f"for _given in {inputs!r}:\n    {function}(*_given)\n"
    return Unrecorded(problem, f"from math import inf, nan\n{asserts}\n{calls}")


def read_hub(row: dict[str, Any], number: str) -> Unrecorded:
    """A row of MBPP+ on the hub: `test` calls the function on every input, and knows every result."""
    code, checks = text_at(row, "code"), text_at(row, "test")
    asserts = texts_at(row, "test_list")
    function = function_called(asserts, [code])
    problem = Problem(
        id=f"Mbpp/{identifier_at(row, 'task_id')}",
        prompt=asked(text_at(row, "prompt"), function, example=asserts[0]),
        tests=(),
        solutions=(code,),
        source="EvalPlus",
        split="heldout",
        compare=_python(*_FLOATS),
        entry_point=function,
    )
    return Unrecorded(problem, lines_of([*texts_at(row, "test_imports"), *asserts, checks]))


def with_types(value: Any, example: Any) -> Any:
    """A value of JSON in the types of an example of the same shape: tuples, sets, complex numbers."""
    if isinstance(value, str) and isinstance(example, complex):
        return complex(value)
    if isinstance(value, dict) and isinstance(example, dict) and example:
        inner = next(iter(example.values()))
        return {key: with_types(item, inner) for key, item in value.items()}
    if not isinstance(value, list) or not isinstance(example, list | tuple | set | frozenset):
        return value
    examples = list(example)
    if len(examples) != len(value):  # arguments and tuples have a type for each place, long lists one for all
        examples = examples[:1] * len(value)
    items = [with_types(*pair) for pair in zip(value, examples, strict=True)] if examples else value
    return type(example)(items)


def _docstring(prompt: str) -> str | None:
    """The text of a prompt that is nothing but a docstring."""
    try:
        body = parsed(prompt).body
    except RowError:
        return None
    if len(body) == 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        return str(body[0].value.value).strip()
    return None


def _as_text(text: str, function: str) -> str:
    """The text of MBPP+, whose last line is an assert, as that of MBPP."""
    before, _, last = text.rpartition("\n")
    return asked(before, function, example=last) if last.startswith("assert ") else asked(text, function)


def _inputs(row: dict[str, Any], key: str) -> list[list[Any]]:
    inputs = json_at(row, key, list, []) if key in row else []
    for number, given in enumerate(inputs):
        if not isinstance(given, list):
            raise RowError(f"{key}[{number}] is {kind(given)}, not a list of arguments; correct it")
    return inputs


def _compare(row: dict[str, Any]) -> str:
    absolute, relative = _FLOATS
    told = row.get("atol") or 0
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 <= told < 1:
        raise RowError(f"'atol' is {told!r:.40}; write a number from 0 to 1")
    return _python(max(absolute, told), relative)


def _python(absolute: float, relative: float) -> str:
    return f"python({absolute:g}, {relative:g})"


EVALPLUS = Format(
    "EvalPlus",
    "Apache-2.0",
    frozenset({"task_id", "prompt", "canonical_solution", "entry_point", "base_input"}),
    frozenset({"plus_input", "atol", "assertion"}),
    read,
)
MBPP_PLUS = Format(
    "MBPP+ of the hub",
    "Apache-2.0",
    frozenset({"task_id", "prompt", "code", "test_list", "test"}),
    frozenset({"test_imports"}),
    read_hub,
)
