"""What an entry point does first: train.py, evaluate.py, and the modules that are run by `python -m`.

Importing torch takes seconds. Ctrl-C in them ends at once and without a traceback, and no output fails
because the terminal, or the file behind a pipe, cannot write some sign. The standard library only: every room
may import it, as it imports none.
"""

import codecs
import importlib.util
import io
import os
import signal
import sys
from pathlib import Path
from types import FrameType

INTERRUPTED = 130
ROOMS = ("cli", "data", "evaluation", "models", "ppo", "report", "reward", "sandbox")
_HERE = Path(__file__).resolve().parent

# Signs that programs and tables of this project use, where only ASCII can be written.
_PLAIN = {"≥": ">=", "≤": "<=", "…": "...", "–": "-", "−": "-", "→": "->", "·": "*", "×": "x"}


def prepare() -> None:
    """Make this process safe to interrupt, and its output safe to write."""
    quit_when_told()
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")


def check_rooms(*names: str) -> None:
    """That packages of this project, all by default, are what their names import here: `data` and `models`
    are names that others use, too.

    Raises:
        ImportError: another stands before one of them, in one line that says where and what to do.
    """
    for name in names or ROOMS:
        spec = importlib.util.find_spec(name)
        places = [] if spec is None else [*(spec.submodule_search_locations or []), spec.origin or ""]
        if _HERE / name not in [Path(place).resolve() for place in places]:
            found = places[0] if places else "nowhere"
            raise ImportError(
                f"coderl-ppo has a package {name!r} in {_HERE}, but here that name is {found}: "
                "rename that one, or start Python where it is not on the path"
            )


def missing_package(error: ImportError) -> int:
    """Say in one line what cannot be imported; the exit status of an error that the user can mend."""
    name = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and name not in ROOMS:
        said = f"{name} is not installed: pip install 'coderl-ppo[train]', or make in the project's folder"
    else:
        said = str(error)
    print(f"error: {said}", file=sys.stderr)
    return 2


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
