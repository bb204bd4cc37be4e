"""Errors a user can cause, told in one line."""

import signal
import sys
from collections.abc import Callable
from types import FrameType

from data import DataError
from entry import INTERRUPTED, quit_when_told
from models.errors import ModelError, out_of_memory
from ppo.errors import TrainingError
from report import ReportError
from reward import RewardError
from sandbox import SandboxError


class UsageError(ValueError):
    """A flag, a preset or a folder cannot be used as it is."""


# An OSError is the user's too: a full disk, a folder without write permission.
USER_ERRORS = (
    UsageError,
    DataError,
    ModelError,
    TrainingError,
    RewardError,
    SandboxError,
    ReportError,
    OSError,
)


LOWER = {
    "sft": "micro_batch_size or max_tokens, or set gradient_checkpointing",
    "rollout": "rollout_batch or max_new_tokens",
    "scoring": "micro_batch_size",
    "update": "micro_batch_size or max_new_tokens, or set gradient_checkpointing",
    "evaluation": "batch_size or max_new_tokens",
}
"""What takes less memory in a phase: settings to lower."""


_said_by_another: list[Callable[[], bool]] = []


def leave_the_word(said: Callable[[], bool]) -> None:
    """Where `said` is True in the end, another process says what this one would."""
    _said_by_another.append(said)


def run_command(command: Callable[[], None], lower: str = "") -> int:
    """Run a command to its exit status: 0; 2 after an error, told in one line; 130 if interrupted.

    SIGTERM is taken as Ctrl-C is, so that a batch system's stop leaves a usable checkpoint too. Anything
    that is not the user's to mend keeps its traceback.

    `lower`: the settings with which the command takes less memory, for when there is too little.
    """
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _interrupt)
        command()
    except USER_ERRORS as error:
        _say(f"error: {one_line(error)}")
        return 2
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        advice = f": lower {lower}; train.py plan says what takes how much" if lower else ""
        _say(f"error: out of memory{advice}")
        return 2
    except KeyboardInterrupt as interrupt:
        quit_when_told()  # once more: at once
        _say(f"interrupted{_told(interrupt)}")
        return INTERRUPTED
    return 0


def _say(text: str) -> None:
    if not any(said() for said in _said_by_another):
        print(text, file=sys.stderr)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror.lower()}"
    return " ".join(str(error).split())


def _told(interrupt: KeyboardInterrupt) -> str:
    return f"; {interrupt.args[0]}" if interrupt.args else ""
