"""`Sandbox`: a pool of server processes behind two calls, `run` and `map`.

Every input is run in a fresh child, unless the caller's `accept` allows more: then one child may take the
inputs one after another, at less than half the cost. What one run leaves behind could change the next, so
only programs that provably keep nothing do (`child.stateless`), in a child as good as new (`child.reuse`).
"""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import CodeType, TracebackType

from sandbox import selftest, tiers
from sandbox.records import Limits, Report, Run, SandboxError, Status
from sandbox.session import Session
from sandbox.verdict import compile_failure, overstay
from sandbox.worker import Fault, Libraries, Refused, Worker

Text = str | bytes
Accept = Callable[[int, Run], bool]
Job = tuple[Text, Sequence[Text]] | tuple[Text, Sequence[Text], Accept | None]

MAX_INPUT_MB = 64
_TRIES = 2
_CLOSED = "the sandbox is closed: make a new one"
_DEFAULT_LIMITS = Limits()
_log = logging.getLogger(__name__)


class Sandbox:
    """Runs programs under `limits`. Use as a context manager; safe to use from several threads.

    `workers` is the number of programs that run at the same time (None: the CPUs this process may use).
    `isolation`: "auto" (the strongest there is; what is missing is logged), "full" or "base". What is in
    force is in `tier`, see `tiers`. `unsafe=True` switches the system call filter off: every report then
    says so. Raises SandboxError where the sandbox cannot work as asked, or where its own test of itself
    finds a hole.
    """

    def __init__(
        self,
        limits: Limits = _DEFAULT_LIMITS,
        workers: int | None = None,
        isolation: str = "auto",
        *,
        unsafe: bool = False,
        packages: Sequence[str] = (),
    ) -> None:
        self.limits = limits
        self._libraries = _libraries(packages)
        candidates = tiers.candidates(isolation, unsafe)
        count = len(os.sched_getaffinity(0)) if workers is None else workers
        if count < 1:
            raise SandboxError(f"workers={workers}: give 1 or more, or None for one per CPU")
        self._owner = os.getpid()
        self._closed = False
        self._workers: list[Worker] = []
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="sandbox")
        try:
            self.tier = self._start(candidates, count)
            if not unsafe:
                selftest.check(self._workers[0])
        except BaseException as error:
            self.close()
            if isinstance(error, (Fault, OSError)):
                raise SandboxError(f"no server process could be started: {error}") from error
            raise
        for worker in self._workers:
            self._idle.put(worker)

    def _start(self, candidates: Iterable[frozenset[str]], count: int) -> str:
        """Start all servers under the first set of layers that the kernel grants; the tier's name."""
        refusals = []
        for layers in candidates:
            self._workers = [Worker(layers, self._libraries) for _ in range(count)]
            try:
                for worker in self._workers:  # all at once: most of a start is imports
                    worker.start()
                for worker in self._workers:
                    worker.wait_ready()
            except Refused as refused:
                for worker in self._workers:
                    worker.close()
                refusals.append(f"{tiers.name(layers)}: {refused}")
                continue
            if refusals:
                _log.warning(
                    "sandbox tier %s, for lack of a stronger one (%s)", tiers.name(layers), refusals[-1]
                )
            if tiers.FILTER not in layers:
                _log.warning("sandbox without system call filter: programs can do what you can")
            return tiers.name(layers)
        raise SandboxError(f"the kernel refuses the sandbox: {refusals[-1]}")

    def run(
        self,
        program: Text,
        inputs: Sequence[Text],
        *,
        accept: Accept | None = None,
        max_overstays: int | None = None,
        harness: CodeType | None = None,
    ) -> Report:
        """Compile `program`, run it once per input. str is UTF-8; a str's encoding cookie is not honoured.

        `accept(i, run)` is called here, in the caller's process, once per input that is run, in order. True:
        the next input may share this run's child, if the program keeps nothing. It must not call this
        sandbox: a server is kept for the program meanwhile.
        `max_overstays`: once the runs have together cost so many times all their time (`overstay`), the
        inputs left are not run, Status.SKIPPED. None: all are.
        `harness`: the caller's own code, which runs in the compiled program's place, as `__main__`, and finds
        it under the name `__program__`. Each input then has a fresh child, whatever `accept` says.
        Raises ValueError for arguments of a wrong kind, SandboxError after close().
        """
        if max_overstays is not None and max_overstays < 1:
            raise ValueError(f"max_overstays={max_overstays}: give 1 or more, or None for no such end")
        source, texts = _checked(program, inputs)
        if harness is not None:
            accept = None  # only a program alone is known to keep nothing
        return self._run(source, isinstance(program, str), texts, accept, max_overstays, harness)

    def map(self, jobs: Iterable[Job]) -> list[Report]:
        """`run` for each `(program, inputs)` or `(program, inputs, accept)`, in parallel; reports in order.

        `accept` functions are called from the pool's threads. Raises as `run`, before anything has run.
        """
        checked = []
        for program, inputs, *rest in jobs:
            source, texts = _checked(program, inputs)
            checked.append((source, isinstance(program, str), texts, rest[0] if rest else None))
        self._check_open()
        reports: dict[int, Report] = {}
        waiting = deque(enumerate(checked))

        def work() -> None:
            try:
                while True:
                    try:
                        i, job = waiting.popleft()
                    except IndexError:
                        return
                    reports[i] = self._run(*job)
            except BaseException:
                waiting.clear()  # nobody will see the others' reports
                raise

        # A task per worker, not per job: to hand a job to a thread costs a thirtieth of what it takes to run.
        try:
            futures = [self._threads.submit(work) for _ in self._workers[: len(checked)]]
            for future in futures:
                future.result()
        except CancelledError:
            raise SandboxError(_CLOSED) from None
        finally:
            waiting.clear()
        return [reports[i] for i in range(len(checked))]

    def _run(
        self,
        source: bytes,
        is_text: bool,
        inputs: list[bytes],
        accept: Accept | None,
        max_overstays: int | None = None,
        harness: CodeType | None = None,
    ) -> Report:
        limit = self.limits.source_kb * 1024
        if len(source) > limit:
            error = f"the program has {len(source)} bytes, the limit is {limit}"
            return Report(False, error, (), self.tier)
        self._check_open()
        worker = self._idle.get()
        try:
            with Session(worker, source, is_text, self.limits, harness) as session:
                report = self._run_all(session, inputs, accept, max_overstays)
                return replace(report, tier=self.tier)
        finally:
            self._idle.put(worker)

    def _run_all(
        self, session: Session, inputs: list[bytes], accept: Accept | None, max_overstays: int | None
    ) -> Report:
        runs: list[Run] = []
        overstays = 0.0
        accepted = False
        try:
            if not inputs:
                compiled, run = self._try(session, None)
                return Report(compiled, None if compiled else compile_failure(run, self.limits), ())
            for i, stdin in enumerate(inputs):
                if max_overstays is not None and overstays >= max_overstays:
                    runs.append(Run(Status.SKIPPED))
                    continue
                keep = accept is not None and i + 1 < len(inputs)
                shared = session.run_next(stdin, keep) if accepted else None
                if shared is not None and shared.status is Status.MEMORY:
                    shared = None  # a used child has a little less left: a fresh one decides
                compiled, run = (True, shared) if shared is not None else self._try(session, stdin, keep)
                if i == 0 and not compiled:
                    return Report(False, compile_failure(run, self.limits), ())
                runs.append(run)
                overstays += overstay(run, self.limits)
                accepted = accept is not None and accept(i, run)
        except Fault as fault:
            if not inputs:
                raise SandboxError(f"{fault}: run it again") from fault
            # What takes the server down twice would do so again: the rest is not tried.
            runs += [Run(Status.FAULT)] * (len(inputs) - len(runs))
            return Report(True, f"fault of the sandbox: {fault}", tuple(runs))
        return Report(True, None, tuple(runs))

    def _try(self, session: Session, stdin: bytes | None, keep: bool = False) -> tuple[bool, Run]:
        for attempt in range(1, _TRIES + 1):
            self._check_open()
            try:
                return session.run(stdin, keep)
            except Fault:
                if attempt == _TRIES:
                    raise
        raise AssertionError("unreachable")

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxError(_CLOSED)
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


def _libraries(packages: Sequence[str]) -> Libraries:
    """Where the caller has numpy, if it has it, and the packages. Raises SandboxError for one it has not."""
    folders = []
    for name in ("numpy", *packages):
        if not all(part.isidentifier() for part in name.split(".")):
            raise SandboxError(f"packages: {name!r} is no name that a program can import")
        spec = importlib.util.find_spec(name.partition(".")[0])
        if spec is not None and spec.origin and spec.origin not in ("built-in", "frozen"):
            path = Path(spec.origin)
            folders.append(str(path.parents[1 if path.stem == "__init__" else 0]))
        elif name in packages:
            raise SandboxError(
                f"packages: {name} is not installed beside this Python: install it or leave it out"
            )
    return Libraries(tuple(dict.fromkeys(folders)), tuple(packages))


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
