"""Short limits, and a look at the process table."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sandbox import Limits

# Little of all but time: what is to meet another limit gets there on the slowest machine, where the pages of
# 128 MB alone have cost 0.3 s. SHORT is for what is to run out of time.
SMALL = Limits(cpu_seconds=10.0, wall_seconds=60.0, memory_mb=128, output_kb=16, source_kb=16)
SHORT = replace(SMALL, cpu_seconds=0.3, wall_seconds=5.0)


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def descendants(pid: int) -> set[int]:
    """Every process below `pid`, zombies included."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found: set[int] = set()
    level = {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level} - found
        found |= level
    return found


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait for what must come true; the time is only there to end a test that fails."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()
