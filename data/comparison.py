"""What a file may say of how a problem's outputs are compared. What the names mean is reward/compare.py's.

lines | exact | tokens | float | float(ABSOLUTE, RELATIVE)
"""

import math
import re
from typing import Literal, NamedTuple, get_args

Name = Literal["lines", "exact", "tokens", "float"]
NAMES: tuple[Name, ...] = get_args(Name)
DEFAULT_TOLERANCE = 1e-6  # absolute or relative, the usual tolerance of contest judges

_TOLERANCES = re.compile(r"float\(([^,()]*),([^,()]*)\)")


class Comparison(NamedTuple):
    """A policy by name. The tolerances are read by `float` only."""

    name: Name = "lines"
    absolute: float = DEFAULT_TOLERANCE
    relative: float = DEFAULT_TOLERANCE


def parse_comparison(text: object) -> Comparison:
    """``"lines"``, ``"float"``, ``"float(1e-9, 0)"`` -> Comparison. ValueError of one line on the rest."""
    for name in NAMES:
        if text == name:
            return Comparison(name)
    match = _TOLERANCES.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(
            f"unknown comparison {text!r}; write one of {', '.join(NAMES)}, or float(ABSOLUTE, RELATIVE)"
        )
    try:
        absolute, relative = (float(part) for part in match.groups())
    except ValueError:
        absolute = relative = math.nan
    if not all(math.isfinite(tolerance) and tolerance >= 0 for tolerance in (absolute, relative)):
        raise ValueError(f"the tolerances of {text!r} must be two finite numbers >= 0: float(1e-6, 1e-6)")
    return Comparison("float", absolute, relative)
