"""The caller's side of the server processes: start, ask, stop."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from sandbox.kernel.wire import FAILED, MESSAGE_BYTES, READY, REFUSED, Reply, Request, Want
from sandbox.server import supervise

RECYCLE_RUNS = 5000  # a server is replaced after so many runs: what leaks in an interpreter leaks slowly
START_SECONDS = 60.0  # for the imports of a server on a loaded machine
GRACE_SECONDS = 20.0  # on top of the wall limit, for killing and cleaning up; then the server counts as lost
_BOOT = Path(__file__).with_name("server") / "boot.py"
_COMMAND = (sys.executable, "-S", "-s", "-P", "-X", "utf8", str(_BOOT))


class Fault(Exception):
    """The server was lost or could not do its work: nothing is known about the program."""


class Refused(Exception):
    """The kernel refuses a layer that was asked for."""


class Libraries(NamedTuple):
    """What programs may import beside the standard library."""

    folders: tuple[str, ...]  # where numpy and the packages lie
    packages: tuple[str, ...]  # by the names that programs import


_NO_LIBRARIES = Libraries((), ())


class Server:
    """One server process. One request at a time; only `stop` may be called meanwhile, from other threads."""

    def __init__(self, layers: frozenset[str], large: bool, libraries: Libraries) -> None:
        """`large`: the server that holds the large libraries."""
        self._ready = False
        self.runs = 0
        self._sock, theirs = _socket_pair()
        kind = "large" if large else "small"
        lists = [os.pathsep.join(names) for names in (libraries.folders, libraries.packages)]
        arguments = [str(theirs.fileno()), str(os.getpid()), ",".join(layers), kind, *lists]
        with theirs:
            # Not -I: its -E would ignore the hash seed. The rest of -I is here, the environment is ours and
            # the server empties it. By default the C library reserves address space for threads by the number
            # of CPUs, and looks symbols up at their first use, which would be in each child anew. A new
            # session: a Ctrl-C at the terminal is for the caller.
            self._process = subprocess.Popen(
                [*_COMMAND, *arguments],
                env={"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "4", "LD_BIND_NOW": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process that was started: the server itself, or with namespaces its guard."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until the server has said that it is ready. Raises Fault, Refused, OSError."""
        if self._ready:
            return
        data = self._receive(START_SECONDS)
        if data.startswith(REFUSED):
            raise Refused(data.removeprefix(REFUSED).decode())
        if data.startswith(FAILED):
            raise Fault(f"the server process did not start ({data.removeprefix(FAILED).decode()})")
        if data != READY:
            raise Fault("the server process did not start")
        self._ready = True

    def ask(self, request: Request, descriptors: list[int]) -> Reply:
        """Raises OSError when the server is lost."""
        self.runs += 1
        socket.send_fds(self._sock, [request.pack()], descriptors)
        return Reply.unpack(self._receive(request.wall_seconds * supervise.MAX_STRETCH + GRACE_SECONDS))

    def _receive(self, seconds: float) -> bytes:
        self._sock.settimeout(seconds)
        data = self._sock.recv(MESSAGE_BYTES)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "it closed its socket")
        return data

    def interrupt(self) -> None:
        """Make the request under way, which may be another thread's, fail. The server then ends by itself.

        shutdown() and not close(): forked copies of the caller may hold the socket too.
        """
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.EBADF):  # it has ended, or was closed before us
                raise

    def stop(self) -> None:
        """End the server and all it started. Idempotent, from any thread."""
        self.interrupt()
        try:
            self._process.wait(supervise.ORPHAN_SECONDS + 1)
        except subprocess.TimeoutExpired:
            pass  # stopped, or busy with what it cannot end
        finally:
            self._process.kill()
            self._process.wait()
            self._sock.close()


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Above the standard streams, some of which the caller may have closed."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, theirs = (fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 3) for sock in pair)
    for sock in pair:
        sock.close()
    return socket.socket(fileno=ours), socket.socket(fileno=theirs)


class Worker:
    """Runs one program at a time, on one or two servers: the second, with the large libraries, when needed.

    Only `close` may be called meanwhile, from another thread.
    """

    def __init__(self, layers: frozenset[str], libraries: Libraries = _NO_LIBRARIES) -> None:
        self._layers = layers
        self._libraries = libraries
        self._lock = threading.RLock()  # start and stop; close() may come from another thread
        self._closed = False
        self._servers: dict[bool, Server] = {}  # by whether they hold the large libraries

    @property
    def pids(self) -> list[int]:
        """Process ids of the servers."""
        return [server.pid for server in self._servers.values()]

    def start(self, large: bool = False) -> Server:
        """Start a server; does not wait for it. Raises OSError, Fault after close()."""
        with self._lock:
            if self._closed:
                raise Fault("the sandbox was closed")
            self._servers[large] = Server(self._layers, large, self._libraries)
            return self._servers[large]

    def wait_ready(self) -> None:
        """Wait until the server that was started is ready. Raises Fault, Refused, OSError."""
        self._servers[False].wait_ready()

    def stop(self) -> None:
        """End the servers and all they started. Idempotent, from any thread."""
        for server in list(self._servers.values()):
            server.interrupt()
        with self._lock:
            while self._servers:
                self._servers.popitem()[1].stop()

    def close(self) -> None:
        """`stop`, and never start again."""
        self._closed = True
        self.stop()

    def ask(self, request: Request, descriptors: list[int], large: bool) -> Reply:
        """Raises Fault; the servers are then stopped, for their state is not known."""
        try:
            server = self._servers.get(large)
            if (
                server is not None
                and server.runs >= RECYCLE_RUNS
                and request.want not in (Want.NEXT, Want.LAST)
            ):
                self.stop()
                server = None
            server = server or self.start(large)
            server.wait_ready()
            reply = server.ask(request, descriptors)
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                cause = error.strerror or type(error).__name__
                raise Fault(f"the server process was lost ({cause})") from error
            if isinstance(error, Refused):
                raise Fault(str(error)) from error
            raise
        if reply.fault not in (0, errno.ESRCH, errno.ETIME):  # the last two say nothing against the server
            self.stop()
        return reply
