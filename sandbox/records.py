"""The words of the sandbox: limits in, reports out. Plain frozen records, no behaviour beyond checks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

MIN_MEMORY_MB = 64  # the interpreter with its preloaded modules holds about 25 MB before a program starts


class SandboxError(RuntimeError):
    """The sandbox cannot do what was asked; the message is one line and says what to do about it."""


class Status(Enum):
    """How one run ended. The first cause in the order TIMEOUT, MEMORY, OUTPUT, CRASH is the one reported."""

    OK = "ok"  # exit status 0 within every limit; says nothing about the output being right
    CRASH = "crash"  # non-zero exit status, ended by a signal, or more than 512 threads
    TIMEOUT = "timeout"  # CPU limit, or the wall-clock backstop
    MEMORY = "memory"
    OUTPUT = "output"  # more than output_kb on stdout or on stderr
    DENIED = "denied"  # killed for a forbidden system call
    SKIPPED = "skipped"  # not run: earlier inputs have used up the time that the program was given
    FAULT = "fault"  # ours, never the program's: nothing is known about the program


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run of a program may use. Raises ValueError for values that cannot work."""

    cpu_seconds: float = 2.0
    """CPU seconds, user + system, compilation included. Decides TIMEOUT, so load changes no verdict."""
    wall_seconds: float | None = None
    """Wall-clock seconds, for programs that sleep or wait; what the machine holds a program up, a busy CPU
    say, is not counted. None: 3 * cpu_seconds + 1."""
    memory_mb: int = 512
    """Peak resident memory, MiB, about 25 of which are the interpreter's own. At least 64."""
    output_kb: int = 256
    """KiB a program may write to stdout, to stderr and to any one file, each."""
    source_kb: int = 64
    """KiB of program text; a longer one is reported as not compiling."""

    def __post_init__(self) -> None:
        _positive("cpu_seconds", self.cpu_seconds)
        if self.wall_seconds is not None:
            _positive("wall_seconds", self.wall_seconds)
        _positive("output_kb", self.output_kb)
        _positive("source_kb", self.source_kb)
        if self.memory_mb < MIN_MEMORY_MB:
            raise ValueError(
                f"memory_mb={self.memory_mb}: too little to start in, give {MIN_MEMORY_MB} or more"
            )

    @property
    def wall(self) -> float:
        """The wall-clock limit in force, seconds."""
        return 3 * self.cpu_seconds + 1 if self.wall_seconds is None else self.wall_seconds


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}={value!r}: give a positive, finite number")


@dataclass(frozen=True, slots=True)
class Run:
    """One program on one input."""

    status: Status
    stdout: bytes = b""  # at most output_kb
    stderr: str = ""  # the tail, enough for the last traceback
    exit_code: int | None = None  # None when a signal ended it
    signal: int | None = None
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    max_rss_kb: int = 0
    read_input: bool = False  # asked for some of its standard input, whatever way: `session.was_read`
    slept_seconds: float = 0.0  # neither computing nor held up by the machine; below 0.1 told as 0


@dataclass(frozen=True, slots=True)
class Report:
    """One program on all its inputs."""

    compiles: bool  # `compile()` returned, within limits
    error: str | None  # why it does not compile, or what went wrong on our side (then runs hold FAULT)
    runs: tuple[Run, ...]  # one per input, in order; empty when the program does not compile
    tier: str = ""  # the layers that were in force: `tiers`
