"""Switches of what is done in another way than the plain one because that is faster."""

from collections.abc import Iterator
from contextlib import contextmanager


class Shortcut:
    """A faster way to the same numbers, on unless a test or a measurement turns it off."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.on = True

    @contextmanager
    def off(self) -> Iterator[None]:
        """Go the plain way for the time of a block."""
        self.on, was = False, self.on
        try:
            yield
        finally:
            self.on = was
