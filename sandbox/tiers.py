"""Which layers there are, and what a set of them is called.

base     on every machine: hard limits, no capabilities, and the filter, which carries the guarantees
full     and Landlock, and namespaces with an empty root
base+…   and one of the two
unsafe   without the filter: only where it cannot be had, and only if the caller insists
"""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Iterator

from sandbox.kernel import landlock
from sandbox.kernel.lockdown import OPEN_FILES
from sandbox.records import SandboxError

FILTER = "seccomp"
DEPTH = ("landlock", "namespaces")
UNSAFE = frozenset({"none"})

ISOLATIONS = ("auto", "full", "base")


def name(layers: frozenset[str]) -> str:
    """The tier of a set of layers."""
    if FILTER not in layers:
        return "unsafe"
    depth = [layer for layer in DEPTH if layer in layers]
    return "full" if len(depth) == len(DEPTH) else "+".join(["base", *depth])


def candidates(isolation: str, unsafe: bool) -> Iterator[frozenset[str]]:
    """The sets of layers to try, the strongest first. Raises SandboxError where none can be.

    That Landlock is there can be asked; whether namespaces are allowed only trying tells.
    """
    if not sys.platform.startswith("linux"):
        raise SandboxError("the sandbox needs Linux (or WSL2): run this in a container")
    if isolation not in ISOLATIONS:
        raise SandboxError(f'isolation={isolation!r}: give "auto", "base" or "full"')
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most < OPEN_FILES:
        raise SandboxError(f"this process may open {most} files: allow {OPEN_FILES} or more (ulimit -n)")
    if unsafe:
        if isolation == "full":
            raise SandboxError('isolation="full" with unsafe=True contradict each other: leave one out')
        return iter([UNSAFE])
    if platform.machine() not in ("x86_64", "AMD64") or sys.maxsize < 1 << 32:
        raise SandboxError(
            f"the system call filter is written for x86_64, this is {platform.machine()}: "
            "use an x86_64 machine, or give unsafe=True to run programs unprotected"
        )
    base = frozenset({FILTER})
    lock = base | {"landlock"} if landlock.abi() else base
    if isolation == "base":
        return iter([base])
    if isolation == "full":
        if "landlock" not in lock:
            raise SandboxError('isolation="full": this kernel has no Landlock (5.13 or later): give "auto"')
        return iter([lock | {"namespaces"}])
    return iter([lock | {"namespaces"}, lock])
