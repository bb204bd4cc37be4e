"""Ranges of settings, stated with their types, and checked where settings are made: in one line each."""

import math
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Range:
    """What a number of a setting must be."""

    wanted: str
    holds: Callable[[float], bool]


Positive = Annotated[float, Range("greater than 0", lambda x: x > 0)]
NotNegative = Annotated[float, Range("0 or more", lambda x: x >= 0)]
Share = Annotated[float, Range("between 0 and 1", lambda x: 0 <= x <= 1)]
Count = Annotated[int, Range("1 or more", lambda x: x >= 1)]
NotNegativeInt = Annotated[int, Range("0 or more", lambda x: x >= 0)]
MAX_SEED = 2**64 - 1  # of torch
Seed = Annotated[int, Range(f"between 0 and {MAX_SEED}", lambda x: 0 <= x <= MAX_SEED)]


def check_ranges(settings: Any) -> None:
    """Raise ValueError unless every number of `settings` is finite and in the range of its type.

    None and words pass, where the type allows them.
    """
    for name, kind in typing.get_type_hints(type(settings), include_extras=True).items():
        value = getattr(settings, name)
        for rule in _ranges(kind):
            finite = not isinstance(value, float) or math.isfinite(value)  # an int may be too large to ask
            if isinstance(value, int | float) and not (finite and rule.holds(value)):
                raise ValueError(f"{name} must be {rule.wanted}, not {value}")


def _ranges(kind: Any) -> list[Range]:
    """Those of a type, or of the members of a union."""
    own = [extra for extra in getattr(kind, "__metadata__", ()) if isinstance(extra, Range)]
    return own + [rule for member in typing.get_args(kind) for rule in _ranges(member)]
