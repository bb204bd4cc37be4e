"""What this machine has: processors, memory and disk as this process may use them, and the GPU."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import torch

GIB = 1 << 30


class Gpu(NamedTuple):
    """The first CUDA device, as torch sees it."""

    name: str
    memory: int
    """Bytes, all of them"""
    capability: tuple[int, int]


def gpu() -> Gpu | None:
    """None where torch sees none."""
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    return Gpu(properties.name, properties.total_memory, (properties.major, properties.minor))


def cores(root: Path = Path("/")) -> float:
    """Processors this process may use: those it is bound to, or less where a container has a quota.

    `root`: where /proc and /sys are.
    """
    bound = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    quotas = [text.split() for text in _limits(root, "", "cpu.max")]
    periods = _limits(root, "cpu", "cpu.cfs_period_us")
    quotas += [
        [quota, period]
        for quota, period in zip(_limits(root, "cpu", "cpu.cfs_quota_us"), periods, strict=False)
    ]
    # "max", or -1: no limit.
    return min([bound, *(int(q) / int(p) for q, p in quotas if q.isdecimal() and p.isdecimal())])


def memory(root: Path = Path("/")) -> int:
    """Bytes this process may use: the machine's, or less where a container has a limit."""
    everything = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = _limits(root, "", "memory.max") + _limits(root, "memory", "memory.limit_in_bytes")
    return min([everything, *(int(limit) for limit in limits if limit.isdecimal())])


def disk_free(path: Path) -> int:
    """Bytes free where `path` is, or will be."""
    while not path.exists():
        path = path.absolute().parent
    return shutil.disk_usage(path).free


def _limits(root: Path, controller: str, name: str) -> list[str]:
    """What a file says in the control group of this process and in those above it.

    `controller`: "" for cgroups of version 2, which have one tree for all.
    """
    found = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controller in controllers.split(","):
            base = root / "sys/fs/cgroup" / controller
            within = base / group.lstrip("/")
            # In a container the tree may begin at its own group, whatever name that has outside.
            folders = [folder for folder in (within, *within.parents) if folder.is_relative_to(base)]
            found += [text for folder in folders if (text := _read(folder / name))]
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
