"""A limit of wall-clock time on code that is not ours and may hang."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cli.errors import UsageError

GRACE_SECONDS = 10.0  # for code that does not let itself be interrupted
MAX_SECONDS = 1e6  # timers refuse infinity, and numbers near it


class TimeUp(BaseException):
    """The time is up. Not an Exception: code that catches those must not go on."""


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Raise UsageError(what) in this block after `seconds`, in the main thread.

    A signal interrupts Python code, sleeping, waiting for locks and children, and what of the library asks
    for signals (regular expressions do). Work in C that does not ask is not interrupted: after a further
    GRACE_SECONDS the process ends with the same line and exit status 2. The first signal is repeated, for
    code may catch what it raises. SIGALRM is put back afterwards; where the block uses it for itself only
    the second limit holds. Ctrl-C works throughout.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeUp

    def give_up() -> None:
        os.write(2, f"error: {what}\n".encode())
        os._exit(2)

    sys.stdout.flush()  # `give_up` leaves nothing time to
    watchdog = threading.Timer(seconds + GRACE_SECONDS, give_up)
    watchdog.daemon = True
    watchdog.start()
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
    except TimeUp:
        raise UsageError(what) from None
    finally:
        signal.signal(signal.SIGALRM, before)
        watchdog.cancel()
