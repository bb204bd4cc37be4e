"""The text of a file of problems -> its rows, each with the line it begins on.

Knows JSON lists, JSONL and the v2.0 prompt file; knows nothing of what a row means. json.loads alone would
do, were it not for the line numbers: an error in a file of 50 MB that names no line helps nobody.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

_V2_LIST = re.compile(r'"prompts_with_tests"\s*:\s*\[')
_SPACE = re.compile(r"[ \t\r\n]*")


class RowsError(Exception):
    """What is wrong with the file itself, and on which line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def rows(text: str) -> Iterator[tuple[int, Any]]:
    """(line number, row) of every row; `text` holds something other than white space."""
    start = _skip_space(text, 0)
    first, end = _decode(text, start)
    if isinstance(first, list):
        elements = start + 1
    elif isinstance(first, dict) and ("prompts_with_tests" in first or "prompts" in first):
        _check_v2(first, _line(text, start))
        match = _V2_LIST.search(text)
        assert (
            match is not None
        )  # the key is there and holds a list; inside a JSON string its quotes are escaped
        elements = match.end()
    elif isinstance(first, dict) and _skip_space(text, end) == len(text):
        yield _line(text, start), first  # one object, over as many lines as it likes
        return
    else:
        yield from _jsonl(text)
        return
    if (rest := _skip_space(text, end)) < len(text):
        raise RowsError(_line(text, rest), "text after the end of the JSON document; remove it")
    yield from _elements(text, elements)


def _check_v2(document: dict[str, Any], line: int) -> None:
    if "prompts_with_tests" not in document:
        raise RowsError(
            line,
            "this is the legacy prompt file (key 'prompts'), which has no tests to earn a reward from; "
            "use a file of format_version 2.0 (key 'prompts_with_tests')",
        )
    version = document.get("format_version")
    if version != "2.0":
        raise RowsError(line, f"format_version is {version!r}, not '2.0'; convert the file to version 2.0")
    if not isinstance(document["prompts_with_tests"], list):
        raise RowsError(line, "'prompts_with_tests' is not a list; make it a list of objects")


def _jsonl(text: str) -> Iterator[tuple[int, Any]]:
    # Split at "\n" only: str.splitlines also splits at U+2028, which JSON strings may hold unescaped.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RowsError(number, f"malformed JSON ({_why(error)}); write one object per line") from None


def _elements(text: str, position: int) -> Iterator[tuple[int, Any]]:
    """Walk a list that is known to be well-formed, from just after its '['."""
    position = _skip_space(text, position)
    line, counted = _line(text, position), position
    while text[position] != "]":
        line, counted = line + text.count("\n", counted, position), position
        element, position = _decode(text, position)
        yield line, element
        position = _skip_space(text, position)
        if text[position] == ",":
            position = _skip_space(text, position + 1)


def _decode(text: str, position: int) -> tuple[Any, int]:
    try:
        return json.JSONDecoder().raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise RowsError(error.lineno, f"malformed JSON ({error.msg}); correct this line") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, lists 10,000 deep
        raise RowsError(_line(text, position), f"malformed JSON ({error}); correct this line") from None


def _why(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None  # the pattern matches the empty string
    return match.end()


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
