"""The latest of what was found, by key: bounded by number and by memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """At most `count` values and `room` bytes of them, as `weigh` counts; those longest unused go first.

    Programs decide how large what is found of them is, so a number alone bounds no memory. Not locked.
    """

    def __init__(self, count: int, room: int, weigh: Callable[[V], int]) -> None:
        self.count = count
        self._left = room
        self._weigh = weigh
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """What is kept; to be asked for is no use yet (`put`)."""
        found = self._values.get(key)
        return None if found is None else found[0]

    def put(self, key: K, value: V) -> None:
        """Keep it as the latest."""
        self._drop(key)
        weight = self._weigh(value)
        self._values[key] = (value, weight)
        self._left -= weight
        while self._values and (self._left < 0 or len(self._values) > self.count):
            self._drop(next(iter(self._values)))

    def _drop(self, key: K) -> None:
        if (old := self._values.pop(key, None)) is not None:
            self._left += old[1]

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)
