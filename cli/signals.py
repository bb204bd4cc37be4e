"""Ctrl-C and SIGTERM during long work: finish the step, save, then stop."""

import os
import signal
from types import FrameType, TracebackType

STOPPING = "stopping after this {}, with a checkpoint; once more: at once\n"


class StopRequest:
    """Inside the block the first SIGINT or SIGTERM makes calls return True; the second interrupts at once.

    A batch system that preempts a job sends SIGTERM and, some time later, SIGKILL: time enough for the
    iteration or step under way to be finished and saved.
    """

    def __init__(self, unit: str = "iteration", *, quiet: bool = False) -> None:
        """`unit`: what is finished first, for the message. `quiet`: another process gives it."""
        self._said = b"" if quiet else STOPPING.format(unit).encode()
        self.requested = False
        self._before: dict[int, object] = {}

    def __call__(self) -> bool:
        return self.requested

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        os.write(2, self._said)  # print may be what the signal came into
