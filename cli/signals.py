"""Ctrl-C and SIGTERM during long work: finish the step, save, then stop."""

import os
import signal
from abc import ABC, abstractmethod
from types import FrameType, TracebackType
from typing import Self

STOPPING = "stopping after this {}, with a checkpoint; once more: at once\n"


class StopSignals(ABC):
    """Inside the block SIGINT and SIGTERM come to `heard`; behind it they are what they were."""

    def __init__(self) -> None:
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.heard()

    @abstractmethod
    def heard(self) -> None:
        """One of them came, at any line of the program."""


class StopRequest(StopSignals):
    """Inside the block the first SIGINT or SIGTERM makes calls return True; the second interrupts at once.

    A batch system that preempts a job sends SIGTERM and, some time later, SIGKILL: time enough for the
    iteration or step under way to be finished and saved.
    """

    def __init__(self, unit: str = "iteration", *, quiet: bool = False) -> None:
        """`unit`: what is finished first, for the message. `quiet`: another process gives it."""
        super().__init__()
        self._said = b"" if quiet else STOPPING.format(unit).encode()
        self.requested = False

    def __call__(self) -> bool:
        return self.requested

    def heard(self) -> None:
        """Note the first; interrupt at the second."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        os.write(2, self._said)  # print may be what the signal came into
