"""Between the server and a child that may wait for more inputs: "done, give me another", and its descriptors.

The child's end is open while the program runs, so nothing may follow from what comes through it but this: a
program that says itself that it is done gains what `os._exit(0)` would give it. One that reads, writes or
closes every descriptor there is, as tests of isolation do, only loses the child's reuse.
"""

from __future__ import annotations

import os
import socket

from sandbox.lockdown import OPEN_FILES

CHILD_FD = OPEN_FILES - 1  # the highest number, so that the program's own files begin at 3
NOTE_FD = CHILD_FD - 1  # of a pipe to the server: how far the child came. Closed before the program runs
_MORE, _LAST = b"m", b"l"


class Channel:
    """Made before the fork; then each side calls its `keep_...` once, and only its own methods."""

    def __init__(self) -> None:
        self._server, self._child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._word = os.urandom(16)  # no program comes upon it by chance

    def keep_server_end(self) -> None:
        self._child.close()

    def fileno(self) -> int:
        """Of the server's end, to poll."""
        return self._server.fileno()

    def heard(self) -> bool:
        """Whether the child says that it is done; False for all else, its end too."""
        try:
            return self._server.recv(len(self._word) + 1) == self._word
        except ConnectionResetError:  # it ended without a look at what was sent to it
            return False

    def send(self, descriptors: list[int], keep: bool) -> None:
        """Stdin, stdout and stderr of the next input, and whether there may be one more after it.

        Raises OSError if the child has closed its end.
        """
        socket.send_fds(self._server, [_MORE if keep else _LAST], descriptors)

    def close(self) -> None:
        """The server's end."""
        self._server.close()

    def keep_child_end(self) -> None:
        """At `CHILD_FD`; the caller closes every other number. A program that reads it does not hang."""
        os.dup2(self._child.fileno(), CHILD_FD)
        self._child = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, CHILD_FD)
        os.set_blocking(CHILD_FD, False)
        self._identity = _identity()

    def close_child_end(self) -> None:
        """There will be no further input."""
        self._child.close()

    def wait(self) -> tuple[list[int], bool]:
        """Say that this input is done, and wait for the descriptors of the next, and whether it is the last.

        OSError: nobody listens, or the program has put something else in the place of the channel.
        """
        if _identity() != self._identity:
            raise OSError("not the channel")
        os.write(CHILD_FD, self._word)
        for number in range(3):  # a program may have closed one, and what comes must not land there
            os.dup2(CHILD_FD, number)
        os.set_blocking(CHILD_FD, True)
        said, fds, _, _ = socket.recv_fds(self._child, len(_MORE), 3)
        os.set_blocking(CHILD_FD, False)
        return fds, said == _LAST


def _identity() -> tuple[int, int]:
    """Of what is open at `CHILD_FD`."""
    status = os.fstat(CHILD_FD)
    return status.st_dev, status.st_ino
