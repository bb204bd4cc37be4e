"""Two functions of the library that work under plain CPython and would fail behind the filter and limits."""

from __future__ import annotations

import _thread
import builtins
import io
import os
import threading
from typing import Any

from sandbox.lockdown import allow_stacks

STANDARD_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


def open_standard_streams() -> None:
    """`open("/dev/stdin")`, where no path can be opened, is the descriptor of that name.

    Only for programs that name one: to others it would be a frame more in their tracebacks.
    """
    plain = io.open

    def open(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        if opener is None and isinstance(file, str) and file in STANDARD_STREAMS:
            fd = STANDARD_STREAMS[file]

            def opener(path: str, flags: int) -> int:
                return os.dup(fd)

        return plain(file, mode, buffering, encoding, errors, newline, closefd, opener)

    open.__module__, open.__qualname__, open.__doc__ = plain.__module__, "open", plain.__doc__
    builtins.open = io.open = open


def reserve_stacks() -> None:
    """`threading.stack_size(n)` comes before threads with stacks that count as memory, touched or not."""
    plain = _thread.stack_size

    def stack_size(size: int = 0, /) -> int:
        before = plain(size)
        if size:
            allow_stacks()
        return before

    stack_size.__module__, stack_size.__doc__ = plain.__module__, plain.__doc__
    _thread.stack_size = threading.stack_size = stack_size
