"""Rows that state calls as JSON (APPS, TACO, LiveCodeBench, what was made of them) -> entry point, tests.

fn_name, inputs, outputs     lists of arguments, and results; of codewars' tasks each result is in a list
                             of its own, of LeetCode's it is not: those ask for a class Solution
input, output as text        LiveCodeBench: an argument as JSON in each line, and a result as JSON
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from data.fields import RowError, check_encodable, kind
from data.problem import TestCase
from data.values import decode, encode, encode_call

FUNCTION_CALL = "function-call task"
NO_JSON = "arguments that are no JSON"

_SOLUTION = re.compile(r"^class Solution\b", re.MULTILINE)
_DEFINITION = re.compile(r"^[ \t]*def[ \t]+(\w+)", re.MULTILINE)


def entry_point_of(name: object, starter: object, solutions: Sequence[str]) -> str:
    """The function's name, or Solution.name where a class of that name is asked for, or is what solves it.

    Where a row names none, the starter code's one function is meant. Raises RowError.
    """
    code = starter if isinstance(starter, str) else ""
    if not name:
        defined = _DEFINITION.findall(code)
        if len(defined) != 1:
            raise RowError(
                "arguments of a function whose name the row does not tell; add fn_name", FUNCTION_CALL
            )
        name = defined[0]
    if not isinstance(name, str) or not name.isidentifier():
        raise RowError(f"the function's name is {name!r}; write a name")
    text = code or next(iter(solutions), "")
    return f"Solution.{name}" if _SOLUTION.search(text) else name


def call_tests(
    pairs: Sequence[tuple[Any, Any]], entry_point: str, public: Sequence[bool] = ()
) -> tuple[TestCase, ...]:
    """Tests of (arguments, result) pairs; `public`: whether the text shows each. Raises RowError."""
    calls = [_arguments(given, number) for number, (given, _) in enumerate(pairs)]
    results = [
        _json(expected, number) if isinstance(given, str) else expected
        for number, (given, expected) in enumerate(pairs)
    ]
    one_each = all(isinstance(result, list) and len(result) == 1 for result in results)
    if one_each and not entry_point.startswith("Solution."):
        results = [result[0] for result in results]
    shown = public or [False] * len(pairs)
    return tuple(
        TestCase(encode_call(tuple(call), {}), encode(result), is_shown)
        for call, result, is_shown in zip(calls, results, shown, strict=True)
    )


def with_tolerance(name: str, tests: Sequence[TestCase], absolute: float, relative: float) -> str:
    """The comparison `name` of results, with a tolerance if some result has a float in it: whole numbers
    that are near are not equal."""
    if (absolute or relative) and any(_has_float(decode(test.output)) for test in tests):
        return f"{name}({absolute:g}, {relative:g})"
    return name


def _arguments(given: Any, number: int) -> list[Any]:
    if isinstance(given, str):
        given = [_json(line, number) for line in given.splitlines() if line.strip()]
    if not isinstance(given, list):
        raise RowError(f"the input of test {number} is {kind(given)}, not a list of arguments; correct it")
    return given


def _json(text: Any, number: int) -> Any:
    if not isinstance(text, str):
        raise RowError(f"test {number}: the input is text, and the output {kind(text)}; correct it")
    check_encodable(text, f"test {number}")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RowError(f"test {number}: {text[:40]!r} is no JSON", NO_JSON) from None


def _has_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_float, [*value, *value.values()]))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_has_float, value))
    return isinstance(value, float | complex)
