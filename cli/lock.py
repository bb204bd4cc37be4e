"""One process at a time writes a run folder.

The lock is `flock` on a file in the folder: the kernel releases it when the process ends, however it ends, so
a lock that was left behind blocks nobody. Python closes the file in every program that a process starts (the
sandbox's servers), so none of them keeps the lock alive.

The file holds lines of JSON that are only ever added: who has the lock, and how many folders another process
made for it, which it leaves to the holder to remove.
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
from typing import Any

from cli.errors import UsageError

LOCK = "run.lock"

# What flock raises where the file system has no locks: NFS without its lock service, some of FUSE and Lustre.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

_TRIES = 1000
"""To make a folder that others remove."""

_held: set[Path] = set()
"""Folders whose lock this process has; a demo holds those of the runs inside it before they begin."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, which is made if it is not there.

    A folder that was made for it, and that nothing was written to, is removed again, by the last that had
    its lock. Where the file system has no locks this is said on stderr, and the block runs without one.

    Raises:
        UsageError: another process has the lock; the message says which. Nothing was touched.
    """
    place = folder.resolve()
    if place in _held:
        yield
        return
    if place.exists() and not place.is_dir():
        raise UsageError(f"{folder}: is a file; give another --out")
    made, descriptor = 0, None
    try:
        while descriptor is None:  # whoever had made the folder may remove it as it ends
            made = max(made, _make(place))
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
            made = max([made, *(line.get("made", 0) for line in _lines(descriptor))])
            os.close(descriptor)
        _remove(place, made)


def _make(folder: Path) -> int:
    """Make a folder; up to which one, of it and those around it, they are this process's work.

    Others may make and remove the same ones meanwhile.
    """
    made, tries = 0, 0
    around = list(enumerate((folder, *folder.parents), start=1))
    while not folder.exists():
        for level, path in reversed(around):
            try:
                path.mkdir()
                made = max(made, level)
            except FileExistsError:
                continue
            except FileNotFoundError:  # removed again, or a place where nothing can be
                tries += 1
                if tries == _TRIES:
                    raise
                break
    return made


def _remove(folder: Path, made: int) -> None:
    """Remove so many folders that were made for the lock, this one first.

    Where another process has it by now, they are left to that one.
    """
    while made:
        for path in (folder, *folder.parents)[:made]:
            with contextlib.suppress(OSError):  # there is something in it
                path.rmdir()
        try:
            descriptor = os.open(folder / LOCK, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:  # nobody has it
            return
        try:
            _add(descriptor, {"made": made})
            if _is_current(descriptor, folder / LOCK):  # its holder reads this when it has removed it
                return
        finally:
            os.close(descriptor)


def _acquire(place: Path, shown: Path) -> int | None:
    """The open lock file; None where it, or the folder, went away meanwhile.

    Raises:
        UsageError: another process has it.
    """
    try:
        descriptor = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(descriptor)
        os.close(descriptor)
        raise UsageError(f"{shown}: {holder}; wait until it ends, or stop it; nothing was touched") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            raise
        print(
            f"warning: {shown}: this file system has no locks ({os.strerror(error.errno or 0)}); "
            "see to it that no other process writes this run",
            file=sys.stderr,
        )
    if not _is_current(descriptor, place / LOCK):  # its holder removed it: the lock is another file by now
        os.close(descriptor)
        return None
    _sign(descriptor)
    return descriptor


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
    _add(descriptor, who)


def _add(descriptor: int, content: dict[str, Any]) -> None:
    os.write(descriptor, f"\n{json.dumps(content)}".encode())


def _lines(descriptor: int) -> list[dict[str, Any]]:
    """What an open lock file says; a line that a power cut left half written says nothing."""
    found = []
    for line in os.pread(descriptor, 1 << 20, 0).splitlines():
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def _holder(descriptor: int) -> str:
    """Who has the lock, as a sentence."""
    try:
        who = [line for line in _lines(descriptor) if "pid" in line][-1]
        where = "" if who["host"] == socket.gethostname() else f" on {who['host']}"
        return f"process {who['pid']}{where} writes it since {who['since']} ({who['command']})"
    except (ValueError, TypeError, LookupError):
        return "another process writes it"  # it has had the lock for too short a time to have signed
