"""Between the server and a child that may wait for more inputs: "done, give me another", and its descriptors.

The child's end is open while the program runs, but only under programs that know of no descriptor
(`stateless`): in all others it is closed before they begin.
"""

from __future__ import annotations

import os
import select
import socket

from sandbox.kernel.lockdown import OPEN_FILES
from sandbox.kernel.wire import receive

CHILD_FD = OPEN_FILES - 1  # the highest number, so that the program's own files begin at 3
NOTE_FD = CHILD_FD - 1  # of a pipe to the server: how far the child came. Closed before the program runs
_DONE, _MORE, _LAST = b"d", b"m", b"l"
_KIND = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK


class Channel:
    """Made before the fork; then each side uses only its own methods."""

    def __init__(self) -> None:
        self._server, child = socket.socketpair(socket.AF_UNIX, _KIND)
        os.dup2(child.fileno(), CHILD_FD)
        child.close()
        self._child = socket.socket(socket.AF_UNIX, _KIND, 0, CHILD_FD)
        self._poll = select.poll()
        self._poll.register(CHILD_FD, select.POLLIN)

    # The server's methods.

    def forked(self) -> None:
        """Let go of the child's end."""
        self._child.close()

    def fileno(self) -> int:
        """Of the server's end, to poll."""
        return self._server.fileno()

    def heard(self) -> bool:
        """Whether the child says that it is done; False for all else, its end too."""
        try:
            return self._server.recv(len(_DONE)) == _DONE
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

    # The child's methods. It closes all numbers but `CHILD_FD`, the server's end among them.

    def wait(self) -> bool:
        """Say that this input is done, and wait for the next, which will be descriptors 0, 1 and 2.

        Returns whether there may be one more after it; the channel is closed if not. Raises OSError: nobody
        listens.
        """
        os.write(CHILD_FD, _DONE)
        self._poll.poll()
        said, fds = receive(self._child, len(_MORE), 3)
        if len(fds) != 3:
            raise OSError("the server has closed its end")
        for target, fd in enumerate(fds):  # ascending, so none is below its target, which may have been free
            if fd != target:
                os.dup2(fd, target)
                os.close(fd)
        if said == _MORE:
            return True
        self.give_up()
        return False

    def give_up(self) -> None:
        """There will be no further input."""
        os.close(CHILD_FD)
