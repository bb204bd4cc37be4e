"""A server runs a program in itself, some times over, before it forks its first child.

An interpreter writes down what it finds out: looked-up attributes, specialised instructions, bound symbols,
objects made on first use. A child that had to find all that out anew would do so on pages that it shares with
the server, and copying those is most of what a run costs.
"""

from __future__ import annotations

import os
import sys

from sandbox.child.channel import NOTE_FD, Channel
from sandbox.child.program import FILE_NAME, Surroundings, load, make_spare_streams, open_stdio, take
from sandbox.kernel.wire import Request, Want

PASSES = 20  # an instruction is specialised once its function has run some ten times
SPARE_STREAMS = 5  # sets of three: for as many inputs of a child
_PROGRAM = b"""
import sys
def main():
    n = int(input())
    rows = [list(map(int, line.split())) for line in sys.stdin]
    seen = {}
    for row in rows:
        for x in row:
            seen[x] = seen.get(x, 0) + 1
    print(n, sum(seen), *sorted(seen))
    print(" ".join(str(len(row)) for row in rows))
if __name__ == "__main__":
    main()
"""
_INPUT = b"2\n1 2 3\n4 5\n"
_REQUEST = Request(Want.KEEP, True, 0.0, 0.0, 0, 0)


def rehearse(surroundings: Surroundings) -> None:
    """Nothing is left of it but `sys.stdin` and its like, which each child then finds made, and made for what
    will be there: empty files.
    """
    note, *own = [os.dup(fd) for fd in (NOTE_FD, 0, 1, 2)]
    try:
        open_stdio()
        for _ in range(PASSES):
            _run_twice(surroundings)
            os.dup2(note, NOTE_FD)
        _put(_stdio())
        make_spare_streams(SPARE_STREAMS)
        open_stdio()
    finally:
        _put(own)
        os.close(note)
    sys.argv = [FILE_NAME]


def _run_twice(surroundings: Surroundings) -> None:
    channel = Channel()
    fds = [*_stdio(), _file(_PROGRAM)]
    (source,) = take(fds)
    program = load(source, _REQUEST, channel, surroundings)
    for keep in (True, False):
        code, namespace = program.start()
        exec(code, namespace)
        program.ended(None)
        if not program.is_as_new():
            raise RuntimeError("a rehearsal has left its mark on the interpreter")
        more = _stdio()
        fds += more
        channel.send(more, keep)
        channel.wait()
        program.renew()
    channel.close()
    for fd in fds:
        os.close(fd)


def _stdio() -> list[int]:
    return [_file(_INPUT), _file(b""), _file(b"")]


def _file(content: bytes) -> int:
    fd = os.memfd_create("rehearsal", os.MFD_CLOEXEC)
    os.pwrite(fd, content, 0)
    return fd


def _put(descriptors: list[int]) -> None:
    """At 0, 1 and 2."""
    for target, fd in enumerate(descriptors):
        os.dup2(fd, target)
        os.close(fd)
