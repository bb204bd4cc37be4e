"""How the sentinels ask a program something else, and read inputs and outputs: of both kinds of problem.

STDIN   texts on standard input, texts on standard output
CALLS   calls and results as data/values.py writes them
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from data.values import parse, tag_of
from reward.compare import lines

_SHIFTS = 5
_SHIFT = str.maketrans("0123456789abcdefghijklmnopqrstuvwxyz", "1234567891bcdefghijklmnopqrstuvwxyza")
_SHIFT_CALLS = _SHIFT | str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "BCDEFGHIJKLMNOPQRSTUVWXYZA")
_MAX_SHIFTED = 10**15  # numbers beyond are left as they are


class Asking(NamedTuple):
    """One kind. The texts that `marks` and `said` make can be held against the literals of a source."""

    changed: Callable[[str], list[str]]
    """An input -> inputs of the same shape with other content."""
    empty: Callable[[str], tuple[str, ...]]
    """An input -> inputs that say nothing, to tell what reads its input from what does not."""
    marks: Callable[[str], list[list[str]]]
    """What of an input a program could recognise it by: all texts of any of these. [] if it is empty."""
    said: Callable[[bytes], str]
    """An output, as text; "" where there is none."""
    by_name: bool
    """Whether a program that uses its input has to name it."""


# --- standard input ---


def _changed(text: str) -> list[str]:
    """Other digits and letters everywhere; in the last line only, so that counts in front of it still hold;
    the words of the last line turned round."""
    body = text.rstrip()
    front, newline, last = body.rpartition("\n")
    made = [body.translate(_SHIFT), front + newline + " ".join(reversed(last.split()))]
    for _ in range(_SHIFTS):
        last = last.translate(_SHIFT)
        made.append(front + newline + last)
    return [new + text[len(body) :] for new in dict.fromkeys(made) if new != body]


def plain(output: bytes) -> str:
    """An output without white space at both ends, at its lines' ends, and without blank lines there."""
    return b"\n".join(lines(output.strip())).decode("utf-8", "surrogateescape")


STDIN = Asking(
    changed=_changed,
    empty=lambda text: ("", "?\n"),  # nothing, and nothing that can be read as numbers
    marks=lambda text: [[line.strip()] for line in [text, *text.splitlines()] if line.strip()],
    said=plain,
    by_name=True,
)


# --- calls ---


def _changed_calls(text: str) -> list[str]:
    """Every number and text another one; of the last argument only; what arguments hold turned round."""
    tree = parse(text)
    args = _arguments(tree)
    made = [[_shifted(arg) for arg in args], [_turned(arg) for arg in args]]
    for _ in range(_SHIFTS):
        args = [*args[:-1], *map(_shifted, args[-1:])]
        made.append(args)
    texts = [json.dumps(_with_arguments(tree, new)) for new in made]
    return [new for new in dict.fromkeys(texts) if new != json.dumps(tree)]


def _empty_calls(text: str) -> tuple[str, ...]:
    tree = parse(text)
    args = _arguments(tree)
    return tuple(json.dumps(_with_arguments(tree, [nothing] * len(args))) for nothing in (None, "?"))


def _marks(text: str) -> list[list[str]]:
    return [leaves for arg in _arguments(parse(text)) if (leaves := list(_leaves(arg)))]


def _said(output: bytes) -> str:
    try:
        return "\n".join(_leaves(parse(output.decode("utf-8"))))
    except ValueError:
        return plain(output)  # not written by the harness


CALLS = Asking(_changed_calls, _empty_calls, _marks, _said, by_name=False)


def _arguments(tree: Any) -> list[Any]:
    """All of them, those with a keyword behind the others."""
    if isinstance(tree, dict):
        args, kwargs = tree["$call"]
        return [*args, *kwargs.values()]
    return list(tree)


def _with_arguments(tree: Any, args: list[Any]) -> Any:
    if isinstance(tree, dict):
        count = len(tree["$call"][0])
        return {"$call": [args[:count], dict(zip(tree["$call"][1], args[count:], strict=True))]}
    return args


def _shifted(tree: Any) -> Any:
    """The same shape, other numbers and texts; keys stay."""
    if isinstance(tree, bool):
        return not tree
    if isinstance(tree, str):
        return tree.translate(_SHIFT_CALLS)
    if isinstance(tree, (int, float)):
        return tree + 1 if abs(tree) < _MAX_SHIFTED else tree
    return _rebuilt(tree, _shifted, lambda items: items)


def _turned(tree: Any) -> Any:
    """The same values, what lists and texts hold in the opposite order."""
    if isinstance(tree, str):
        return tree[::-1]
    return _rebuilt(tree, lambda item: item, lambda items: items[::-1])


def _rebuilt(tree: Any, change: Callable[[Any], Any], arrange: Callable[[list[Any]], list[Any]]) -> Any:
    if isinstance(tree, list):
        return arrange([change(item) for item in tree])
    if not isinstance(tree, dict):
        return tree
    tag = tag_of(tree)
    if tag is None:
        return {key: change(item) for key, item in tree.items()}
    content = tree[tag]
    if tag == "$dict":
        return {tag: [[key, change(item)] for key, item in content]}
    if tag in ("$tuple", "$set", "$frozenset"):
        return {tag: arrange([change(item) for item in content])}
    if tag in ("$bytes", "$bytearray"):
        return {tag: change(content)}
    return tree


def _leaves(tree: Any) -> Iterator[str]:
    """What a value is made of, as print() would write each; of a text its lines, of None nothing."""
    pending = [tree]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += item[::-1]
        elif isinstance(item, dict):
            tag = tag_of(item)
            pending.append([list(pair) for pair in item.items()] if tag is None else item[tag])
        elif item is not None:
            yield item if isinstance(item, str) else str(item)
