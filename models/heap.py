"""Memory that was freed, given back to the system.

glibc keeps what was freed for whatever comes next. What comes next asks for other sizes, and takes its place
beside what is kept: activations that lived between gradients that stay leave holes. So before and after each
step's backward passes the pages that nothing is in go back: of SmolLM2-135M the peak above imports is 2.16
GiB in place of 2.42, in the same time. (Once after an update: 2.45. Before every micro-batch: 1.87, for a
tenth more time.)
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def trimmed_heap() -> Iterator[None]:
    """A block, or as a decorator a function, before and after which the system has the pages back that
    nothing is in. Where the C library is not glibc, it keeps what it keeps."""
    _trim()
    try:
        yield
    finally:
        _trim()


def _trim() -> None:
    if malloc_trim := _malloc_trim():
        malloc_trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
