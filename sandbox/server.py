"""One server process: receives descriptors and limits, forks a child per run, watches it, replies.

It is exec'd (never forked from the caller, which may hold torch, threads and secrets), single-threaded, and
ends by itself when its socket closes or its parent is gone. It reads no program, no input and no output.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import site
import socket
import sys
import time

from sandbox import lockdown, preload, supervise
from sandbox.child import BROKEN, COMPILED, Program, prepare
from sandbox.wire import FD_COUNT, MESSAGE_BYTES, READY, Killed, Reply, Request

IDLE_SECONDS = 1.0  # how often an idle server asks whether its parent lives; its socket may be held by others


class Server:
    """State of one server process."""

    def __init__(self, sock: socket.socket, directory: str, parent: int, max_tasks: int) -> None:
        self._sock = sock
        self._directory = directory
        self._parent = parent
        self._max_tasks = max_tasks
        self._pid = os.getpid()
        self._poll = select.poll()
        self._poll.register(sock, 0)  # only hang-up
        self._note_read, self._note_write = os.pipe()
        os.set_blocking(self._note_read, False)

    def next_program(self) -> Program:
        """Serve requests for ever; returns in each child, with its program. Raises supervise.Lost."""
        while True:
            request, fds = self._receive()
            workdir = os.path.join(self._directory, "run")
            os.mkdir(workdir)
            try:
                pid = os.fork()
            except OSError as error:
                reply = Reply(error.errno or errno.EAGAIN, False, Killed.NO, 0, 0.0, 0.0, 0)
            else:
                if pid == 0:
                    self._sock.detach()  # or it would close a number that is the program's by then
                    return prepare(request, fds, self._note_write, workdir, self._pid, self._max_tasks)
                reply = self._attend(pid, request)
            for fd in fds:
                os.close(fd)
            supervise.remove_tree(workdir)
            self._sock.send(reply.pack())

    def _receive(self) -> tuple[Request, list[int]]:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._sock, MESSAGE_BYTES, FD_COUNT)
            except TimeoutError:
                if not self._wanted():
                    raise supervise.Lost from None
                continue
            if not data:
                raise supervise.Lost
            return Request.unpack(data), fds

    def _attend(self, pid: int, request: Request) -> Reply:
        start = time.monotonic()
        try:
            killed = supervise.watch(pid, request, self._wanted)
        finally:
            status, cpu, peak = supervise.end(pid)
        note = self._read_note()
        fault = errno.EIO if note == BROKEN else 0
        return Reply(fault, note == COMPILED, killed, status, cpu, time.monotonic() - start, peak)

    def _read_note(self) -> bytes:
        try:
            return os.read(self._note_read, 16)
        except BlockingIOError:
            return b""

    def _wanted(self) -> bool:
        """Whether somebody still waits for the answer."""
        return os.getppid() == self._parent and not self._poll.poll(0)

    def end(self) -> None:
        """Leave nothing behind."""
        supervise.remove_tree(self._directory)


def serve(fd: int, directory: str, parent: int) -> Program:
    """Run the server. Returns only in a forked child; in the server itself it ends the process."""
    signal.pthread_sigmask(signal.SIG_SETMASK, (signal.SIGCHLD,))  # taken by sigtimedwait, never delivered
    os.chdir("/")
    os.environ.clear()
    sock = socket.socket(fileno=os.dup(fd))  # low: a caller's number may lie above what children close
    os.close(fd)
    max_tasks = lockdown.enter_server()
    preload.load()
    for install in (site.setquit, site.sethelper, site.setcopyright):
        install()  # exit(), quit(), help(): absent under -S
    for name in [name for name in sys.modules if name.split(".")[0] == "sandbox"]:
        del sys.modules[name]  # a program has no such modules; we hold what we need
    gc.disable()
    gc.collect()
    gc.freeze()  # or the first collection in each child would copy every page of the server
    sock.settimeout(IDLE_SECONDS)
    server = Server(sock, directory, parent, max_tasks)
    try:
        sock.send(READY + lockdown.TIER.encode())
        return server.next_program()
    except (supervise.Lost, BrokenPipeError, ConnectionResetError):
        server.end()
        os._exit(0)
