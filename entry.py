"""What an entry point does first: train.py, evaluate.py, and the modules that are run by `python -m`.

Importing torch takes seconds. Ctrl-C in them ends at once and without a traceback, and no output fails
because the terminal, or the file behind a pipe, cannot write some sign. The standard library only: every room
may import it, as it imports none.
"""

import codecs
import io
import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130

# Signs that programs and tables of this project use, where only ASCII can be written.
_PLAIN = {"≥": ">=", "≤": "<=", "…": "...", "–": "-", "−": "-", "→": "->", "·": "*", "×": "x"}


def prepare() -> None:
    """Make this process safe to interrupt, and its output safe to write."""
    quit_when_told()
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")


def quit_when_told() -> None:
    """From now on SIGINT and SIGTERM end the process at once: for times in which there is nothing to save.

    Not by an exception: in the middle of an import it could come out as anything.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _quit)


def _quit(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: what cannot be encoded, in signs that every encoding has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    shown = "".join(_PLAIN.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in bad)
    return shown, error.end
