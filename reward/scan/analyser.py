"""Programs to scans: a pool of scan processes, and a cache by the source's hash.

Bandit in a process that stays is 35-50 times cheaper than its command line. A process that dies is replaced;
a program on which two have died is unscannable.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from data.prompts import extract
from reward.compare import RewardError
from reward.kept import Kept
from reward.scan.worker import LENGTH, MAX_BYTES
from reward.security import Finding, GivenCode, Scan, Traits, Trick, given_code

COMMAND = (sys.executable, "-P", "-W", "ignore", "-X", "utf8", str(Path(__file__).with_name("boot.py")))
START_SECONDS = 60.0  # for the imports of Bandit on a loaded machine
WALL_SECONDS = 60.0  # of a scan; the process's own CPU limit decides, so that load changes no verdict
_TRIES = 2
CACHE_BYTES = 64 << 20  # of answers that are kept, which is 4 KB for each of 16,384


class _Lost(Exception):
    """The scan process died, or did not answer."""


class ScanProcess:
    """One scan process, from the caller's side; one request at a time."""

    def __init__(self) -> None:
        self._sock, theirs = socket.socketpair()
        with theirs:
            # A new session: a Ctrl-C at the terminal is for the caller. The environment holds secrets: of it
            # only where packages lie, for Bandit may have been installed with `pip install --target`.
            kept = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
            self._process = subprocess.Popen(
                COMMAND,
                env={"PYTHONHASHSEED": "0", **kept},
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._answers = self._sock.makefile("rb")

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until Bandit is loaded. Raises RewardError where it is missing or does not work."""
        try:
            answer = self._receive(START_SECONDS)
        except _Lost as error:
            raise RewardError(f"no scan process could be started: {error}") from None
        if "error" in answer:
            raise RewardError(answer["error"])

    def ask(self, source: bytes) -> dict[str, Any]:
        """The answer for one program. Raises _Lost."""
        try:
            self._sock.settimeout(WALL_SECONDS)
            self._sock.sendall(LENGTH.pack(len(source)) + source)
        except OSError as error:
            raise _Lost(str(error)) from error
        return self._receive(WALL_SECONDS)

    def _receive(self, seconds: float) -> dict[str, Any]:
        self._sock.settimeout(seconds)
        try:
            line = self._answers.readline()
        except OSError as error:  # a time-out is one
            raise _Lost(str(error)) from error
        if not line.endswith(b"\n"):
            raise _Lost("it ended")
        return json.loads(line)

    def stop(self) -> None:
        """End the process. Idempotent."""
        self._answers.close()
        self._sock.close()
        self._process.kill()
        self._process.wait()


class Analyser:
    """Scans programs, `workers` at a time; safe to use from several threads; the last answers are kept.

    Raises RewardError at once if Bandit is missing, of another version, or does not find what it must. Owns
    processes, so close it, or use it as a context manager.
    """

    def __init__(self, workers: int = 1, cache_size: int = 16384) -> None:
        self._cache: Kept[bytes, Scan] = Kept(cache_size, CACHE_BYTES, _weight)
        self._lock = threading.Lock()  # guards the cache and the lists of processes
        self._slots = threading.BoundedSemaphore(workers)
        self._closed = False
        first = ScanProcess()  # the others are started when they are needed
        self._all, self._idle = {first}, [first]
        try:
            first.wait_ready()
        except BaseException:
            self.close()
            raise

    def scan(self, source: bytes) -> Scan:
        """What is found in one program; the same bytes give the same answer."""
        key = hashlib.sha256(source).digest()
        with self._lock:
            if (found := self._cache.get(key)) is not None:
                self._cache.put(key, found)
                return found
        found = self._scan(source)
        with self._lock:
            self._cache.put(key, found)
        return found

    def given(self, prompt: str) -> GivenCode:
        """The findings of the code in a prompt: of the whole if it is Python, else of its code block."""
        whole = prompt.encode("utf-8", "surrogatepass")
        for code in (
            whole,
            whole.rstrip() + b"\n    pass\n",
            extract(prompt)[0].encode("utf-8", "surrogatepass"),
        ):
            scan = self.scan(code)
            if scan.status == "ok":
                return given_code(scan, code)
        return GivenCode()

    def _scan(self, source: bytes) -> Scan:
        if len(source) > MAX_BYTES:  # without sending it
            return Scan("unscannable", reason="too large")
        with self._slots:
            for _ in range(_TRIES):
                process = self._take()
                try:
                    answer = process.ask(source)
                except _Lost:
                    self._drop(process)
                    continue
                except BaseException:  # Ctrl-C in the middle: what it would answer next is not known
                    self._drop(process)
                    raise
                self._give_back(process)
                return _as_scan(answer)
        return Scan("unscannable", reason="the scan was ended by its limits")

    def _take(self) -> ScanProcess:
        with self._lock:
            if self._closed:
                raise RewardError("the analyser is closed: make a new one")
            if self._idle:
                return self._idle.pop()
            process = ScanProcess()
            self._all.add(process)
        process.wait_ready()
        return process

    def _give_back(self, process: ScanProcess) -> None:
        with self._lock:
            self._idle.append(process)

    def _drop(self, process: ScanProcess) -> None:
        with self._lock:
            self._all.discard(process)
        process.stop()

    def close(self) -> None:
        """End the processes. Idempotent."""
        with self._lock:
            self._closed = True
            processes, self._all, self._idle = self._all, set(), []
        for process in processes:
            process.stop()

    def __enter__(self) -> Analyser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _as_scan(answer: dict[str, Any]) -> Scan:
    traits: dict[str, Any] = answer.get("traits", {})
    return Scan(
        status=answer["status"],
        findings=tuple(
            # The same few words in every answer: kept once.
            Finding(line, sys.intern(test), sys.intern(severity), sys.intern(confidence), cwe)
            for line, test, severity, confidence, cwe in answer.get("findings", ())
        ),
        reason=answer.get("reason", ""),
        tricks=tuple(Trick(*trick) for trick in answer.get("tricks", ())),
        traits=Traits(
            literals=tuple(traits["literals"]),
            keys=tuple(traits["keys"]),
            uses_input=traits["uses_input"],
            leaves_early=traits["leaves_early"],
            introspects=tuple(traits["introspects"]),
        )
        if traits
        else Traits(),
    )


def _weight(scan: Scan) -> int:
    """Bytes that an answer takes, about: of its texts and for each thing in it."""
    texts = scan.traits.literals + scan.traits.keys
    things = len(scan.findings) + len(scan.tricks)
    return 1500 + sum(map(sys.getsizeof, texts)) + 8 * len(texts) + 500 * things
