"""One program on a worker, for its inputs in turn. Owns the memfds that all texts travel in."""

from __future__ import annotations

import errno
import fcntl
import marshal
import os
from types import CodeType, TracebackType

from sandbox.kernel.wire import Ended, Note, Reply, Request, Want
from sandbox.records import Limits, Run
from sandbox.verdict import judge
from sandbox.worker import Fault, Worker

STDERR_TAIL = 8192  # bytes
_SEALS = fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK


class Session:
    """Runs one program, under one set of limits. A context manager."""

    def __init__(
        self, worker: Worker, source: bytes, is_text: bool, limits: Limits, harness: CodeType | None = None
    ) -> None:
        self._worker = worker
        self._texts = [source] if harness is None else [source, marshal.dumps(harness)]
        self._is_text = is_text
        self._limits = limits
        self._large = False  # it names a module that only the server with the large libraries has
        self._child_waits = False

    def __enter__(self) -> Session:
        self._code = [_memfd(text) for text in self._texts]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in self._code:
            os.close(fd)

    def run(self, stdin: bytes | None, keep: bool = False) -> tuple[bool, Run]:
        """In a fresh child, on one input (None: compile only). Returns (compiled, run). Raises Fault.

        `keep`: let the child wait for another input, if it can, for `run_next`.
        """
        want = Want.COMPILE if stdin is None else Want.KEEP if keep else Want.RUN
        self._child_waits = False
        reply, run = self._ask(want, stdin or b"")
        if reply.note == Note.ELSEWHERE and want != Want.COMPILE:
            self._large = True
            reply, run = self._ask(want, stdin or b"")
        if reply.fault:
            if reply.fault == errno.ETIME:
                raise Fault(f"the machine was too busy: a run had no chance within {run.wall_seconds:.1f} s")
            raise Fault(f"the server could not start a child ({run.stderr or os.strerror(reply.fault)})")
        self._child_waits = reply.ended == Ended.WAITING
        return reply.note in (Note.COMPILED, Note.ELSEWHERE), run

    def run_next(self, stdin: bytes, keep: bool) -> Run | None:
        """In the child that waits; None if none does, or if it was lost. `keep` it again, if it can be."""
        if not self._child_waits:
            return None
        self._child_waits = False
        try:
            reply, run = self._ask(Want.NEXT if keep else Want.LAST, stdin)
        except Fault:  # nothing is known of this input: a fresh child will tell, and it has its own retry
            return None
        self._child_waits = reply.ended == Ended.WAITING
        return None if reply.fault else run

    def _ask(self, want: Want, stdin: bytes) -> tuple[Reply, Run]:
        limits = self._limits
        output_bytes = limits.output_kb * 1024
        request = Request(
            want, self._is_text, limits.cpu_seconds, limits.wall, limits.memory_mb << 20, output_bytes
        )
        stdio: list[int] = []
        try:
            for content in (stdin, None, None):
                stdio.append(_memfd(content))
            files = stdio if want in (Want.NEXT, Want.LAST) else [*stdio, *self._code]
            reply = self._worker.ask(request, files, self._large)
            given, out, err = stdio
            read_input = was_read(given)
            out_size, err_size = os.fstat(out).st_size, os.fstat(err).st_size
            stdout = os.pread(out, min(out_size, output_bytes), 0)
            stderr = os.pread(err, STDERR_TAIL, max(0, err_size - STDERR_TAIL)).decode("utf-8", "replace")
        finally:
            for fd in stdio:
                os.close(fd)
        overflow = max(out_size, err_size) > output_bytes
        return reply, judge(reply, limits, stdout, stderr, overflow=overflow, read_input=read_input)


def was_read(fd: int) -> bool:
    """Whether anybody has asked for some of a file of `_memfd`'s, though it may have been empty.

    The kernel notes the time of every access: by read(), pread(), mmap(), sendfile() and their like. A kernel
    that notes none (gVisor may) still moves the offset, which all descriptors share; there a program that
    only maps its input or reads it by position passes for one that does not read.
    """
    return os.fstat(fd).st_atime_ns != 0 or os.lseek(fd, 0, os.SEEK_CUR) != 0


def _memfd(content: bytes | None = None) -> int:
    """An anonymous file: empty and writable, or holding `content` and sealed against every change."""
    fd = os.memfd_create("sandbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        if content is not None:
            view, offset = memoryview(content), 0
            while offset < len(view):
                offset += os.pwrite(fd, view[offset:], offset)  # pwrite: the program must start reading at 0
            fcntl.fcntl(fd, *_SEALS)
            os.utime(fd, ns=(0, 0))  # for `was_read`
    except BaseException:
        os.close(fd)
        raise
    return fd
