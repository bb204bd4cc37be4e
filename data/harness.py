"""Function-call tasks: the code around a program that calls its function, and the recorder of references.

Both run in the sandbox, in one process with untrusted code (data/inside/). Neither holds an expected value,
and nothing they write is believed beyond being JSON.

    call_harness(entry_point)            handed to the sandbox with a program; an input is a call as
                                         data/values.py writes it, the output is the result
    recorder(reference, checks, entry)   a program without input, whose output `recorded` makes tests of
"""

import __future__

import ast
import json
import keyword
import math
from functools import lru_cache
from pathlib import Path
from types import CodeType

from data.problem import TestCase
from data.values import decode, decode_call

_FOLDER = Path(__file__).parent
_IMPORTS = ("from data.values import decode_call, encode\n", "from data.values import encode, encode_call\n")
_PLACE = "the entry point"  # of call.py


class RecordError(ValueError):
    """What a recorder wrote makes no tests; says why in one line."""


def is_entry_point(name: str) -> bool:
    """Whether this is a function's name, or Class.method."""
    parts = name.split(".")
    return len(parts) <= 2 and all(part.isidentifier() and not keyword.iskeyword(part) for part in parts)


@lru_cache
def call_harness(entry_point: str) -> CodeType:
    """Code for the sandbox's `harness`: defines the program's names, calls, writes the result."""
    code = _compiled()
    constants = tuple(entry_point if constant == _PLACE else constant for constant in code.co_consts)
    return code.replace(co_consts=constants)


def recorder(reference: str, checks: str, entry_point: str) -> str:
    """A program that runs `checks` on the reference and prints one line of JSON per call of `entry_point`.

    Checks are asserts at the top level, `check(candidate)`, or functions `test_...` that import from
    `solution`. A check that fails ends the program with a status other than 0.
    """
    return f"{_source('record.py')}\n\nrecord({reference!r}, {checks!r}, {entry_point!r})\n"


def recorded(stdout: str) -> tuple[TestCase, ...]:
    """The tests in what a recorder has printed, one for each different call and result, in order.

    Raises RecordError: no call, not what a recorder prints, or values that JSON text cannot say.
    """
    tests: dict[TestCase, None] = {}
    for number, line in enumerate(stdout.splitlines(), 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or row.keys() - {"security"} != {"call", "result"}:
                raise ValueError("not the record of a call")
            security = row.get("security", False) is True
            test = TestCase(json.dumps(row["call"]), json.dumps(row["result"]), security=security)
            decode_call(test.input)
            decode(test.output)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"call {number}: {error}") from None
        tests[test] = None
    if not tests:
        raise RecordError("no call was recorded")
    return tuple(tests)


def tolerance(checks: str) -> tuple[float, float]:
    """(absolute, relative): by how much asserts let results differ; (0, 0) where they compare exactly.

    Known are `abs(f(x) - y) < 1e-6` and its like, and what isclose, allclose and approx are told.
    """
    try:
        nodes = list(ast.walk(ast.parse(checks)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0.0, 0.0
    absolute = relative = 0.0
    for node in nodes:
        if isinstance(node, ast.Compare) and isinstance(node.ops[-1], (ast.Lt, ast.LtE)):
            bound = _number(node.comparators[-1])
            absolute = max(absolute, bound if bound <= _SMALL else 0.0)
        elif isinstance(node, ast.Call) and _name(node.func) in _CLOSE:
            told = {word.arg: _number(word.value) for word in node.keywords}
            usual_absolute, usual_relative = _CLOSE[_name(node.func)]
            absolute = max(absolute, told.get("abs_tol", told.get("atol", told.get("abs", usual_absolute))))
            relative = max(relative, told.get("rel_tol", told.get("rtol", told.get("rel", usual_relative))))
    return absolute, relative


_SMALL = 0.01  # a bound above it says something of the result itself
# What these take as equal unless they are told: (absolute, relative).
_CLOSE = {
    "isclose": (0.0, 1e-9),
    "allclose": (1e-8, 1e-5),
    "assert_allclose": (0.0, 1e-7),
    "approx": (1e-12, 1e-6),
    "assertAlmostEqual": (5e-8, 0.0),
}


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _number(node: ast.expr) -> float:
    """A literal number >= 0, also as 10 ** -6; 0 for the rest."""
    power = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)
    try:
        parts = [ast.literal_eval(part) for part in ([node.left, node.right] if power else [node])]  # type: ignore[attr-defined]
        number = math.pow(*parts) if power else float(parts[0])
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return number if 0.0 <= number < math.inf else 0.0


@lru_cache(maxsize=1)
def _compiled() -> CodeType:
    # Every child runs this: without docstrings, and without working out annotations, it costs half.
    flags = __future__.annotations.compiler_flag
    return compile(_source("call.py"), "harness.py", "exec", flags, dont_inherit=True, optimize=2)


@lru_cache
def _source(name: str) -> str:
    """A file of data/inside with data/values.py in the place of its import."""
    text = (_FOLDER / "inside" / name).read_text(encoding="utf-8")
    line = next(line for line in _IMPORTS if line in text)
    return text.replace(line, (_FOLDER / "values.py").read_text(encoding="utf-8"))
