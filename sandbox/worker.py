"""One server process, from the caller's side: start, ask, stop. Owns the memfds programs read and write."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox import supervise
from sandbox.records import Limits, Run
from sandbox.verdict import judge
from sandbox.wire import MESSAGE_BYTES, READY, Reply, Request

RECYCLE_RUNS = 5000  # a server is replaced after so many runs: what leaks in an interpreter leaks slowly
START_SECONDS = 60.0  # for the imports of a server on a loaded machine
GRACE_SECONDS = 20.0  # on top of the wall limit, for killing and cleaning up; then the server counts as lost
STDERR_TAIL = 8192  # bytes
_COMMAND = (sys.executable, "-S", "-s", "-P", "-X", "utf8", str(Path(__file__).with_name("boot.py")))
_SEALS = fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK


class Fault(Exception):
    """The server was lost or could not do its work: nothing is known about the program."""


class Worker:
    """One request at a time; only `stop` and `close` may be called meanwhile, from other threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.RLock()  # start and stop; close() may come from another thread
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._directory = ""
        self._runs = 0
        self._ready = False
        self.tier = ""

    @property
    def pid(self) -> int | None:
        """Process id of the server, None while there is none."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start a server; does not wait for it. Raises OSError, Fault after close()."""
        with self._lock:
            if self._closed:
                raise Fault("the sandbox was closed")
            self._runs = 0
            self._ready = False
            self._directory = tempfile.mkdtemp(prefix="sandbox-")
            self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                # Not -I: its -E would ignore the hash seed. The rest of -I is here, the environment is ours
                # and the server empties it. A new session: a Ctrl-C at the terminal is for the caller.
                self._process = subprocess.Popen(
                    [*_COMMAND, str(theirs.fileno()), self._directory, str(os.getpid())],
                    env={"PYTHONHASHSEED": "0"},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )

    def wait_ready(self) -> None:
        """Wait until the server has said that it is ready. Raises Fault, OSError."""
        if self._ready:
            return
        data = self._receive(START_SECONDS)
        if not data.startswith(READY):
            raise Fault("the server process did not start")
        self.tier = data.removeprefix(READY).decode()
        self._ready = True

    def stop(self) -> None:
        """End the server and all it started, and remove its directory. Idempotent, from any thread."""
        self._interrupt()
        with self._lock:
            if self._process is not None:
                self._reap(self._process)
                self._process = None
            if self._sock is not None:
                self._sock.close()
                self._sock = None
            if self._directory:  # still there if the server was killed
                supervise.remove_tree(self._directory)

    def close(self) -> None:
        """`stop`, and never start again."""
        self._closed = True
        self.stop()

    def _interrupt(self) -> None:
        """Make the request under way, which may be another thread's, fail. The server then ends by itself.

        shutdown() and not close(): forked copies of the caller may hold the socket too.
        """
        sock = self._sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                if error.errno not in (errno.ENOTCONN, errno.EBADF):  # it has ended, or was closed before us
                    raise

    @staticmethod
    def _reap(process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(supervise.ORPHAN_SECONDS + 1)
        except subprocess.TimeoutExpired:
            pass  # stopped, or busy with what it cannot end
        finally:
            process.kill()
            process.wait()

    def run(self, program: bytes, is_text: bool, stdin: bytes | None) -> tuple[bool, Run]:
        """Run the program on one input (None: compile only). Returns (compiled, run). Raises Fault.

        After anything but a plain return the server is stopped: its state is not known.
        """
        try:
            if self._process is None or self._runs >= RECYCLE_RUNS:
                self.stop()
                self.start()
            self.wait_ready()
            self._runs += 1
            return self._ask(program, is_text, stdin)
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                raise Fault(
                    f"the server process was lost ({error.strerror or type(error).__name__})"
                ) from error
            raise

    def _ask(self, program: bytes, is_text: bool, stdin: bytes | None) -> tuple[bool, Run]:
        limits = self._limits
        output_bytes = limits.output_kb * 1024
        request = Request(
            is_text, stdin is None, limits.cpu_seconds, limits.wall, limits.memory_mb << 20, output_bytes
        )
        with _memfd(program) as code, _memfd(stdin or b"") as given, _memfd() as out, _memfd() as err:
            assert self._sock is not None
            socket.send_fds(self._sock, [request.pack()], [code, given, out, err])
            reply = Reply.unpack(self._receive(limits.wall * supervise.MAX_STRETCH + GRACE_SECONDS))
            out_size, err_size = os.fstat(out).st_size, os.fstat(err).st_size
            stdout = os.pread(out, min(out_size, output_bytes), 0)
            stderr = os.pread(err, STDERR_TAIL, max(0, err_size - STDERR_TAIL)).decode("utf-8", "replace")
        if reply.fault:
            cause = stderr or os.strerror(reply.fault)
            raise Fault(f"the server could not start a child ({cause})")
        overflow = max(out_size, err_size) > output_bytes
        return reply.compiled, judge(reply, limits, stdout, stderr, overflow)

    def _receive(self, seconds: float) -> bytes:
        assert self._sock is not None
        self._sock.settimeout(seconds)
        data = self._sock.recv(MESSAGE_BYTES)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "it closed its socket")
        return data


@contextmanager
def _memfd(content: bytes | None = None) -> Iterator[int]:
    """An anonymous file: empty and writable, or holding `content` and sealed against every change."""
    fd = os.memfd_create("sandbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        if content is not None:
            view, offset = memoryview(content), 0
            while offset < len(view):
                offset += os.pwrite(fd, view[offset:], offset)  # pwrite: the program must start reading at 0
            fcntl.fcntl(fd, *_SEALS)
        yield fd
    finally:
        os.close(fd)
