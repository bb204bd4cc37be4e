"""Settings outside their range are refused where they are made, in one line."""

import math
from typing import Any


def check_ranges(
    settings: Any, *, positive: str = "", not_negative: str = "", at_least_one: str = "", shares: str = ""
) -> None:
    """Raise ValueError unless the named fields of `settings` are finite and in range; None passes.

    Each argument is a list of field names, separated by blanks: greater than 0, not below 0, 1 or more,
    between 0 and 1.
    """
    rules = (
        (positive, "greater than 0", lambda x: x > 0),
        (not_negative, "0 or more", lambda x: x >= 0),
        (at_least_one, "1 or more", lambda x: x >= 1),
        (shares, "between 0 and 1", lambda x: 0 <= x <= 1),
    )
    for names, wanted, holds in rules:
        for name in names.split():
            value = getattr(settings, name)
            if value is not None and not (math.isfinite(value) and holds(value)):
                raise ValueError(f"{name} must be {wanted}, not {value}")
