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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial

from sandbox.child.channel import NOTE_FD, Channel
from sandbox.child.program import Program, Surroundings, prepare, special_names
from sandbox.child.reuse import Interpreter
from sandbox.kernel import landlock, lockdown, namespaces, preload
from sandbox.kernel.wire import (
    FAILED,
    FD_COUNT,
    MESSAGE_BYTES,
    READY,
    REFUSED,
    Ended,
    Note,
    Reply,
    Request,
    Want,
    receive,
)
from sandbox.server.rehearsal import rehearse
from sandbox.server.supervise import TICK_SECONDS, Child, Lost

# Members of an enum are looked up by Python code in 3.11.
_KEEP, _NEXT, _LAST = int(Want.KEEP), int(Want.NEXT), int(Want.LAST)
IDLE_SECONDS = 1.0  # how often an idle server asks whether its parent lives; its socket may be held by others


@dataclass(frozen=True)
class Settings:
    """What a server is started with: its arguments, in their order."""

    socket_fd: int
    parent: int
    layers: frozenset[str]  # of "seccomp", "landlock", "namespaces"
    large: bool  # the server with the large libraries
    libraries: tuple[str, ...]  # the directories where numpy and the packages lie
    packages: tuple[str, ...]  # what the caller wants beside the standard library and numpy

    @classmethod
    def from_arguments(cls, arguments: list[str]) -> Settings:
        fd, parent, layers, large, *lists = arguments
        libraries, packages = (tuple(text.split(os.pathsep)) if text else () for text in lists)
        return cls(int(fd), int(parent), frozenset(layers.split(",")), large == "large", libraries, packages)


class Server:
    """State of one server process."""

    def __init__(
        self,
        sock: socket.socket,
        proc: int,
        max_tasks: int,
        settings: Settings,
        held_by_large: frozenset[str],
    ) -> None:
        self._sock = sock
        self._proc = proc
        # In a namespace of its own the parent has no number, and the guard looks after us.
        self._parent = 0 if "namespaces" in settings.layers else settings.parent
        self._limits = lru_cache(partial(lockdown.child_limits, max_tasks))
        self._large = settings.large
        self._waiting: Child | None = None
        self._requests, self._hang_up = select.poll(), select.poll()
        self._requests.register(sock, select.POLLIN)
        self._hang_up.register(sock, 0)
        self._note_read, note_write = os.pipe()
        os.dup2(note_write, NOTE_FD)
        os.close(note_write)
        os.set_blocking(self._note_read, False)
        elsewhere = frozenset() if settings.large else held_by_large
        self._surroundings = Surroundings(
            server=os.getpid(),
            filter=lockdown.Filter() if "seccomp" in settings.layers else None,
            elsewhere=elsewhere,
            special=special_names(elsewhere),
            interpreter=Interpreter(),
        )

    def rehearse(self) -> None:
        """To be done before the first fork."""
        rehearse(self._surroundings)
        while self._read_note() != Note.NOTHING:
            pass

    def programs(self) -> Iterator[Program]:
        """Serve requests for ever; yields only in a child, its program. Raises Lost."""
        while True:
            request, fds = self._receive()
            if request.want in (_NEXT, _LAST):
                reply = self._next(request, fds)
            else:
                self._end_waiting()
                start = time.monotonic()
                keep = request.want == _KEEP and not self._large
                limits = self._limits(request.cpu_seconds, request.memory_bytes, request.output_bytes)
                channel = Channel() if keep else None
                try:
                    pid = lockdown.fork()
                except OSError as error:
                    if channel is not None:
                        channel.forked()
                        channel.close()
                    reply = _fault(error.errno or errno.EAGAIN)
                else:
                    if pid == 0:
                        yield prepare(request, limits, fds, channel, self._surroundings)
                        raise AssertionError("a child serves nobody")
                    if channel is not None:
                        channel.forked()
                    reply = self._attend(Child(pid, self._proc, channel), request, start)
            for fd in fds:
                os.close(fd)
            self._sock.send(reply.pack())
            del reply  # the next child would find it

    def _receive(self) -> tuple[Request, list[int]]:
        while not self._requests.poll(1000 * (IDLE_SECONDS if self._waiting is None else TICK_SECONDS)):
            if self._waiting is None or not self._waiting.may_wait():
                self._end_waiting()
                if not self._wanted():
                    raise Lost
        data, fds = receive(self._sock, MESSAGE_BYTES, FD_COUNT)
        if not data:
            raise Lost
        return Request.unpack(data), fds

    def _next(self, request: Request, fds: list[int]) -> Reply:
        child, self._waiting = self._waiting, None
        if child is None:  # it was ended for idling
            return _fault(errno.ESRCH)
        start = time.monotonic()
        try:
            child.go_on(fds, keep=request.want == _NEXT)
        except OSError:  # it closed its end of the channel, or the kernel refuses
            child.end()
            return _fault(errno.ESRCH)
        return self._attend(child, request, start, Note.COMPILED)

    def _attend(self, child: Child, request: Request, start: float, note: int | None = None) -> Reply:
        ended = None
        try:
            ended = child.watch(request, self._wanted)
            wall = time.monotonic() - start
            slept = child.slept(wall, child.cpu_seconds())
        finally:
            if ended is not Ended.WAITING:
                status, cpu, peak = child.end()
        if ended is Ended.WAITING:
            status, (cpu, peak) = 0, child.pause()
            self._waiting = child
            if not child.may_go_on():
                self._end_waiting()
                ended = Ended.ITSELF
        if note is None:
            note = self._read_note()
        fault = errno.EIO if note == Note.BROKEN else 0
        if ended is Ended.BUSY and cpu <= request.cpu_seconds:  # else others of its own kept it waiting
            fault = errno.ETIME
        return Reply(fault, note, ended, status, cpu, wall, slept, peak)

    def _end_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.end()
            self._waiting = None

    def _read_note(self) -> int:
        try:
            return os.read(self._note_read, 16)[0]
        except BlockingIOError:
            return Note.NOTHING

    def _wanted(self) -> bool:
        """Whether somebody still waits for the answer."""
        return os.getppid() == self._parent and not self._hang_up.poll(0)


def serve(arguments: list[str]) -> Iterator[Program]:
    """Run the server. Yields only in a forked child; in the server itself it ends the process."""
    settings = Settings.from_arguments(arguments)
    signal.pthread_sigmask(signal.SIG_SETMASK, (signal.SIGCHLD,))  # taken by sigtimedwait, never delivered
    os.chdir("/")
    os.environ.clear()
    _open_standard_streams()
    sock = socket.socket(fileno=os.dup(settings.socket_fd))  # low: children close only the low numbers
    os.close(settings.socket_fd)
    try:
        preload.load(settings.large, settings.libraries, settings.packages)
    except ImportError as error:  # one of the packages is broken, or needs what is not there
        sock.send(FAILED + f"packages: {error}".encode())
        os._exit(1)
    held_by_large = preload.held_by_large(settings.packages)
    for install in (site.setquit, site.sethelper, site.setcopyright):
        install()  # exit(), quit(), help(): absent under -S
    max_tasks = lockdown.max_tasks()
    try:
        proc = _enter(settings)
    except OSError as error:
        sock.send(REFUSED + str(error).encode())
        os._exit(1)
    for name in [name for name in sys.modules if name.split(".")[0] == "sandbox"]:
        del sys.modules[name]  # a program has no such modules; we hold what we need
    try:
        server = Server(sock, proc, max_tasks, settings, held_by_large)
        gc.freeze()
        server.rehearse()
    except Exception as error:
        sock.send(FAILED + f"{type(error).__name__}: {error}".encode())
        raise
    gc.disable()
    gc.collect()
    gc.freeze()  # or the first collection in each child would copy every page of the server
    try:
        sock.send(READY)
        yield from server.programs()
    except (Lost, BrokenPipeError, ConnectionResetError):
        os._exit(0)


def _open_standard_streams() -> None:
    """Those that the caller has closed: no other descriptor may come to have their numbers."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open("/dev/null", os.O_RDWR)  # the lowest number that is free


def _enter(settings: Settings) -> int:
    """Put the layers in force that hold for the server and all its children. Returns a descriptor of /proc.

    Raises OSError, which names the layer, where the kernel refuses one that was asked for.
    """
    lockdown.enter_server()
    with _named("namespaces"):
        if "namespaces" in settings.layers:
            proc = namespaces.enter(settings.parent)
        else:
            proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    lockdown.drop_capabilities()
    with _named("landlock"):
        if "landlock" in settings.layers:
            landlock.restrict(proc)
    return proc


@contextmanager
def _named(layer: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"{layer}: {error.strerror}") from error


def _fault(error: int) -> Reply:
    return Reply(error, Note.NOTHING, Ended.ITSELF, 0, 0.0, 0.0, 0.0, 0)
