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
MAX_STRETCH = 5.0  # times its wall limit that a run may take if the machine holds it up; then it is a fault
STALL_SECONDS = 0.25  # a look that comes so late says that the whole machine stood still
# Stopped, traced, waiting for a disk: none of which a program can do to itself. And ready to run, where the
# kernel does not count how long that takes.
HELD_STATES = b"TtD" if os.path.exists("/proc/self/schedstat") else b"TtDR"
SLEPT_SECONDS = 0.1  # less is not told: it is what starting and ending take
# A child that has used so much takes no further input. Sharing saves milliseconds, and this bounds what a
# program can work out under one input for the next. RLIMIT_CPU, which counts all inputs, leaves a second.
SHARED_CPU_SECONDS = 0.1
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
        self._cpu_first = 0.0  # of the first input, with all that comes before it: see `cpu_seconds`
        self._cpu_before = 0.0  # of the inputs between the first and the present one
        self._paused = self._cpu_paused = 0.0  # when it began to wait, and what it had used by then
        self._listening = channel is not None
        self._poll = select.poll()
        if channel is not None:
            self._poll.register(channel, select.POLLIN)

    def watch(self, request: Request, wanted: Callable[[], bool]) -> Ended:
        """Wait until the child ends, waits, or goes over a limit (it is then not yet killed). Raises Lost."""
        self._start = self._looked = time.monotonic()
        self._held, self._was_held, self._cpu_looked = 0.0, False, self.cpu_seconds()
        tick = TICK_SECONDS
        while True:
            if self._pause(tick):
                return Ended.WAITING
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return Ended.ITSELF
            if not wanted():
                raise Lost
            cpu = self.cpu_seconds()
            cpu_left = request.cpu_seconds - cpu
            state, threads, resident = self._look()
            self._note_stalls(state, cpu)
            wall_left = request.wall_seconds - (self._looked - self._start)
            if cpu_left < 0:
                return Ended.CPU
            if wall_left < 0 and wall_left + self.held_up() < 0:
                return Ended.WALL
            if wall_left < (1 - MAX_STRETCH) * request.wall_seconds:
                return Ended.BUSY
            if resident > request.memory_bytes:
                return Ended.MEMORY
            if threads > MAX_THREADS:
                return Ended.THREADS
            tick = min(TICK_SECONDS, max(min(cpu_left, wall_left), 0.001))

    def _note_stalls(self, state: int, cpu: float) -> None:
        """Add to what the machine holds up, from look to look."""
        now = time.monotonic()
        passed, self._looked = now - self._looked, now
        computed, self._cpu_looked = cpu - self._cpu_looked, cpu
        held = state in HELD_STATES
        if (held and self._was_held) or passed > STALL_SECONDS:
            self._held += max(0.0, passed - computed)
        self._was_held = held

    def held_up(self) -> float:
        """Seconds of this input in which the program could not go on for reasons of the machine's: others had
        the CPU, or everything stood still. Of its threads, that one counts which waited longest."""
        return self._held + max(map(self._waited_for_cpu, self._tasks()), default=0.0)

    def slept(self, wall_seconds: float, cpu_seconds: float) -> float:
        """Seconds of this input in which the program itself did nothing. To be asked before `end`."""
        slept = wall_seconds - cpu_seconds
        if slept > SLEPT_SECONDS:  # seldom: the kernel need not be asked
            slept -= self.held_up()
        return slept if slept > SLEPT_SECONDS else 0.0

    def _pause(self, seconds: float) -> bool:
        """Until something happens, `seconds` at most; True if the child says that it is done."""
        if not self._listening:
            signal.sigtimedwait((signal.SIGCHLD,), seconds)
        elif self._poll.poll(seconds * 1000):
            assert self._channel is not None
            if self._channel.heard():
                return True
            # It is ending, or has said that it takes no further input.
            self._channel.close()
            self._listening = False
        return False

    def cpu_seconds(self) -> float:
        """CPU seconds of the present input; of a later one with those of the first, which has paid for the
        start and for the compilation that a fresh child would have to pay for again."""
        return time.clock_gettime(self._clock) - self._cpu_before

    def pause(self) -> tuple[float, int]:
        """CPU seconds of this input, peak KiB. What it uses while it waits is charged to the next input."""
        cpu = self.cpu_seconds()
        self._cpu_first = self._cpu_first or cpu
        self._cpu_paused = self._cpu_before + cpu
        self._cpu_before = self._cpu_paused - self._cpu_first
        self._paused = time.monotonic()
        return cpu, self._peak_kb()

    def may_wait(self) -> bool:
        """Whether it has not yet waited for too long."""
        return time.monotonic() - self._paused < WAITING_SECONDS

    def may_go_on(self) -> bool:
        """Whether it has used little enough CPU time for another input."""
        return self._cpu_paused < SHARED_CPU_SECONDS

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

    def _waited_for_cpu(self, task: str) -> float:
        """Seconds a thread was ready to run but others had the CPU, under earlier inputs too; 0 where the
        kernel does not count them."""
        try:
            return int(self._read(f"{self.pid}/task/{task}/schedstat").split()[1]) / 1e9
        except OSError:  # not counted, or the thread has ended
            return 0.0

    def _peak_kb(self) -> int:
        """0 if the process has no main thread any more."""
        # At the start of a line: the name of the process, which is the program's to choose, comes before it.
        _, _, after = self._read(f"{self.pid}/status", 1 << 16).partition(b"\nVmHWM:")
        return int(after.split(maxsplit=1)[0]) if after else 0

    def _look(self) -> tuple[int, int, int]:
        """The state of the main thread (a letter), the number of threads, resident bytes."""
        fields = self._read(f"{self.pid}/stat").rpartition(b")")[2].split()
        threads, pages = int(fields[17]), int(fields[21])
        if pages == 0:  # the main thread has ended, and only the others still show the memory
            pages = max(map(self._resident_pages, self._tasks()), default=0)
        return fields[0][0], threads, pages * _PAGE_BYTES

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
