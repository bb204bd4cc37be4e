"""One process at a time writes a run folder.

The lock is `flock` on a file in the folder: the kernel releases it when the process ends, however it ends, so
a lock that was left behind blocks nobody. Python closes the file in every program that a process starts (the
sandbox's servers), so none of them keeps the lock alive.
"""

import contextlib
import errno
import fcntl
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.errors import UsageError

LOCK = "run.lock"

# What flock raises where the file system has no locks: NFS without its lock service, some of FUSE and Lustre.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

_held: set[Path] = set()
"""Folders whose lock this process has; a demo holds those of the runs inside it before they begin."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, which is made if it is not there.

    A folder that was made for it, and that nothing was written to, is removed again. Where the file system
    has no locks this is said on stderr, and the block runs without one.

    Raises:
        UsageError: another process has the lock; the message says which. Nothing was touched.
    """
    place = folder.resolve()
    if place in _held:
        yield
        return
    if place.exists() and not place.is_dir():
        raise UsageError(f"{folder}: is a file; give another --out")
    made = _make(place)
    descriptor: int | None = None
    try:
        descriptor = _acquire(place, folder)
        _held.add(place)
        yield
    finally:
        if place in _held:
            _held.discard(place)
            # Removed while it is held: whoever waits for this very file finds out and takes the next one.
            with contextlib.suppress(OSError):
                (place / LOCK).unlink()
        if descriptor is not None:
            os.close(descriptor)
        for path in made:
            with contextlib.suppress(OSError):  # it has a run in it
                path.rmdir()


def _make(folder: Path) -> list[Path]:
    """Make a folder; those that were not there, innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _acquire(place: Path, shown: Path) -> int:
    """The open lock file. Raises UsageError where another process has it."""
    while True:
        try:
            descriptor = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:  # whoever had made the folder removed it as it ended
            place.mkdir(parents=True, exist_ok=True)
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise UsageError(
                f"{shown}: {holder}; wait until it ends, or stop it; nothing was touched"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            print(
                f"warning: {shown}: this file system has no locks ({os.strerror(error.errno or 0)}); "
                "see to it that no other process writes this run",
                file=sys.stderr,
            )
        if _is_current(descriptor, place / LOCK):
            _sign(descriptor)
            return descriptor
        os.close(descriptor)  # its holder removed it as it ended: the folder's lock is another file by now


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Write who holds the lock, for those who will ask."""
    who = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(who).encode(), 0)


def _holder(descriptor: int) -> str:
    """Who has the lock, as a sentence."""
    try:
        who = json.loads(os.pread(descriptor, 1 << 20, 0))
        where = "" if who["host"] == socket.gethostname() else f" on {who['host']}"
        return f"process {who['pid']}{where} writes it since {who['since']} ({who['command']})"
    except (ValueError, TypeError, KeyError):
        return "another process writes it"  # it has had the lock for too short a time to have signed
