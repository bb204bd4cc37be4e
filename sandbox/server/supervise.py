"""The server's watch over one child: limits while it runs, then the end of it and of all it started."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator

from sandbox.child.channel import Channel
from sandbox.kernel.wire import Ended, Request

TICK_SECONDS = 0.01  # how often limits are looked at; memory_mb can be overrun by what is touched meanwhile
MAX_THREADS = 512  # RLIMIT_NPROC does not bind root, and counts a user's other tasks too
MAX_STRETCH = 5.0  # on a loaded machine a run may take this many times its wall limit
# A child that has used so much takes no further input. Sharing saves milliseconds, and this bounds what a
# program can work out under one input for the next. RLIMIT_CPU, which counts all inputs, leaves a second.
SHARED_CPU_SECONDS = 0.1
RESTING_CPU_SECONDS = 0.005  # while it waits: a program can say that it is done and go on
WAITING_SECONDS = 1.0  # for the next input
ORPHAN_SECONDS = 3.0  # a program whose orphans breed faster than they are killed costs us the server
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Lost(Exception):
    """The server cannot go on: nobody wants the answer, or the program's processes cannot be ended."""


class Child:
    """A forked child. `channel`: to one that may wait for more inputs. `proc`: /proc, opened."""

    def __init__(self, pid: int, proc: int, channel: Channel | None) -> None:
        self.pid = pid
        self._channel = channel
        self._proc = proc
        self._clock = (~pid << 3) | 2  # the kernel's id of its CPU clock: all its threads, user + system
        self._cpu_before = 0.0  # of earlier inputs
        self._paused = 0.0  # when it began to wait
        self._listening = channel is not None
        self._poll = select.poll()
        if channel is not None:
            self._poll.register(channel, select.POLLIN)

    def watch(self, request: Request, wanted: Callable[[], bool]) -> Ended:
        """Wait until the child ends, waits, or goes over a limit (it is then not yet killed). Raises Lost."""
        start = time.monotonic()
        tick = TICK_SECONDS
        while True:
            if self._pause(tick):
                return Ended.WAITING
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return Ended.ITSELF
            if not wanted():
                raise Lost
            cpu_left = request.cpu_seconds - self.cpu_seconds()
            wall_left = start + request.wall_seconds - time.monotonic()
            if cpu_left < 0:
                return Ended.CPU
            if wall_left < 0 and wall_left + self._waited_for_cpu(request) < 0:
                return Ended.WALL
            threads, resident = self._threads_and_resident_bytes()
            if resident > request.memory_bytes:
                return Ended.MEMORY
            if threads > MAX_THREADS:
                return Ended.THREADS
            tick = min(TICK_SECONDS, max(min(cpu_left, wall_left), 0.001))

    def _pause(self, seconds: float) -> bool:
        """Until something happens, `seconds` at most; True if the child says that it is done."""
        if not self._listening:
            signal.sigtimedwait((signal.SIGCHLD,), seconds)
        elif self._poll.poll(seconds * 1000):
            assert self._channel is not None
            if self._channel.heard():
                return True
            # It is ending, or the program plays with what it does not know: then it finds nobody to wait for.
            self._channel.close()
            self._listening = False
        return False

    def cpu_seconds(self) -> float:
        """CPU seconds of the present input."""
        return time.clock_gettime(self._clock) - self._cpu_before

    def pause(self) -> tuple[float, int]:
        """CPU seconds of this input, peak KiB. What it uses while it waits is charged to the next input."""
        cpu = self.cpu_seconds()
        self._cpu_before += cpu
        self._paused = time.monotonic()
        return cpu, self._peak_kb()

    def rests(self) -> bool:
        """Whether it really does nothing while it waits, and has not yet waited for too long."""
        threads, _ = self._threads_and_resident_bytes()
        waited = time.monotonic() - self._paused
        return threads == 1 and self.cpu_seconds() < RESTING_CPU_SECONDS and waited < WAITING_SECONDS

    def may_go_on(self) -> bool:
        """Whether it has used little enough CPU time for another input."""
        return self._cpu_before < SHARED_CPU_SECONDS

    def go_on(self, descriptors: list[int], keep: bool) -> None:
        """Hand it stdin, stdout and stderr of the next input; `keep`: it may wait for another after that.

        Raises OSError if it is gone.
        """
        assert self._channel is not None
        self._channel.send(descriptors, keep)

    def end(self) -> tuple[int, float, int]:
        """Kill and reap the child, its group and every orphan; after a normal end too, for nothing that a
        program started may outlive it. Returns (wait status, CPU seconds of this input, peak KiB).

        Raises Lost.
        """
        _kill(self.pid)
        try:
            os.killpg(self.pid, signal.SIGKILL)  # before the reaping: a zombie still owns its group's number
        except ProcessLookupError:
            pass  # killed before it had a group
        _, status, usage = os.wait4(self.pid, 0)
        if self._channel is not None:
            self._channel.close()
        cpu = usage.ru_utime + usage.ru_stime + self._end_orphans() - self._cpu_before
        return status, cpu, usage.ru_maxrss

    def _end_orphans(self) -> float:
        """Kill whatever else is our child by now (we are their subreaper); their CPU seconds."""
        cpu = 0.0
        give_up = time.monotonic() + ORPHAN_SECONDS
        while True:
            try:
                pid, _, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:  # none left
                return cpu
            if pid:
                cpu += usage.ru_utime + usage.ru_stime
                continue
            if time.monotonic() > give_up:
                raise Lost
            for child in self._children():
                _kill(child)
            signal.sigtimedwait((signal.SIGCHLD,), 0.001)

    def _children(self) -> Iterator[int]:
        me = os.getpid()
        for name in filter(str.isdigit, os.listdir(self._proc)):
            try:
                stat = self._read(f"{name}/stat")
            except OSError:  # ended meanwhile
                continue
            if int(stat.rpartition(b")")[2].split()[1]) == me:
                yield int(name)

    def _waited_for_cpu(self, request: Request) -> float:
        """Seconds the main thread was ready to run but others had the CPU: they are not the program's.

        Zero where the kernel does not count them, and bounded, for the caller must know when to stop waiting.
        """
        try:
            waited = int(self._read(f"{self.pid}/schedstat").split()[1]) / 1e9
        except FileNotFoundError:
            return 0.0
        return min(waited, (MAX_STRETCH - 1) * request.wall_seconds)

    def _peak_kb(self) -> int:
        """0 if the process has no main thread any more."""
        # At the start of a line: the name of the process, which is the program's to choose, comes before it.
        _, _, after = self._read(f"{self.pid}/status", 1 << 16).partition(b"\nVmHWM:")
        return int(after.split(maxsplit=1)[0]) if after else 0

    def _threads_and_resident_bytes(self) -> tuple[int, int]:
        fields = self._read(f"{self.pid}/stat").rpartition(b")")[2].split()
        threads, pages = int(fields[17]), int(fields[21])
        if pages == 0:  # the main thread has ended, and only the others still show the memory
            pages = max(map(self._resident_pages, self._tasks()), default=0)
        return threads, pages * _PAGE_BYTES

    def _tasks(self) -> list[str]:
        fd = os.open(f"{self.pid}/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def _resident_pages(self, task: str) -> int:
        try:
            return int(self._read(f"{self.pid}/task/{task}/statm").split()[1])
        except OSError:  # it ended meanwhile
            return 0

    def _read(self, path: str, size: int = 4096) -> bytes:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            return os.read(fd, size)
        finally:
            os.close(fd)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
