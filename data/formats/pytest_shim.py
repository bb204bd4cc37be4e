"""What files of tests use of pytest: raises, approx, mark.parametrize. Nothing else of it is here.

The text of this file runs in the sandbox, as the module `pytest`, beside a reference and its tests.
"""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_RELATIVE, _ABSOLUTE = 1e-6, 1e-12  # pytest's own


@contextlib.contextmanager
def raises(expected: Any, match: str = "") -> Iterator[None]:
    """The block must end in such an exception, with such a message."""
    try:
        yield
    except expected as error:
        assert re.search(match, str(error)), f"{error} does not match {match}"
    else:
        raise AssertionError(f"{expected} was not raised")


class approx:
    """Equal to what is near: a number, or a list, tuple or dictionary of them."""

    def __init__(self, expected: Any, rel: float = _RELATIVE, abs: float = _ABSOLUTE) -> None:
        self.expected, self.rel, self.abs = expected, rel, abs

    def __eq__(self, other: object) -> bool:
        return self._near(self.expected, other)

    def _near(self, expected: Any, other: Any) -> bool:
        if isinstance(expected, dict):
            return expected.keys() == other.keys() and all(
                self._near(expected[k], other[k]) for k in expected
            )
        if isinstance(expected, list | tuple):
            return len(expected) == len(other) and all(map(self._near, expected, other))
        if expected == other:
            return True
        distance = expected - other
        return max(distance, -distance) <= max(self.abs, self.rel * max(expected, -expected))


class param:
    """The values of one case, with marks."""

    def __init__(self, *values: Any, marks: Any = (), id: str | None = None) -> None:
        self.values, self.marks = values, marks if isinstance(marks, list | tuple) else (marks,)


class mark:
    """Marks: parametrize is what it says, security tells the recorder what a case asks for."""

    functionality, security = "functionality", "security"

    @staticmethod
    def parametrize(names: str | Sequence[str], values: Sequence[Any], **_: Any) -> Callable[[Any], Any]:
        """The test as one that needs no such arguments: it runs once for each of the values."""
        keys = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        marks = [value.marks if isinstance(value, param) else () for value in values]
        plain = [
            value.values if isinstance(value, param) else [value] if len(keys) == 1 else value
            for value in values
        ]
        cases = [dict(zip(keys, value, strict=True)) for value in plain]

        def marked(test: Any) -> Any:
            def runs(*bound: Any, **outer: Any) -> None:
                for case, told in zip(cases, marks, strict=True):
                    sys.modules["solution"].security_tests(mark.security in told)
                    test(*bound, **outer, **case)

            return runs

        return marked
