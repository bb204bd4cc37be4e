"""The test of itself that a sandbox must pass before it serves: probes that try to get out, by the real path.

A filter with a hole looks like one without. Each probe is a program that tries one forbidden thing: that
the kernel was asked for a layer proves nothing, that the probe failed in the right way does. Probes run for
real where there is a hole, so none may do harm when it gets through: they ask for what exists already, or
never will.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.records import Limits, SandboxError, Status
from sandbox.session import Session
from sandbox.worker import Worker

LIMITS = Limits(cpu_seconds=0.05, wall_seconds=10.0, memory_mb=64, output_kb=4)


@dataclass(frozen=True)
class Probe:
    """A program and how it must end."""

    what: str
    program: str
    status: Status
    stdout: bytes = b""


def _syscall(number: int, *arguments: str) -> str:
    call = ", ".join([str(number), *arguments])
    return f"import ctypes, os\nctypes.CDLL(None).syscall({call})\nprint('through')"


def _must_raise(error: str, call: str) -> str:
    return f"try:\n  {call}\n  print('through:', {call!r})\nexcept {error}: pass\n"


# What each call raises behind the filter; what it would raise without one is another error, or none.
_ERRORS = (
    ("FileNotFoundError", "open('/')"),
    ("FileNotFoundError", "os.listdir('/')"),
    ("FileNotFoundError", "os.stat('/')"),
    ("PermissionError", "open('/', 'w')"),
    ("PermissionError", "os.mkdir('/')"),
    ("PermissionError", "os.rmdir('/no-such-directory')"),
    ("PermissionError", "os.rename('/no-such-file', '/no-such-file')"),
    ("PermissionError", "os.write(0, b'x')"),
    ("PermissionError", "fcntl.fcntl(0, 8, os.getpid())"),
    ("ValueError", "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))"),
)
_SECRETS = "print([fd for fd in range(3, 999) if not closed(fd)], dict(os.environ))"
_CLOSED = "def closed(fd):\n  try: os.fstat(fd)\n  except OSError: return True\n"

PROBES = (
    Probe("run a program", "print(int(input()) + 1)", Status.OK, b"42\n"),
    Probe(
        "reach a file, a process or a higher limit",
        "import fcntl, os, resource\n" + "".join(_must_raise(*pair) for pair in _ERRORS),
        Status.OK,
    ),
    Probe("find descriptors or variables", f"import os\n{_CLOSED}{_SECRETS}", Status.OK, b"[] {}\n"),
    Probe("fork", "import os\nos.fork()\nprint('through')", Status.DENIED),
    Probe("execute", "import os\nos.execv('/bin/true', ['true'])", Status.DENIED),
    Probe("open a socket", "import _socket\n_socket.socket()\nprint('through')", Status.DENIED),
    Probe("signal another process", "import os\nos.kill(os.getppid(), 0)\nprint('through')", Status.DENIED),
    Probe("trace its server", _syscall(101, "0x4206", "os.getppid()", "0", "0"), Status.DENIED),
    Probe("make a user namespace", _syscall(272, "0x10000000"), Status.DENIED),
    Probe("use io_uring", _syscall(425, "0", "None"), Status.DENIED),
    Probe("share memory by name", _syscall(29, "0x5EED", "4096", "0"), Status.DENIED),
    Probe("use the x32 numbers", _syscall(0x40000000 + 39), Status.DENIED),
    Probe("run for ever", "while True: pass", Status.TIMEOUT),
    Probe("take 64 GB", "x = bytearray(64 << 30)", Status.MEMORY),
    Probe("print for ever", "while True: print('x' * 1000)", Status.OUTPUT),
)


def check(worker: Worker, probes: Sequence[Probe] | None = None) -> None:
    """Try the probes (None: all) on a worker. SandboxError names the first that gets through; Fault."""
    for probe in PROBES if probes is None else probes:
        with Session(worker, probe.program.encode(), True, LIMITS) as session:
            _, run = session.run(b"41\n")
        as_it_must = run.status is probe.status and (
            probe.status is not Status.OK or run.stdout == probe.stdout
        )
        if not as_it_must:
            found = (run.stdout[:200] + run.stderr[-200:].encode()).decode("utf-8", "replace")
            raise SandboxError(
                f"the sandbox refuses to serve: its probe {probe.what!r} ended as {run.status.value}, not "
                f"{probe.status.value} ({found.strip()!r})"
            )
