"""What a file may say of how a problem's outputs are compared. What the names mean is reward/compare.py's.

lines | exact | tokens | float | json | python | float, json or python(ABSOLUTE, RELATIVE)
"""

import math
import re
from typing import Literal, NamedTuple, get_args

Name = Literal["lines", "exact", "tokens", "float", "json", "python"]
NAMES: tuple[Name, ...] = get_args(Name)
OF_VALUES: tuple[Name, ...] = ("json", "python")  # the outputs are values, as data/values.py writes them
DEFAULT_TOLERANCE = 1e-6  # absolute or relative, the usual tolerance of contest judges

_TOLERANT: tuple[Name, ...] = ("float", *OF_VALUES)
_TOLERANCES = re.compile(rf"({'|'.join(_TOLERANT)})\(([^,()]*),([^,()]*)\)")


class Comparison(NamedTuple):
    """A policy by name. The tolerances are read by `float`, `json` and `python` only; values are equal to the
    last digit unless the file says otherwise."""

    name: Name = "lines"
    absolute: float = DEFAULT_TOLERANCE
    relative: float = DEFAULT_TOLERANCE


def parse_comparison(text: object) -> Comparison:
    """``"lines"``, ``"float"``, ``"float(1e-9, 0)"`` -> Comparison. ValueError of one line on the rest."""
    for name in NAMES:
        if text == name:
            return Comparison(name, 0.0, 0.0) if name in OF_VALUES else Comparison(name)
    match = _TOLERANCES.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(
            f"unknown comparison {text!r}; write one of {', '.join(NAMES)}, "
            f"or {', '.join(_TOLERANT)} with (ABSOLUTE, RELATIVE)"
        )
    name = next(known for known in _TOLERANT if known == match[1])
    try:
        absolute, relative = float(match[2]), float(match[3])
    except ValueError:
        absolute = relative = math.nan
    if not all(math.isfinite(tolerance) and tolerance >= 0 for tolerance in (absolute, relative)):
        raise ValueError(f"the tolerances of {text!r} must be two finite numbers >= 0: {name}(1e-6, 1e-6)")
    return Comparison(name, absolute, relative)
