"""Memory that was freed: kept for what comes next, and given back to the system where that does not serve.

The system fills a page that went and comes back with zeros, 2 µs each. Left to itself glibc gives back what
is free at the heap's end, as soon as that is twice the largest block it saw freed; then what the next token
or layer takes is new again. So it is told to keep all but the largest blocks (`keep_freed`): of SmolLM2-135M
an update takes 0.98 of the time, with 100,000 new pages less.

What comes next may ask for other sizes, and then takes its place beside what is kept: activations that lived
between gradients that stay leave holes. So the pages that nothing is in go back before and after a step's
backward passes, if the heap has grown by a sixteenth since they last did: then what was kept did not serve.
While every step fits into what the one before has left, it stays (`trimmed_heap`): to give back after each
would cost a Llama of 256 x 4 3 % of an update, at the same peak. In the first steps a heap still grows by
some MB; to give all back for those took SmolLM2-135M half a second of system time, time and again.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

# Of glibc's malloc.h. Blocks of this size and more always come from the system and go back to it; it is the
# most that can be set.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_BLOCK = 32 * 2**20
_NEVER = -1

_GROWTH = 16  # the part of a heap by which it has to grow

_largest = 0  # bytes of the heap when pages last went back: there is one heap in a process


def keep_freed() -> None:
    """From now on, in this process, let glibc keep freed memory in blocks of less than 32 MiB. Where the C
    library is another, it does as it does."""
    if (set_option := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        set_option(_TRIM_THRESHOLD, _NEVER)
        set_option(_MMAP_THRESHOLD, _BLOCK)


@contextmanager
def trimmed_heap() -> Iterator[None]:
    """A block, or as a decorator a function, before and after which the system has the pages back that
    nothing is in, if the heap is larger by a sixteenth than when they last went. Where the C library is not
    glibc (2.33 or later), it keeps what it keeps."""
    _trim_if_grown()
    try:
        yield
    finally:
        _trim_if_grown()


def _trim_if_grown() -> None:
    global _largest
    if (calls := _glibc()) is None:
        return
    trim, info = calls
    if (size := info().arena) > _largest + _largest // _GROWTH:
        _largest = size
        trim(0)


class _Info(ctypes.Structure):
    """glibc's struct mallinfo2."""

    arena: int
    """Bytes of the heap, in use and free; blocks that lie outside of it go back when they are freed"""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


@cache
def _glibc() -> tuple[Callable[[int], int], Callable[[], _Info]] | None:
    """malloc_trim and mallinfo2."""
    library = ctypes.CDLL(None)
    trim, info = (getattr(library, name, None) for name in ("malloc_trim", "mallinfo2"))
    if trim is None or info is None:
        return None
    info.restype = _Info
    return trim, info
