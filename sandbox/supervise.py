"""The server's watch over one child: limits while it runs, then the end of it and of all it started."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator

from sandbox.wire import Killed, Request

TICK_SECONDS = 0.01  # how often limits are looked at; memory_mb can be overrun by what is touched meanwhile
MAX_STRETCH = 5.0  # on a loaded machine a run may take this many times its wall limit
ORPHAN_SECONDS = 3.0  # a program whose orphans breed faster than they are killed costs us the server
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Lost(Exception):
    """The server cannot go on: nobody wants the answer, or the program's processes cannot be ended."""


def watch(pid: int, request: Request, wanted: Callable[[], bool]) -> Killed:
    """Wait until the child ends or goes over a limit (it is then not yet killed). Raises Lost."""
    start = time.monotonic()
    clock = (~pid << 3) | 2  # the kernel's id of that process's CPU clock: all its threads, user + system
    tick = TICK_SECONDS
    while True:
        signal.sigtimedwait((signal.SIGCHLD,), tick)
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return Killed.NO
        if not wanted():
            raise Lost
        cpu_left = request.cpu_seconds - time.clock_gettime(clock)
        wall_left = start + request.wall_seconds - time.monotonic()
        if cpu_left < 0:
            return Killed.CPU
        if wall_left < 0 and wall_left + _waited_for_cpu(pid, request) < 0:
            return Killed.WALL
        if _resident_bytes(pid) > request.memory_bytes:
            return Killed.MEMORY
        tick = min(TICK_SECONDS, max(min(cpu_left, wall_left), 0.001))


def _waited_for_cpu(pid: int, request: Request) -> float:
    """Seconds the child's main thread was ready to run but others had the CPU: they are not the program's.

    Zero where the kernel does not count them, and bounded, for the caller must know when to stop waiting.
    """
    try:
        with open(f"/proc/{pid}/schedstat", "rb", buffering=0) as file:
            waited = int(file.read(200).split()[1]) / 1e9
    except FileNotFoundError:
        return 0.0
    return min(waited, (MAX_STRETCH - 1) * request.wall_seconds)


def _resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
        return int(file.read(200).split()[1]) * _PAGE_BYTES


def end(pid: int) -> tuple[int, float, int]:
    """Kill and reap the child, its group and every orphan. Returns (wait status, CPU seconds, peak KiB).

    Also after a normal end: nothing that a program started may outlive it. Raises Lost.
    """
    _kill(pid)
    try:
        os.killpg(pid, signal.SIGKILL)  # before the reaping: a zombie still owns the number of its group
    except ProcessLookupError:
        pass  # killed before it had a group
    _, status, usage = os.wait4(pid, 0)
    orphans = _end_orphans()
    return status, usage.ru_utime + usage.ru_stime + orphans, usage.ru_maxrss


def _end_orphans() -> float:
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
        for child in _children():
            _kill(child)
        signal.sigtimedwait((signal.SIGCHLD,), 0.001)


def _children() -> Iterator[int]:
    me = os.getpid()
    try:
        with open(f"/proc/self/task/{me}/children") as file:
            yield from map(int, file.read().split())
        return
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        pass
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except OSError:  # ended meanwhile
            continue
        if parent == me:
            yield int(name)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def remove_tree(top: str) -> None:
    """Remove what is at `top`: the directory of a program whose processes are all dead, so nothing races.

    Links are removed, never followed; the program may have put one in place of `top` itself, or nothing.
    Every directory found is first moved up into `top`, so that a chain of a million directories needs neither
    recursion nor long paths.
    """
    try:
        os.rmdir(top)  # nearly always: empty
        return
    except FileNotFoundError:
        return
    except NotADirectoryError:
        os.unlink(top)
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
    prefix = os.path.join(top, os.urandom(8).hex())  # no name the program could have taken
    numbers = itertools.count()
    pending, emptied = [top], list[str]()
    while pending:
        directory = pending.pop()
        os.chmod(directory, 0o700)
        for entry in list(os.scandir(directory)):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)  # moving a directory writes its ".."
            pending.append(f"{prefix}-{next(numbers)}")
            os.rename(entry.path, pending[-1])
        emptied.append(directory)
    for directory in reversed(emptied):  # top last
        os.rmdir(directory)
