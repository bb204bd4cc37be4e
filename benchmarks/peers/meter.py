"""Clock and memory of one process by phase, and its turn among others on the same core.

Standard library only: this project and the trainers beside it are measured by the same lines.
"""

import platform
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

READY, GO = "meter: ready", "meter: go"
"""What a process says before each step, and what it is answered when its turn has come."""

GIB = 2**20
"""KiB, in which the kernel counts, in a GiB"""


class Meter:
    """Charges the time since the last mark to a phase, and the peak of memory since then.

    CPU seconds are those of the whole process, all threads. The peak is the kernel's own high-water mark of
    what is resident, set back at each mark; so it sees what lives for a millisecond.
    """

    def __init__(self, *, in_turn: bool) -> None:
        """To be made when everything is imported and no model is there: memory is counted from here on.

        `in_turn`: wait before each step until the process that started this one says so.
        """
        self.in_turn = in_turn
        self.steps: list[dict[str, tuple[float, float]]] = []
        """of each complete step (CPU, wall) seconds by phase"""
        self.peaks: dict[str, float] = {}
        """GiB by phase, the highest of all steps"""
        self.heights: list[float] = []
        """GiB, the highest of each step: one that grows from step to step says that memory is lost"""
        _forget_peak()
        self.imports = _memory("VmRSS")
        self._step: dict[str, tuple[float, float]] = {}
        self._height = 0.0
        self._last = _now()

    def begin(self) -> None:
        """A step begins, once it is this process's turn; what came before the first was "setup"."""
        if not self.steps:
            self.mark("setup")
        if self.in_turn:
            print(READY, flush=True)
            if sys.stdin.readline().strip() != GO:
                raise SystemExit("nobody takes turns with this process any more")
        _forget_peak()
        self._step, self._height, self._last = {}, 0.0, _now()

    def mark(self, phase: str) -> None:
        """What was done since the last mark was `phase`."""
        now, (cpu, wall) = _now(), self._step.get(phase, (0.0, 0.0))
        self._step[phase] = (cpu + now[0] - self._last[0], wall + now[1] - self._last[1])
        peak = _memory("VmHWM")
        self.peaks[phase] = max(self.peaks.get(phase, 0.0), peak)
        self._height = max(self._height, peak)
        _forget_peak()
        self._last = now

    def end(self) -> None:
        """The step is complete."""
        self.steps.append(self._step)
        self.heights.append(self._height)
        self._step = {}

    def report(self, generated: int) -> dict[str, Any]:
        """Medians over the steps, without the first where there are more. `generated`: tokens of a step."""
        steps = self.steps[1:] or self.steps
        phases = list(dict.fromkeys(phase for step in steps for phase in step))
        found: dict[str, Any] = {}
        for place, clock in enumerate(("cpu", "wall")):
            totals = [sum(spent[place] for spent in step.values()) for step in steps]
            found[f"{clock}.total"] = round(statistics.median(totals), 3)
            for phase in phases:
                spent = [step.get(phase, (0.0, 0.0))[place] for step in steps]
                found[f"{clock}.{phase}"] = round(statistics.median(spent), 3)
            found[f"{clock}.steps"] = [round(total, 3) for total in totals]
        found["tokens_per_second"] = round(generated / max(found["cpu.rollout"], 1e-9), 1)
        found["rss.imports"] = round(self.imports, 3)
        found["rss.peak"] = round(max(self.peaks.values()), 3)
        found["rss.above_imports"] = round(max(self.peaks.values()) - self.imports, 3)
        found["rss.steps"] = [round(height, 3) for height in self.heights]
        return found | {f"rss.{phase}": round(peak, 3) for phase, peak in self.peaks.items()}


def machine() -> dict[str, str]:
    """Processor, kernel and Python."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu_model": names[0] if names else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _now() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, time.perf_counter()


def _memory(name: str) -> float:
    """A figure of /proc/self/status in GiB: VmRSS now, VmHWM at most."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / GIB
    raise RuntimeError(f"this kernel does not count {name}")


def _forget_peak() -> None:
    """The high-water mark becomes what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
