"""Python values as JSON text, so that arguments arrive in a program as the very types they had.

What JSON says by itself stays as it is: None, bool, int, float, str, list, and dict with keys of str. The
rest is an object of one key that begins with "$":

    {"$tuple": [1, 2]}   {"$set": [1]}   {"$frozenset": [1]}   {"$dict": [[1, "a"], [[2], "b"]]}
    {"$bytes": "ab"}   {"$bytearray": "ab"}   {"$complex": [0.0, 1.0]}   {"$float": "inf"}   {"$int": "0x1f"}
    {"$object": "generator"}       anything else, by the name of its type: such a value equals nothing

A call is the list of its positional arguments, or {"$call": [positional, keyword]} where some have a keyword.
When two such texts say equal values is for reward/values.py to know.

This file also runs beside untrusted programs (data/harness.py), so it needs the standard library only.
"""

from json import dumps, loads  # by name: the program may put others in their place
from typing import Any

MAX_DEPTH = 100  # of containers in one another; what is deeper is an $object
_LARGE = 10**1000  # integers beyond are written in base 16: other bases take quadratic time
_SCALARS = (bool, int, float, complex, str, bytes, bytearray)
_CONTAINERS = (list, tuple, set, frozenset, dict)


def encode(value: object, *, strict: bool = False) -> str:
    """One line of ASCII that says the value.

    A value of a subclass is told as one of its base (`defaultdict` as dict): it compares like one. `strict`:
    as an $object. Raises TypeError for objects that break while they are looked at.
    """
    return dumps(_tree(value, strict, MAX_DEPTH), allow_nan=False)


def decode(text: str) -> Any:
    """The value that a text says. Raises ValueError if it says none, or an $object."""
    return _value(parse(text), MAX_DEPTH)


def encode_call(args: tuple[object, ...], kwargs: dict[str, object]) -> str:
    """One line of ASCII that says the arguments of a call, each of exactly the type it has."""
    if not kwargs:
        return encode(list(args), strict=True)
    trees = [
        [_tree(arg, True, MAX_DEPTH) for arg in args],
        {k: _tree(v, True, MAX_DEPTH) for k, v in kwargs.items()},
    ]
    return dumps({"$call": trees}, allow_nan=False)


def decode_call(text: str) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments. Raises ValueError if the text is no call."""
    tree = parse(text)
    args, kwargs = tree, {}
    if isinstance(tree, dict) and tree.keys() == {"$call"}:
        parts = tree["$call"]
        if not isinstance(parts, list) or len(parts) != 2:
            raise ValueError("a $call is not a list of two")
        args, kwargs = parts
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise ValueError("a call is a JSON list of its arguments")
    return [_value(arg, MAX_DEPTH) for arg in args], {k: _value(v, MAX_DEPTH) for k, v in kwargs.items()}


def parse(text: str) -> Any:
    """The JSON of a text, NaN and its like refused. Raises ValueError."""
    try:
        return loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


# --- value -> JSON ---


def _tree(value: Any, strict: bool, depth: int) -> Any:
    kind = type(value)
    if value is None:
        return None
    if depth > 0 and kind in _CONTAINERS:
        return _container(kind, value, strict, depth - 1)
    if kind in _SCALARS:
        return _scalar(kind, value)
    if not strict:
        if kind.__module__ == "numpy" and getattr(value, "shape", None) == ():
            return _tree(value.item(), True, depth)
        for base in (*_SCALARS, *_CONTAINERS) if depth > 0 else _SCALARS:
            if issubclass(kind, base):
                # By the base's own methods: what the program has put in their place has no say.
                return _tree(base(_own(base, value)), False, depth)
    return {"$object": str(kind.__name__)}


def _own(base: Any, value: Any) -> Any:
    """Of a value of a subclass, what its base would make a copy from."""
    if base is dict:
        return dict.items(value)
    if base in _CONTAINERS or base in (bytes, bytearray):
        return base.__iter__(value)
    if base is str:
        return str.__str__(value)
    return base.__pos__(value)


def _container(kind: Any, value: Any, strict: bool, depth: int) -> Any:
    if kind is dict:
        pairs = [(key, _tree(item, strict, depth)) for key, item in value.items()]
        names = [key for key, _ in pairs if type(key) is str]
        if len(names) == len(pairs) and not (len(names) == 1 and names[0].startswith("$")):
            return dict(pairs)
        return {"$dict": [[_tree(key, strict, depth), item] for key, item in pairs]}
    items = [_tree(item, strict, depth) for item in value]
    if kind is list:
        return items
    if kind is not tuple:
        items.sort(key=dumps)  # sets have no order, and one value has one text
    return {f"${kind.__name__}": items}


def _scalar(kind: Any, value: Any) -> Any:
    if kind is float and value - value != 0:
        return {"$float": repr(value)}
    if kind is int and not -_LARGE < value < _LARGE:
        return {"$int": hex(value)}
    if kind is complex:
        return {"$complex": [_scalar(float, value.real), _scalar(float, value.imag)]}
    if kind in (bytes, bytearray):
        return {f"${kind.__name__}": value.decode("latin-1")}
    return value


# --- JSON -> value ---


def _value(tree: Any, depth: int) -> Any:
    if isinstance(tree, (list, dict)) and depth <= 0:
        raise ValueError("nested too deep")
    if isinstance(tree, list):
        return [_value(item, depth - 1) for item in tree]
    if not isinstance(tree, dict):
        return tree
    tag = tag_of(tree)
    if tag is None:
        return {key: _value(item, depth - 1) for key, item in tree.items()}
    try:
        return _TAGS[tag](tree[tag], depth - 1)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ValueError(f"no value is said by {tag} ({error})") from None


def tag_of(tree: dict[str, Any]) -> str | None:
    """The one key of an object that is a tag."""
    key = next(iter(tree)) if len(tree) == 1 else ""
    return key if key.startswith("$") else None


def _items(tree: Any, depth: int) -> list[Any]:
    if not isinstance(tree, list):
        raise TypeError("not a list")
    return [_value(item, depth) for item in tree]


def _pairs(tree: Any, depth: int) -> dict[Any, Any]:
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in tree):
        raise TypeError("not pairs")
    return {_value(key, depth): _value(item, depth) for key, item in tree}


def _special(tree: Any, depth: int) -> float:
    if tree not in ("inf", "-inf", "nan"):
        raise ValueError("neither inf, -inf nor nan")
    return float(tree)


def _complex(tree: Any, depth: int) -> complex:
    real, imag = _items(tree, depth)
    return complex(float(real), float(imag))


_TAGS: dict[str, Any] = {
    "$tuple": lambda tree, depth: tuple(_items(tree, depth)),
    "$set": lambda tree, depth: set(_items(tree, depth)),
    "$frozenset": lambda tree, depth: frozenset(_items(tree, depth)),
    "$dict": _pairs,
    "$bytes": lambda tree, depth: tree.encode("latin-1"),
    "$bytearray": lambda tree, depth: bytearray(tree, "latin-1"),
    "$float": _special,
    "$complex": _complex,
    "$int": lambda tree, depth: int(tree, 16),
}
