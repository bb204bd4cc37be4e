"""The layers around a program that hold on every machine; together with `seccomp` they are tier "base".

Once per server (`enter_server`): no gain of privileges through set-uid files, no capabilities, no core files.
Per run (`enter_child`): death with the server, hard limits of CPU, address space, output, tasks, descriptors.
Last, before the program is even compiled (`Filter.install`): the system call filter, which carries the
guarantees. The further tiers, `landlock` and `namespaces`, only add depth: no verdict depends on them.
"""

from __future__ import annotations

import ctypes
import os
import resource
from _signal import pthread_sigmask  # type: ignore[import-not-found]  # `signal`'s own returns enums, which are slow
from collections import Counter
from os import _exit, getpid, getppid, setsid
from resource import setrlimit
from signal import SIG_SETMASK, SIGKILL

from sandbox.kernel import seccomp

# What memory_mb limits is resident memory. A limit on private memory just below it makes an allocation fail,
# as a program may expect, before the server has to kill; this much of the resident memory is mapped files.
FILE_PAGES = 16 << 20
# Thread stacks are reserved and mostly never touched: 8 MB each, and a contest idiom asks for one of 128 to
# 512 MB. A program with threads gets this much on top (`lift_private_limit`), and the address space has it
# from the start, for arenas.
HEADROOM = 4 << 30
OPEN_FILES = 64
SPARE_TASKS = 4096  # RLIMIT_NPROC counts every task of the user, on the whole machine; see MAX_THREADS

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
_SIGKILL, _SIG_SETMASK = int(SIGKILL), int(SIG_SETMASK)

libc = ctypes.CDLL(None, use_errno=True)
_prctl = libc.prctl
_prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_libc_fork = ctypes.PyDLL(None, use_errno=True).fork  # PyDLL: with the interpreter's lock held


def check(result: int, what: str) -> int:
    """The result of a call into the C library; OSError with `what` and its errno if that is -1."""
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def prctl(option: int, argument: int, more: int = 0) -> None:
    """Raises OSError."""
    check(_prctl(option, argument, more, 0, 0), "prctl")


def fork() -> int:
    """`os.fork` without the interpreter's own hooks, a quarter of a run's cost: they repair the locks of
    other threads, of which a server has none, and seed `random`, which `reuse` does. Raises OSError.
    """
    return check(_libc_fork(), "fork")


# Soft and hard limits by kind.
ChildLimits = list[tuple[int, tuple[int, int]]]


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


class Filter:
    """The system call filter, laid out once per server so that a child only fills in its own number."""

    def __init__(self) -> None:
        code, pid_at = seccomp.build()
        self._code = ctypes.create_string_buffer(code, len(code))
        self._pid = memoryview(self._code).cast("B")[pid_at : pid_at + 4]
        self._program = _FilterProgram(len(code) // seccomp.INSTRUCTION_BYTES, ctypes.addressof(self._code))
        self._address = ctypes.addressof(self._program)

    def install(self) -> None:
        """From here on it holds for this process and can never be lifted. Raises OSError."""
        self._pid[:] = getpid().to_bytes(4, "little")
        prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self._address)


def enter_server() -> None:
    """Layers that hold for a server and all its children. Raises OSError."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # With a filter no program has children. Without one (unsafe=True) its orphans must be found and killed.
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _lower(resource.RLIMIT_CORE, 0)
    _prefer_for_oom_kill()


def drop_capabilities() -> None:
    """No privilege of root's but its uid: hard limits then hold for root too. Raises OSError."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    check(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def max_tasks() -> int:
    """RLIMIT_NPROC for programs: what any one user runs now, and a margin. It does not bind uid 0."""
    return max(_tasks_by_user().values()) + SPARE_TASKS


def enter_child(limits: ChildLimits, server_pid: int) -> None:
    """Layers of one run; called in the fresh child, before it reads the program. Raises OSError."""
    pthread_sigmask(_SIG_SETMASK, ())
    prctl(PR_SET_PDEATHSIG, _SIGKILL)
    if getppid() != server_pid:  # the server died before the line above
        _exit(1)
    setsid()
    for kind, soft_and_hard in limits:
        setrlimit(kind, soft_and_hard)


def child_limits(max_tasks: int, cpu_seconds: float, memory_bytes: int, output_bytes: int) -> ChildLimits:
    """Limits of a run, kind -> (soft, hard); lower where the server's own are (containers set some)."""
    limits = (
        # Whole seconds only: the server's own clock is the exact limit, this one holds if the server is
        # stopped.
        (resource.RLIMIT_CPU, int(cpu_seconds) + 2),
        (resource.RLIMIT_AS, memory_bytes + HEADROOM),
        # One byte more than the limit, so that an output of exactly the limit is told from one that was cut.
        (resource.RLIMIT_FSIZE, output_bytes + 1),
        (resource.RLIMIT_NPROC, max_tasks),
        # Not the server's too: it also bounds the descriptors that all the user's processes have under way
        # through sockets, and a server hands some to its child.
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    )
    hard = [(kind, _at_most_hard(kind, value)) for kind, value in limits]
    most = _at_most_hard(resource.RLIMIT_DATA, memory_bytes + HEADROOM)
    private = min(most, memory_bytes - FILE_PAGES)
    return [(resource.RLIMIT_DATA, (private, most)), *((kind, (value, value)) for kind, value in hard)]


def lift_private_limit() -> None:
    """Let large stacks be reserved, or an error be printed: from now on only the server's look at resident
    memory limits the process, and `HEADROOM`."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _lower(kind: int, value: int) -> None:
    value = _at_most_hard(kind, value)
    resource.setrlimit(kind, (value, value))


def _at_most_hard(kind: int, value: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def _prefer_for_oom_kill() -> None:
    """If the machine runs out of memory, the trainer must not be the one that is killed."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:  # a read-only /proc: no layer of ours, only a courtesy
        pass


def _tasks_by_user() -> Counter[int]:
    tasks = Counter({os.getuid(): 1})
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            tasks[os.stat(f"/proc/{name}").st_uid] += len(os.listdir(f"/proc/{name}/task"))
        except OSError:  # it ended while we looked, or hidepid forbids
            continue
    return tasks
