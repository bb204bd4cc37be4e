"""When do two JSON texts of values (data/values.py) say equal values?

    python   as Python's == has it: 1 == 1.0 == True, a tuple is no list, {1, 2} is frozenset({2, 1})
    json     the same, but as far as JSON tells values apart: a tuple is a list, and a key is a text

Each text is brought into a canonical form, and forms are compared: equal values have equal forms. So a
hostile output costs time in proportion to its length (times log, for sets): it is never hashed by its
numbers, which can be chosen to collide. NaN equals NaN, for an output must equal itself.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from data.values import MAX_DEPTH, parse, tag_of

Close = Callable[[float, float], bool]
_LONG = 1000  # characters of a form
_KEY_DIGITS = 1000  # of a number that is a key; a longer one is not spelled in decimal


class NoValue(ValueError):
    """A text that says no value, or one that equals nothing."""


def same(actual: bytes, expected: bytes, as_json: bool) -> bool:
    """Whether both texts say a value, and equal ones."""
    try:
        return canonical(_text(actual), as_json) == _expected(expected, as_json)
    except NoValue:
        return False


def close(actual: bytes, expected: bytes, as_json: bool, near: Close) -> bool:
    """As `same`, but two finite numbers, one of them a float, are equal where `near` says so."""
    try:
        return _close(_parsed(_text(actual)), _parsed(_text(expected)), as_json, near)
    except NoValue:
        return False


@lru_cache(maxsize=4096)
def _expected(text: bytes, as_json: bool) -> str:
    return canonical(_text(text), as_json)


def canonical(text: str, as_json: bool) -> str:
    """The form of the value of a text. Raises NoValue."""
    return _form(_parsed(text), as_json, MAX_DEPTH)


def _text(output: bytes) -> str:
    try:
        return output.decode("utf-8")  # ours are ASCII; expected ones are as a file of problems has them
    except UnicodeDecodeError:
        raise NoValue("not UTF-8") from None


def _parsed(text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:  # also of an integer of thousands of digits
        raise NoValue(str(error)) from None


def _form(tree: Any, as_json: bool, depth: int) -> str:
    if isinstance(tree, str):
        return f"s{len(tree)}:{tree}"
    if tree is None:
        return "None"
    if isinstance(tree, (bool, int, float)):
        return _number(tree)
    if depth <= 0:
        raise NoValue("nested too deep")
    kind, content = _opened(tree)
    if kind in ("$list", "$tuple"):
        items = ",".join(_form(item, as_json, depth - 1) for item in _list(content))
        return _short(f"[{items}]" if as_json or kind == "$list" else f"({items})")
    if kind in ("$set", "$frozenset"):
        items = ",".join(sorted({_form(item, as_json, depth - 1) for item in _list(content)}))
        return _short(f"<{items}>")
    if kind == "$dict":
        known = {_key(k, as_json, depth - 1): _form(v, as_json, depth - 1) for k, v in _pairs(content)}
        return _short("{" + ",".join(f"{key}={known[key]}" for key in sorted(known)) + "}")
    return _special(kind, content)


def _short(form: str) -> str:
    """A long form by its hash, or what stands deep inside would be copied at each level around it."""
    if len(form) < _LONG:
        return form
    return f"#{hashlib.sha256(form.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _opened(tree: Any) -> tuple[str, Any]:
    """(tag, content) of a container or a tagged value."""
    if isinstance(tree, list):
        return "$list", tree
    tag = tag_of(tree)
    return ("$dict", list(map(list, tree.items()))) if tag is None else (tag, tree[tag])


def _special(kind: str, content: Any) -> str:
    """Of what JSON has no numbers or texts for."""
    if kind in ("$bytes", "$bytearray") and isinstance(content, str):
        return f"b{len(content)}:{content}"
    number = _tagged_number(kind, content)
    if isinstance(number, complex):
        real, imaginary = _number(number.real), _number(number.imag)
        return real if number.imag == 0 else f"{real}+{imaginary}j"
    return _number(number)


def _tagged_number(kind: str, content: Any) -> int | float | complex:
    try:
        if kind == "$float" and content in ("inf", "-inf", "nan"):
            return float(content)
        if kind == "$int" and isinstance(content, str):
            return int(content, 16)
        if kind == "$complex":
            real, imaginary = map(_part, _list(content))
            return complex(real, imaginary)
    except (ValueError, TypeError, OverflowError):
        pass
    raise NoValue(f"{kind} says no value")


def _part(tree: Any) -> float:
    """Of a complex number."""
    if isinstance(tree, dict) and tree.keys() == {"$float"}:
        return float(_tagged_number("$float", tree["$float"]))  # type: ignore[arg-type]
    if not isinstance(tree, (int, float)):
        raise NoValue("no part of a complex number")
    return float(tree)


def _number(number: int | float) -> str:
    """One form for 1, 1.0 and True; base 16, because other bases take quadratic time."""
    if isinstance(number, float):
        if not number.is_integer():  # inf and nan are none either
            return repr(number)
        number = int(number)
    return hex(number)


def _key(tree: Any, as_json: bool, depth: int) -> str:
    """A key of a dict; for `json` as `json.dumps` would write it."""
    if as_json and not isinstance(tree, str):
        if tree is None or isinstance(tree, bool):
            tree = {None: "null", True: "true", False: "false"}[tree]
        elif isinstance(tree, float) or (isinstance(tree, int) and abs(tree) < 10**_KEY_DIGITS):
            tree = repr(tree)
    return _form(tree, as_json, depth)


def _list(content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise NoValue("not a list")
    return content


def _pairs(content: Any) -> Sequence[Sequence[Any]]:
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in _list(content)):
        raise NoValue("not pairs")
    return content


# --- with a tolerance ---

_SEQUENCES = ("$list", "$tuple")
_SETS = ("$set", "$frozenset")


def _close(left: Any, right: Any, as_json: bool, near: Close, depth: int = MAX_DEPTH) -> bool:
    if not (isinstance(left, (list, dict)) and isinstance(right, (list, dict))):
        return _form(left, as_json, depth) == _form(right, as_json, depth) or _near(left, right, near)
    if depth <= 0:
        raise NoValue("nested too deep")
    (ours, a), (theirs, b) = _opened(left), _opened(right)
    if ours in _SEQUENCES and theirs in _SEQUENCES and (as_json or ours == theirs):
        return len(_list(a)) == len(_list(b)) and all(
            _close(x, y, as_json, near, depth - 1) for x, y in zip(a, b, strict=True)
        )
    if ours == theirs == "$dict":
        one, other = ({_key(k, as_json, depth - 1): v for k, v in _pairs(pairs)} for pairs in (a, b))
        return one.keys() == other.keys() and all(
            _close(one[key], other[key], as_json, near, depth - 1) for key in one
        )
    if ours == theirs == "$complex":
        return _close(_list(a), _list(b), as_json, near, depth - 1)
    if ours in _SETS and theirs in _SETS and all(map(_is_number, (*_list(a), *_list(b)))):
        return _close(sorted(a), sorted(b), as_json, near, depth - 1)
    return _form(left, as_json, depth) == _form(right, as_json, depth)


def _near(left: Any, right: Any, near: Close) -> bool:
    if not (_is_number(left) and _is_number(right)):
        return False
    if isinstance(left, int) and isinstance(right, int):  # a count that is nearly right is wrong
        return False
    try:
        a, b = float(left), float(right)
    except OverflowError:  # too large to measure a distance
        return False
    return math.isfinite(a) and math.isfinite(b) and near(a, b)


def _is_number(tree: Any) -> bool:
    return isinstance(tree, (int, float))  # bool too
