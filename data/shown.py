"""The calls that a task's text shows: doctests, examples, an assert; and `Input: nums = [1], k = 2`."""

import ast
import re
import warnings
from typing import Any

_MAX_CALLS = 50  # of one text
_MAX_LENGTH = 2_000  # characters of a call; no text shows a longer one
_MAX_ENDS = 50  # parentheses that may be the call's last
_INPUT = re.compile(r"\bInput:?[ \t]*(\w+[ \t]*=[^\n]*)")


def calls_shown(text: str, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """(positional, keyword) arguments of each call of the function that is shown with plain values.

    Of `Solution.twoSum` the method's name counts. What looks like a call and is none is passed over.
    """
    method = re.escape(name.rpartition(".")[2])
    found = []
    for match in list(re.finditer(rf"(?<!\w){method}[ \t]*\(", text))[:_MAX_CALLS]:
        window = text[match.end() : match.end() + _MAX_LENGTH]
        ends = [end.start() for end in re.finditer(r"\)", window)][:_MAX_ENDS]
        arguments = (_arguments(window[:end]) for end in ends)
        found.append(next((each for each in arguments if each is not None), None))
    for match in list(_INPUT.finditer(text))[:_MAX_CALLS]:
        found.append(_arguments(match[1][:_MAX_LENGTH]))
    return [each for each in found if each is not None]


def _arguments(source: str) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """What stands between the parentheses of a call, None if it is not plain values."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes
            call = ast.parse(f"f({source}\n)", mode="eval").body
        if not isinstance(call, ast.Call) or not all(keyword.arg for keyword in call.keywords):
            return None
        named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        return tuple(map(ast.literal_eval, call.args)), named
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
