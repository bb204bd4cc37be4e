"""Around a program whose function is called. Runs in the sandbox, in the program's process: data/harness.py.

What is left of it when the program has run: the arguments were read only if the function was found, which
tells outside that it was called; the result is the only thing on standard output; what the program prints by
itself is on standard error. A program can undo all that, as it can write to any descriptor. It gains nothing:
what stands on standard output is judged by its value, and no expected value is in this process.
"""

import sys
from os import close, dup, dup2, fstat, pipe, pread, write  # by name: the program may replace them
from types import ModuleType
from typing import Any

from data.values import decode_call, encode

ENTRY_POINT = "the entry point"  # data/harness.py puts the name here


def separate() -> tuple[int, int]:
    """Descriptors of the call and of the answer. The program finds an empty standard input, and what it
    writes to standard output goes to standard error."""
    call, answer = dup(0), dup(1)
    empty, end = pipe()
    dup2(empty, 0)
    dup2(2, 1)
    close(empty)
    close(end)
    return call, answer


def define(code: Any) -> dict[str, Any]:
    """Run the program's definitions, in a module that is not __main__; its names."""
    module = sys.modules["program"] = ModuleType("program")
    names = vars(module)
    names.update(__file__="program.py", __annotations__={})
    exec(code, names)
    return names


def function(names: dict[str, Any], entry_point: str) -> Any:
    """What is called: a function, or a method of a new object of a class."""
    name, dot, method = entry_point.partition(".")
    if name not in names:
        raise NameError(f"the program defines no {name}")
    return getattr(names[name](), method) if dot else names[name]


def read_all(fd: int) -> str:
    """All of a file, from its beginning, wherever somebody has moved its position."""
    size = fstat(fd).st_size
    data = b""
    while len(data) < size:
        data += pread(fd, size - len(data), len(data))
    return data.decode()


def write_all(fd: int, text: str) -> None:
    """All of a text and a line end."""
    data = text.encode() + b"\n"
    while data:
        data = data[write(fd, data) :]


call, answer = separate()
called = function(define(__program__), ENTRY_POINT)  # type: ignore[name-defined]  # noqa: F821
args, kwargs = decode_call(read_all(call))
write_all(answer, encode(called(*args, **kwargs)))
