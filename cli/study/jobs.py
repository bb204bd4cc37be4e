"""Steps as processes, some at the same time. A step that fails does not stop those that do not need it."""

import ctypes
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cli.signals import StopSignals
from cli.study.steps import Step

_POLL = 0.05  # seconds
_PR_SET_PDEATHSIG = 1


@dataclass
class _Running:
    """A step under way."""

    step: Step
    process: subprocess.Popen
    slot: int
    began: float


def run_steps(
    steps: Sequence[Step],
    jobs: int = 1,
    *,
    times: Path,
    logs: Path | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Do what is not done, `jobs` steps at a time, each after those that it needs.

    Args:
        steps: each after those that it needs.
        times: JSON file to which every step adds its minutes, also one that is cut off.
        logs: folder for what they print, a file for each; None: they print here.
        say: hears what begins and ends.

    Returns:
        The steps that failed, or that need one that did: name -> why.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came; the steps under way have saved and ended.
    """
    waiting = _stale(steps)
    total = len(waiting)
    failed: dict[str, str] = {}
    running: list[_Running] = []
    with _Relay(running) as relay:
        while waiting or running:
            for step in [] if relay.stopping else _ready(waiting, running, failed, jobs - len(running)):
                waiting.remove(step)
                slot = min(set(range(jobs)) - {one.slot for one in running})
                running.append(_start(step, slot, jobs, logs))
                if relay.stopping:  # it came in just now, and did not reach this one
                    relay.stop(running[-1])
                say(f"{step.name}: begun" + (f", log in {_log(logs, step)}" if logs else ""))
            for one in [one for one in running if _has_ended(one, times)]:
                running.remove(one)
                step, place = one.step, f"{total - len(waiting) - len(running)} of {total}"
                if one.process.returncode == 0 and step.done:
                    say(f"{step.name}: done in {(time.monotonic() - one.began) / 60:.1f} minutes ({place})")
                elif not relay.stopping:
                    failed[step.name] = _why(one.process.returncode, step, logs)
                    say(f"{step.name}: failed ({place}): {failed[step.name]}")
            _give_up(waiting, failed)
            if relay.stopping and not running:
                break
            time.sleep(_POLL)
    if relay.stopping and not all(step.done for step in steps):
        raise KeyboardInterrupt
    return failed


def _stale(steps: Sequence[Step]) -> list[Step]:
    """The steps to do: those not done, and those that need one of them, whose results would be of another."""
    stale: list[Step] = []
    for step in steps:
        if not step.done or {one.name for one in stale} & set(step.needs):
            step.marker.unlink(missing_ok=True)
            stale.append(step)
    return stale


def _ready(
    waiting: Sequence[Step], running: Sequence[_Running], failed: dict[str, str], free: int
) -> list[Step]:
    """Steps that may begin, in their order, at most `free`."""
    blocked = {step.name for step in waiting} | {one.step.name for one in running} | failed.keys()
    return [step for step in waiting if not blocked & set(step.needs)][: max(free, 0)]


def _give_up(waiting: list[Step], failed: dict[str, str]) -> None:
    """Steps that need one that failed fail too."""
    for step in list(waiting):
        if missing := [name for name in step.needs if name in failed]:
            failed[step.name] = f"not begun, it needs {missing[0]}"
            waiting.remove(step)


def _start(step: Step, slot: int, jobs: int, logs: Path | None) -> _Running:
    """Begin a step in a process group of its own: what a terminal sends comes to it from here, once."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if jobs > 1 else None
    cpus = _share(slot, jobs)
    command = step.command()
    output: BinaryIO | None = None
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
        output = _log(logs, step).open("ab")
        output.write(f"$ {shlex.join(command)}\n".encode())
        output.flush()
    libc = ctypes.CDLL(None)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            env=environment,
            process_group=0,
            preexec_fn=lambda: _settle(libc, cpus),
        )
    finally:
        if output is not None:
            output.close()
    return _Running(step, process, slot, time.monotonic())


def _settle(libc: ctypes.CDLL, cpus: set[int] | None) -> None:
    """In the child, before the command: a step does not outlive this process, and keeps to its cores."""
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if cpus:
        os.sched_setaffinity(0, cpus)


def _share(slot: int, jobs: int) -> set[int] | None:
    """The cores of one of several jobs: the sandbox starts a worker for each that a process may use."""
    cpus = sorted(os.sched_getaffinity(0))
    if jobs == 1:
        return None
    if jobs >= len(cpus):
        return {cpus[slot % len(cpus)]}
    return set(cpus[slot * len(cpus) // jobs : (slot + 1) * len(cpus) // jobs])


def _has_ended(one: _Running, times: Path) -> bool:
    """Whether a step has ended; then its exit status is in its process, and its minutes are added."""
    pid, status, usage = os.wait4(one.process.pid, os.WNOHANG)
    if pid == 0:
        return False
    one.process.returncode = os.waitstatus_to_exitcode(status)
    known = json.loads(times.read_text()) if times.is_file() else {}
    before = known.get(one.step.name, {"cpu_minutes": 0.0, "minutes": 0.0})
    known[one.step.name] = {
        "cpu_minutes": round(before["cpu_minutes"] + (usage.ru_utime + usage.ru_stime) / 60, 2),
        "minutes": round(before["minutes"] + (time.monotonic() - one.began) / 60, 2),
    }
    times.parent.mkdir(parents=True, exist_ok=True)
    partial = times.with_name(times.name + ".partial")
    partial.write_text(json.dumps(known, indent=1) + "\n")
    partial.replace(times)
    return True


def _log(logs: Path, step: Step) -> Path:
    return logs / f"{step.name.replace(', ', '-').replace(' ', '-')}.log"


def _why(status: int, step: Step, logs: Path | None) -> str:
    """What a step that failed said last."""
    how = f"exit status {status}" if status >= 0 else f"ended by {signal.Signals(-status).name}"
    if status == 0:
        return f"{step.marker} is missing though it ended well"
    if logs is None:
        return how
    lines = _log(logs, step).read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    return f"{how}: {last} ({_log(logs, step)})"


class _Relay(StopSignals):
    """Inside the block SIGINT and SIGTERM go on to the steps under way: the first lets them save and end, as
    each of them does by itself; the next ends them at once."""

    def __init__(self, running: list[_Running]) -> None:
        super().__init__()
        self._running = running
        self.stopping = False

    def heard(self) -> None:
        """Pass it on to all steps under way."""
        self.stopping = True
        for one in self._running:
            self.stop(one)

    def stop(self, one: _Running) -> None:
        """Pass it on to one step, unless it has ended."""
        if one.process.returncode is None:
            os.kill(one.process.pid, signal.SIGINT)
