"""Where a program failed: the lines of its own code in a traceback or a compiler's message.

What a program prints can look like a traceback, and so mislead this reading of it. Nothing but the program's
own token credit depends on it. Numbers that no line of a source can have are not read: to convert one of
4,301 digits would be an error.
"""

import re

_FRAME = re.compile(r'  File "program\.py", line ([0-9]{1,7}), in (.+)')
_COMPILER = re.compile(r"\(program\.py, line ([0-9]{1,7})\)\Z")


def failed_lines(stderr: str) -> tuple[int | None, int | None]:
    """Lines of the last traceback in `stderr`: of the module's own code, and the innermost of the program.

    Both None where there is no traceback through the program. Frames of the standard library do not count.
    """
    _, found, block = stderr.rpartition("Traceback (most recent call last):\n")
    frames = []
    for line in block.splitlines() if found else ():
        if not line.startswith("  "):
            break  # the message; it may hold anything
        if frame := _FRAME.fullmatch(line):
            frames.append((int(frame[1]), frame[2]))
    if not frames:
        return None, None
    (top, name), (error, _) = frames[0], frames[-1]
    return top if name == "<module>" else None, error


def compiler_line(message: str) -> int | None:
    """The line that a compiler's message names."""
    found = _COMPILER.search(message)
    return int(found[1]) if found else None
