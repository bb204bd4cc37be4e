"""The layers around a program, from the kernel's primitives. What is in force is named by `TIER`.

Covered by "base": CPU, memory and output limits; core files; the number of open files; no gain of
privileges through set-uid files; an empty environment and working directory; descriptors of the caller;
death of the child with its server, and of every process it started.

NOT covered by "base": a program may open any path that the user may, use the network, start processes, and
signal or trace other processes of the same user, the server included. Run only programs that you would run
by hand, or run inside a container. RLIMIT_NPROC does not bind user 0.

A further layer belongs here: `enter_server()` for what is applied once per server (namespaces, Landlock),
`enter_child()` for what is applied per run before the program is compiled (a system call filter).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal

from sandbox.wire import Request

TIER = "base"

# Thread stacks and malloc arenas reserve address space that they never touch: a contest idiom asks for stacks
# of 128 to 512 MB. So resident memory is what memory_mb limits; the address space gets this much on top.
ADDRESS_HEADROOM = 1 << 30
OPEN_FILES = 64
SPARE_TASKS = 1024  # RLIMIT_NPROC counts every task of the user, on the whole machine

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}): {os.strerror(error)}")


def enter_server() -> int:
    """Layers that hold for a server and all its children. Returns the RLIMIT_NPROC for `enter_child`."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # Orphans of a program (double fork, setsid) become the server's children, where it finds and kills them.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    _prefer_for_oom_kill()
    return _tasks_of_user() + SPARE_TASKS


def enter_child(request: Request, max_tasks: int, server_pid: int) -> None:
    """Layers of one run; called in the fresh child, before it reads the program. Raises OSError."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server_pid:  # the server died before the line above
        os._exit(1)
    os.setsid()
    # Whole seconds only: the server's own clock is the exact limit, this one holds if the server is stopped.
    _lower(resource.RLIMIT_CPU, int(request.cpu_seconds) + 2)
    _lower(resource.RLIMIT_AS, request.memory_bytes + ADDRESS_HEADROOM)
    # One byte more than the limit, so that an output of exactly the limit is told from one that was cut.
    _lower(resource.RLIMIT_FSIZE, request.output_bytes + 1)
    _lower(resource.RLIMIT_NPROC, max_tasks)


def _lower(kind: int, value: int) -> None:
    """Set both limits to `value`, or to the hard limit in force if that is lower (containers set some)."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _prefer_for_oom_kill() -> None:
    """If the machine runs out of memory, the trainer must not be the one that is killed."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:  # a read-only /proc: no layer of ours, only a courtesy
        pass


def _tasks_of_user() -> int:
    uid = os.getuid()
    total = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    total += len(os.listdir(f"/proc/{name}/task"))
            except OSError:  # it ended while we looked, or hidepid forbids
                continue
    return total
