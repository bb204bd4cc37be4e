"""Namespaces, where the kernel allows them: the server sees no process, network or file but its own.

Applied once per server, so they cost a run nothing. Root first becomes nobody; from there on root and user
take the same way: new user, pid, network, IPC, UTS, cgroup and mount namespaces and, as root directory, an
empty file system that cannot be written. Often refused: in containers with default profiles, on
distributions that restrict user namespaces.
"""

from __future__ import annotations

import os
import signal
from typing import NoReturn

from sandbox.kernel.lockdown import PR_SET_DUMPABLE, PR_SET_PDEATHSIG, check, libc, prctl

NOBODY = 65534
GUARD_SECONDS = 1.0  # how often the guard asks whether the caller lives

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_ALL = _NEWNS | _NEWCGROUP | _NEWUTS | _NEWIPC | _NEWUSER | _NEWPID | _NEWNET

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_REC, _MS_PRIVATE = 1 << 14, 1 << 18
_HARMLESS = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
_MNT_DETACH = 2
_PIVOT_ROOT = 155
_NEW_ROOT = b"/tmp"  # any directory: covered by the new root, in this namespace only


def enter(parent: int) -> int:
    """Go on in a new process, number 1 of its namespaces, and return a descriptor of its /proc there.

    The calling process stays behind as guard: it ends when that process does, and ends it when `parent`,
    its own parent, is gone. Raises OSError, in the calling process or in the new one, where the kernel
    refuses.
    """
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        prctl(PR_SET_DUMPABLE, 1)  # cleared by the line above; without it the maps below belong to root
    uid, gid = os.getuid(), os.getgid()
    check(libc.unshare(_ALL), "unshare")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{NOBODY} {uid} 1")
    _write("/proc/self/gid_map", f"{NOBODY} {gid} 1")
    inner = os.fork()
    if inner:
        _guard(inner, parent)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return _empty_root()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _guard(inner: int, parent: int) -> NoReturn:
    os.closerange(0, os.sysconf("SC_OPEN_MAX"))
    while os.waitid(os.P_PID, inner, os.WEXITED | os.WNOHANG) is None:
        if os.getppid() != parent:
            os.kill(inner, signal.SIGKILL)
        signal.sigtimedwait((signal.SIGCHLD,), GUARD_SECONDS)
    os._exit(0)


def _mount(kind: bytes | None, target: bytes, flags: int, options: bytes | None = None) -> None:
    check(libc.mount(kind, target, kind, flags, options), f"mount {(kind or target).decode()}")


def _empty_root() -> int:
    _mount(None, b"/", _MS_REC | _MS_PRIVATE)
    _mount(b"tmpfs", _NEW_ROOT, _HARMLESS, b"size=16k,mode=755")
    os.chdir(_NEW_ROOT)
    os.mkdir("proc")
    _mount(b"proc", b"proc", _HARMLESS)
    proc = os.open("proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    check(libc.syscall(_PIVOT_ROOT, b".", b"."), "pivot_root")
    check(libc.umount2(b".", _MNT_DETACH), "umount of the old root")  # it lies on top of the new one
    os.chdir("/")
    check(libc.umount2(b"proc", _MNT_DETACH), "umount proc")  # the descriptor keeps it, and nothing else does
    os.rmdir("proc")
    _mount(None, b"/", _MS_REMOUNT | _MS_RDONLY | _HARMLESS)
    return proc
