"""From what the kernel said to a `Status`: a pure function, so that it can be tested alone."""

from __future__ import annotations

import os
import signal

from sandbox.kernel.wire import Ended, Reply
from sandbox.records import Limits, Run, Status


def judge(
    reply: Reply, limits: Limits, stdout: bytes, stderr: str, *, overflow: bool, read_input: bool
) -> Run:
    """The run record for a reply. `overflow`: stdout or stderr went beyond the output limit."""
    code = os.waitstatus_to_exitcode(reply.wait_status)
    return Run(
        status=_status(reply, limits, code, stderr, overflow),
        stdout=stdout,
        stderr=stderr,
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        cpu_seconds=reply.cpu_seconds,
        wall_seconds=reply.wall_seconds,
        slept_seconds=reply.slept_seconds,
        max_rss_kb=reply.max_rss_kb,
        read_input=read_input,
    )


def _status(reply: Reply, limits: Limits, code: int, stderr: str, overflow: bool) -> Status:
    """CPU and memory are read from the final accounts as well as from the kill: whether the server's clock or
    the program's own end came first must not change the verdict."""
    if code == -signal.SIGSYS:
        return Status.DENIED
    if (
        reply.ended in (Ended.CPU, Ended.WALL)
        or reply.cpu_seconds > limits.cpu_seconds
        or code == -signal.SIGXCPU
    ):
        return Status.TIMEOUT
    if reply.ended == Ended.BUSY:
        return Status.FAULT
    if (
        reply.ended == Ended.MEMORY
        or reply.max_rss_kb > limits.memory_mb * 1024
        or (code != 0 and _names_memory_error(stderr))
    ):
        return Status.MEMORY
    if overflow or code == -signal.SIGXFSZ:
        return Status.OUTPUT
    return Status.OK if code == 0 and reply.ended != Ended.THREADS else Status.CRASH


def overstay(run: Run, limits: Limits) -> float:
    """How much a run has cost of what a time limit allows without having worked for it: all, 1, if it is over
    one, else the part of the time it may compute for which it slept."""
    return 1.0 if run.status is Status.TIMEOUT else min(1.0, run.slept_seconds / limits.cpu_seconds)


def _names_memory_error(stderr: str) -> bool:
    """A refused allocation leaves no other trace. A program that prints this itself only harms itself."""
    lines = stderr.rstrip().splitlines()
    return bool(lines) and lines[-1].split(":")[0].endswith("MemoryError")


def compile_failure(run: Run, limits: Limits) -> str:
    """Why a child that never got past compile() ended, as one line."""
    if run.status is Status.TIMEOUT:
        return f"compile: over the limit of {limits.cpu_seconds:g} s CPU, {limits.wall:g} s wall"
    if run.status is Status.MEMORY:
        return f"compile: over the memory limit of {limits.memory_mb} MB"
    if run.signal is not None:
        return f"compile: the interpreter was killed by signal {run.signal}"
    return run.stderr.strip() or f"compile: exit status {run.exit_code}"
