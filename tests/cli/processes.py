"""Commands in processes of their own, forked from one that has imported everything: seconds less for each."""

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from forks import FORKS

import train


def run_command(arguments: list[str], log: Path) -> None:
    """What the process does: `train.py ARGUMENTS`, all that it says in `log`."""
    with log.open("wb") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv = ["train.py", *arguments]
    sys.exit(train.main(arguments))


def start(log: Path, *arguments: object) -> BaseProcess:
    """A command that has begun, or will in a moment; `log` is its own."""
    log.unlink(missing_ok=True)
    return start_call(run_command, [str(argument) for argument in arguments], log)


def start_call(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A function of a module of the tests that has begun."""
    process = FORKS.Process(target=function, args=arguments)
    process.start()
    return process


def wait_until(condition: Callable[[], bool]) -> None:
    """Until it holds; a minute is there only to end a test that fails."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it has not come to pass"
        time.sleep(0.005)


def wait_for(process: BaseProcess, log: Path, pattern: str) -> None:
    """Until what a process says has a line that begins with the pattern."""
    while not re.search(rf"^{pattern}", said := log.read_text() if log.exists() else "", re.MULTILINE):
        assert process.is_alive(), said
        time.sleep(0.005)


@contextlib.contextmanager
def stopped(process: BaseProcess) -> Iterator[None]:
    """The process lives, and does nothing."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        while _states(process.pid) != {"T"}:
            time.sleep(0.005)
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def _states(pid: int) -> set[str]:
    """Of all threads of a process, as /proc has them: T is stopped."""
    stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return {stat.rpartition(")")[2].split()[0] for stat in stats}


def killed(process: BaseProcess) -> None:
    """End it as a power cut would."""
    process.kill()
    process.join()
