"""`Sandbox`: a pool of server processes behind two calls, `run` and `map`.

Every input is run in a child of its own. Reusing a child for the next input would cost a fifth, but what
one run leaves behind (a recursion limit, a decimal context, a closed stdin) would then change the next
run's verdict, and no rule can tell which passes came of that; so `accept` is called and its answer changes
nothing.
"""

from __future__ import annotations

import os
import queue
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from sandbox.lockdown import TIER
from sandbox.records import Limits, Report, Run, SandboxError, Status
from sandbox.verdict import compile_failure
from sandbox.worker import Fault, Worker

Text = str | bytes
Accept = Callable[[int, Run], bool]
Job = tuple[Text, Sequence[Text]] | tuple[Text, Sequence[Text], Accept | None]

MAX_INPUT_MB = 64
_TRIES = 2
_DEFAULT_LIMITS = Limits()


class Sandbox:
    """Runs programs under `limits`. Use as a context manager; safe to use from several threads.

    `workers` is the number of programs that run at the same time (None: the CPUs this process may use).
    `isolation`: "auto" (the strongest there is), "base", or "full". What is in force is in `tier`.
    Raises SandboxError where the sandbox cannot work as asked; never starts with less than was asked for.
    """

    def __init__(
        self, limits: Limits = _DEFAULT_LIMITS, workers: int | None = None, isolation: str = "auto"
    ) -> None:
        self.limits = limits
        _check_platform(isolation)
        count = len(os.sched_getaffinity(0)) if workers is None else workers
        if count < 1:
            raise SandboxError(f"workers={workers}: give 1 or more, or None for one per CPU")
        self._owner = os.getpid()
        self._closed = False
        self._workers = [Worker(self.limits) for _ in range(count)]
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="sandbox")
        try:
            for worker in self._workers:  # all at once: most of a start is imports
                worker.start()
            for worker in self._workers:
                worker.wait_ready()
                self._idle.put(worker)
        except BaseException as error:
            self.close()
            if isinstance(error, (Fault, OSError)):
                raise SandboxError(f"no server process could be started: {error}") from error
            raise

    @property
    def tier(self) -> str:
        """The layers in force; `lockdown.py` says what each covers."""
        return self._workers[0].tier or TIER

    def run(self, program: Text, inputs: Sequence[Text], *, accept: Accept | None = None) -> Report:
        """Compile `program`, run it once per input. str is UTF-8; a str's encoding cookie is not honoured.

        `accept(i, run)` is called here, in the caller's process, once per input in order; see above.
        Raises ValueError for arguments of a wrong kind, SandboxError after close().
        """
        source, texts = _checked(program, inputs)
        return self._run(source, isinstance(program, str), texts, accept)

    def map(self, jobs: Iterable[Job]) -> list[Report]:
        """`run` for each `(program, inputs)` or `(program, inputs, accept)`, in parallel; reports in order.

        `accept` functions are called from the pool's threads. Raises as `run`, before anything has run.
        """
        checked = []
        for program, inputs, *rest in jobs:
            source, texts = _checked(program, inputs)
            checked.append((source, isinstance(program, str), texts, rest[0] if rest else None))
        self._check_open()
        futures: list[Future[Report]] = [self._threads.submit(self._run, *job) for job in checked]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def _run(self, source: bytes, is_text: bool, inputs: list[bytes], accept: Accept | None) -> Report:
        limit = self.limits.source_kb * 1024
        if len(source) > limit:
            return Report(False, f"the program has {len(source)} bytes, the limit is {limit}", ())
        self._check_open()
        worker = self._idle.get()
        try:
            return self._run_on(worker, source, is_text, inputs, accept)
        finally:
            self._idle.put(worker)

    def _run_on(
        self, worker: Worker, source: bytes, is_text: bool, inputs: list[bytes], accept: Accept | None
    ) -> Report:
        runs: list[Run] = []
        wanted: list[bytes | None] = [*inputs] or [None]  # None: compile only
        for stdin in wanted:
            try:
                compiled, run = self._try(worker, source, is_text, stdin)
            except Fault as fault:
                if not inputs:
                    raise SandboxError(f"{fault}: run it again") from fault
                # What takes the server down twice would do so again: the rest is not tried.
                runs += [Run(Status.FAULT)] * (len(inputs) - len(runs))
                return Report(True, f"fault of the sandbox: {fault}", tuple(runs))
            if not compiled and not runs:
                return Report(False, compile_failure(run, self.limits), ())
            if stdin is not None:
                runs.append(run)
                if accept is not None:
                    accept(len(runs) - 1, run)
        return Report(True, None, tuple(runs))

    def _try(self, worker: Worker, source: bytes, is_text: bool, stdin: bytes | None) -> tuple[bool, Run]:
        for attempt in range(1, _TRIES + 1):
            self._check_open()
            try:
                return worker.run(source, is_text, stdin)
            except Fault:
                if attempt == _TRIES:
                    raise
        raise AssertionError("unreachable")

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxError("the sandbox is closed: make a new one")
        if os.getpid() != self._owner:
            raise SandboxError("this sandbox belongs to the process that made it: make one after the fork")

    def close(self) -> None:
        """End every server and every program under way. Idempotent; does nothing in a fork of the caller."""
        if os.getpid() != self._owner:
            return
        self._closed = True
        for worker in self._workers:
            worker.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_platform(isolation: str) -> None:
    if not sys.platform.startswith("linux"):
        raise SandboxError("the sandbox needs Linux (or WSL2): run this in a container")
    if isolation == "full":
        raise SandboxError(
            'isolation="full" does not exist in this version: use "auto" or "base", in a container'
        )
    if isolation not in ("auto", "base"):
        raise SandboxError(f'isolation={isolation!r}: give "auto", "base" or "full"')


def _checked(program: Text, inputs: Sequence[Text]) -> tuple[bytes, list[bytes]]:
    if not isinstance(program, (str, bytes)):
        raise ValueError(f"the program is a {type(program).__name__}: give str or bytes")
    if isinstance(inputs, (str, bytes)):
        raise ValueError("inputs is one text: give a sequence of texts, one per run")
    source = program.encode("utf-8", "surrogatepass") if isinstance(program, str) else program
    return source, [_checked_input(i, text) for i, text in enumerate(inputs)]


def _checked_input(i: int, text: Text) -> bytes:
    if not isinstance(text, (str, bytes)):
        raise ValueError(f"input {i} is a {type(text).__name__}: give str or bytes")
    data = text.encode() if isinstance(text, str) else text
    if len(data) > MAX_INPUT_MB << 20:
        raise ValueError(f"input {i} has {len(data)} bytes: at most {MAX_INPUT_MB} MiB")
    return data
