"""What works under plain CPython and would fail behind the filter and limits, by what a program names."""

from __future__ import annotations

import builtins
import io
import os
from typing import Any

# Threads have stacks that count as memory, touched or not: `lockdown.lift_private_limit`.
THREADS = frozenset({"threading", "_thread", "concurrent.futures", "multiprocessing.pool", "asyncio"})
# What is printed through the C library lies in a buffer of its own.
C_LIBRARY = frozenset({"ctypes", "_ctypes"})
STANDARD_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2, "/dev/fd/0": 0, "/proc/self/fd/0": 0}


def open_standard_streams() -> None:
    """`open("/dev/stdin")` and os.open(), where no path can be opened, are the descriptor of that name.

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
        name = os.fspath(file) if isinstance(file, os.PathLike) else file
        if opener is None and isinstance(name, str) and name in STANDARD_STREAMS:
            fd = STANDARD_STREAMS[name]

            def opener(path: str, flags: int) -> int:
                return os.dup(fd)

        return plain(file, mode, buffering, encoding, errors, newline, closefd, opener)

    open.__module__, open.__qualname__, open.__doc__ = plain.__module__, "open", plain.__doc__
    builtins.open = io.open = open
    plain_os_open = os.open

    def os_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        name = os.fspath(path) if isinstance(path, os.PathLike) else path
        if isinstance(name, str) and name in STANDARD_STREAMS:
            return os.dup(STANDARD_STREAMS[name])
        return plain_os_open(path, flags, mode, dir_fd=dir_fd)

    os_open.__module__, os_open.__name__, os_open.__doc__ = "posix", "open", plain_os_open.__doc__
    os.open = os_open
