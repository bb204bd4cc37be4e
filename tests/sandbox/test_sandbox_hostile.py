"""Programs that try to get out, cheat or stall; each tests one property, on each tier.

None does harm if it gets through: they ask for what exists already, never will, or is their own.
"""

import threading
from pathlib import Path

import pytest
from sandbox_helpers import descendants

from sandbox import Limits, Report, Sandbox, Status

CALL = "import ctypes\nprint(ctypes.CDLL(None, use_errno=True).syscall({}))"

DENIED = {
    "fork": "import os\nos.fork()",
    "fork, caught": "import os\ntry: os.fork()\nexcept BaseException: pass\nprint('survived')",
    "fork in a thread": "import os, threading\nt = threading.Thread(target=os.fork)\nt.start()\nt.join()",
    "vfork": CALL.format(58),
    "system": "import os\nos.system('true')",
    "spawn": "import os\nos.posix_spawn('/bin/true', ['true'], {})",
    "subprocess": "import subprocess\nsubprocess.run(['true'])",
    "multiprocessing": "import multiprocessing\n"
    "if __name__ == '__main__': multiprocessing.Process(target=print).start()",
    "execute": "import os\nos.execv('/bin/true', ['true'])",
    "execute a descriptor": CALL.format("322, 0, b'', None, None, 0x1000"),
    "signal its server": "import os\nos.kill(os.getppid(), 0)",
    "signal its group": "import os\nos.killpg(0, 0)",
    "stop itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "raise a signal": "import signal\nsignal.raise_signal(signal.SIGSTOP)",
    "signal a thread": "import signal, threading\nsignal.pthread_kill(threading.get_ident(), 15)",
    "signal by descriptor": "import os\nos.pidfd_open(os.getpid())",
    "queue a signal": CALL.format("129, 1, 0, None"),
    "trace its server": "import ctypes, os\nctypes.CDLL(None).ptrace(0x4206, os.getppid(), 0, 0)",
    "read another's memory": CALL.format("310, 1, None, 0, None, 0, 0"),
    "take a descriptor": CALL.format("438, 0, 0, 0"),
    "socket": "import socket\nsocket.socket()",
    "unix socket": "import socket\nsocket.socket(socket.AF_UNIX)",
    "socket pair": "import socket\nsocket.socketpair()",
    "resolve a name": "import socket\nsocket.getaddrinfo('localhost', 80)",
    "fetch a page": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')",
    "user namespace": CALL.format("272, 0x10000000"),
    "enter a namespace": CALL.format("308, 0, 0"),
    "mount": CALL.format("165, b'none', b'/no-such-place', b'tmpfs', 0, None"),
    "change root": "import os\nos.chroot('/no-such-place')",
    "io_uring": CALL.format("425, 0, None"),
    "asynchronous io": CALL.format("206, 0, None"),
    "bpf": CALL.format("321, 0, None, 0"),
    "another filter": CALL.format("317, 2, 0, None"),
    "userfaultfd": CALL.format("323, 0"),
    "performance counters": CALL.format("298, None, 0, -1, -1, 0"),
    "watch files": CALL.format(253),
    "memory file": "import os\nos.memfd_create('x')",
    "shared memory": CALL.format("29, 0x5EED, 4096, 0"),
    "semaphores": CALL.format("64, 0x5EED, 1, 0"),
    "message queue": CALL.format("68, 0x5EED, 0"),
    "keys": CALL.format("250, 0, -3, 0"),
    "become root": "import os\nos.setuid(0)",
    "drop groups": "import os\nos.setgroups([])",
    "x32 numbers": CALL.format(0x40000000 + 39),
    "set the clock": "import time\ntime.clock_settime(time.CLOCK_REALTIME, time.time())",
    "load a module": CALL.format("175, None, 0, b''"),
    "reboot": CALL.format("169, 0, 0, 0, None"),
}

REFUSED = {  # an ordinary error, which a program may catch
    "read a file": ("open('/etc/hostname')", "FileNotFoundError"),
    "read its memory file": ("open('/proc/self/mem', 'rb')", "FileNotFoundError"),
    "list descriptors": ("os.listdir('/proc/self/fd')", "FileNotFoundError"),
    "list a directory": ("os.listdir('/')", "FileNotFoundError"),
    "walk up": ("os.listdir('..')", "FileNotFoundError"),
    "home": ("os.scandir(os.path.expanduser('~'))", "FileNotFoundError"),
    "stat": ("os.stat('/')", "FileNotFoundError"),
    "read a link": ("os.readlink('/proc/self/exe')", "FileNotFoundError"),
    "change directory": ("os.chdir('/')", "FileNotFoundError"),
    "open a terminal": ("open('/dev/tty')", "FileNotFoundError"),
    "null device": ("open('/dev/null', 'w')", "PermissionError"),
    "write a file": ("open('/no-such-directory/x', 'w')", "PermissionError"),
    "shared memory file": ("open('/dev/shm/no/x', 'w')", "PermissionError"),
    "directory": ("os.mkdir('/')", "PermissionError"),
    "remove": ("os.unlink('/no-such-file')", "PermissionError"),
    "rename": ("os.rename('/no-such-file', '/no-such-file')", "PermissionError"),
    "symbolic link": ("os.symlink('x', '/')", "PermissionError"),
    "hard link": ("os.link('/no-such-file', '/no-such-link')", "PermissionError"),
    "mode": ("os.chmod('/no-such-file', 0)", "PermissionError"),
    "fifo": ("os.mkfifo('/')", "PermissionError"),
    "truncate": ("os.truncate('/no-such-file', 0)", "PermissionError"),
    "mode of stdin": ("os.fchmod(0, 0o777)", "PermissionError"),
    "write to stdin": ("os.write(0, b'x')", "PermissionError"),
    "own a descriptor": ("fcntl.fcntl(1, fcntl.F_SETOWN, os.getppid())", "PermissionError"),
    "raise a limit": ("resource.setrlimit(resource.RLIMIT_AS, (-1, -1))", "ValueError"),
    "another's limits": ("resource.prlimit(os.getppid(), resource.RLIMIT_AS)", "PermissionError"),
    "import from disk": ("import torch", "ModuleNotFoundError"),
    "terminal of its own": ("os.openpty()", "PermissionError"),
    "popen": ("os.popen('true')", "ModuleNotFoundError"),
    "sparse output": ("os.ftruncate(1, 1 << 40)", "OSError"),
}

HONEST = {  # what looks odd and is allowed; each prints 42
    "exit": "print(42)\nimport sys\nsys.exit(0)",
    "dup": "import os\nos.write(os.dup(1), b'42')",
    "patched _exit": "import os\nos._exit = lambda code: None\nprint(42)",
    "own frames": "import sys\nprint(42 if sys._getframe().f_back.f_back is None else 0)",
    "trace": "import sys\nsys.settrace(lambda *a: None)\nprint(42)",
    "all objects": "import gc\nprint(42 * (len(gc.get_objects()) > 0))",
    "many threads": "import threading\nts = [threading.Thread(target=int) for _ in range(20)]\n"
    "for t in ts: t.start()\nfor t in ts: t.join()\nprint(42)",
    "big stack": "import threading\nthreading.stack_size(1 << 27)\n"
    "t = threading.Thread(target=print, args=(42,))\nt.start()\nt.join()",
    "a hundred threads": "import threading, time\n"
    "ts = [threading.Thread(target=time.sleep, args=(0.1,)) for _ in range(100)]\n"
    "for t in ts: t.start()\nfor t in ts: t.join()\nprint(42)",
    "a large pool": "from concurrent.futures import ThreadPoolExecutor\nimport time\n"
    "with ThreadPoolExecutor(100) as pool: pool.map(time.sleep, [0.1] * 100)\nprint(42)",
    "foreign call": "import ctypes\nprint(ctypes.CDLL(None).abs(-42))",
    "executable memory": "import ctypes\nf = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 42)\nprint(f())",
    "/dev/stdin": "open('/dev/stdin').read()\nprint(42)",
    "/dev/stdin as a path": "import pathlib\npathlib.Path('/dev/stdin').read_text()\nprint(42)",
    "/dev/fd/0": "open('/dev/fd/0').read()\nprint(42)",
    "catches what it may": "try: open('x')\nexcept OSError: print(42)",
    "numpy": "import numpy as np\nprint(np.linalg.det(np.diag([6.0, 7.0])).round().astype(int))",
    "large library": "import asyncio, sqlite3, hashlib, logging\nprint(42)",
    "in executed text": "exec('import hashlib\\nprint(hashlib.sha256().digest_size + 10)')",
    "small library": "import colorsys, tomllib\nprint(tomllib.loads('x = 42')['x'])",
    "by its name": "print(getattr(__import__('hashlib'), 'sha256')(b'').digest_size + 10)",
}

STALLS = {
    "endless": "while True: pass",
    "catches everything": "while True:\n  try:\n    while True: pass\n  except BaseException: pass",
    "stops its clocks": "import time\ntime.time = time.monotonic = lambda: 0\nwhile True: pass",
    "one long call": "x = 7 ** 10 ** 7",
    "many at once": "import threading\ndef f():\n  while True: pass\n"
    "for _ in range(4): threading.Thread(target=f).start()",
    "pipes full": "import os\nr, w = os.pipe()\nwhile True: os.write(w, b'x' * 4096)",
}

GROWS = {
    "one allocation": ("x = bytearray(64 << 30)", Status.MEMORY),
    "small allocations": ("x = []\nwhile True: x.append(bytes(10000))", Status.MEMORY),
    "threads without end": (
        "import threading, time\nthreading.stack_size(32768)\n"
        "while True: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
        Status.CRASH,
    ),
    "memory behind a main thread that has ended": (
        "import ctypes, threading, time\ndef grow():\n  time.sleep(0.05)\n"
        "  x = bytearray(300 << 20)\n  x[:] = b'x' * len(x)\n  time.sleep(60)\n"
        "threading.Thread(target=grow).start()\nctypes.CDLL(None).syscall(60, 0)",
        Status.MEMORY,
    ),
    "mappings": ("import mmap\nx = [mmap.mmap(-1, 1 << 28) for _ in range(64)]", Status.CRASH),
    "endless output": ("while True: print('x' * 100)", Status.OUTPUT),
    "endless errors": ("import sys\nwhile True: sys.stderr.write('x' * 100)", Status.OUTPUT),
    "segfault": ("import ctypes\nctypes.string_at(0)", Status.CRASH),
    "abort": ("import os\nos.abort()", Status.CRASH),
    "right output, then crash": ("print(42)\n1 / 0", Status.CRASH),
    "big number to text": ("print(10 ** 5000)", Status.CRASH),
    "no descriptors left": ("import os\nwhile True: os.dup(0)", Status.CRASH),
}


def run(box: Sandbox, program: str) -> Report:
    report = box.run(program, ["41\n"])
    assert all(not descendants(pid) - servers(box) for pid in box._workers[0].pids)  # nothing is left
    return report


def servers(box: Sandbox) -> set[int]:
    """With namespaces the server is a child of its guard."""
    below = {pid for server in box._workers[0].pids for pid in descendants(server)}
    return {pid for pid in below if "Seccomp:\t0" in Path(f"/proc/{pid}/status").read_text()}


@pytest.mark.parametrize("name", DENIED)
def test_a_forbidden_call_kills(name: str, tier_box: Sandbox) -> None:
    (result,) = run(tier_box, f"{DENIED[name]}\nprint('through')").runs
    assert (result.status, result.stdout) == (Status.DENIED, b""), result
    assert result.signal == 31


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_call_is_an_error_of_the_program(name: str, tier_box: Sandbox) -> None:
    call, error = REFUSED[name]
    (result,) = run(tier_box, f"import fcntl, os, resource\n{call}\nprint('through')").runs
    assert (result.status, result.stdout) == (Status.CRASH, b""), result
    assert result.stderr.splitlines()[-1].startswith(error)


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_oddity_is_allowed(name: str, tier_box: Sandbox) -> None:
    (result,) = run(tier_box, HONEST[name]).runs
    assert (result.status, result.stdout.strip()) == (Status.OK, b"42"), result


@pytest.mark.parametrize("name", STALLS)
def test_what_stalls_is_ended(name: str, short_tier_box: Sandbox) -> None:
    (result,) = run(short_tier_box, STALLS[name]).runs
    assert result.status is Status.TIMEOUT, result


@pytest.mark.parametrize("name", GROWS)
def test_what_grows_or_crashes_is_ended(name: str, tier_box: Sandbox) -> None:
    program, status = GROWS[name]
    (result,) = run(tier_box, program).runs
    assert result.status is status, result


@pytest.mark.parametrize(
    "source", [b"x = '\xff'", b"\x00", "(" * 1000, "x = " + "1+" * 5000 + "1", "é = \ud800"]
)
def test_no_source_harms_the_server(source: str | bytes, tier_box: Sandbox) -> None:
    report = tier_box.run(source, [""])
    assert report.compiles or report.error
    assert tier_box.run("print(1)", [""]).runs[0].stdout == b"1\n"


def test_playing_with_every_descriptor_changes_no_verdict(box: Sandbox) -> None:
    program = "import os\n" + "".join(
        f"for fd in range(3, 256):\n  try: {call}\n  except OSError: pass\n"
        for call in ("os.read(fd, 99)", "os.write(fd, b'done' * 6)", "os.close(fd)")
    )
    for accept in (None, lambda i, run: True):
        runs = box.run(program + "print(41)", ["", "", ""], accept=accept).runs
        assert [(run.status, run.stdout) for run in runs] == [(Status.OK, b"41\n")] * 3


def test_a_program_finds_nothing_of_the_one_before_it(box: Sandbox) -> None:
    box.run("x = bytes(90 << 20)\nraise SystemExit(77)", [""])
    program = "import gc\nprint([o for o in gc.get_objects() if type(o).__name__ == 'Reply'])"
    assert box.run(program, [""]).runs[0].stdout == b"[]\n"


def test_neighbours_of_the_greedy_are_not_disturbed() -> None:
    greedy = [
        "while True: print('x' * 10**6)",  # 10 GB, if it could
        "x = bytearray(64 << 30)",
        "import os\nwhile True: os.fork()",
        "x = []\nwhile True: x.append(bytearray(10**6))",
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()",
        "x = 1\n" * 1_000_000,
    ]
    limits = Limits(cpu_seconds=0.5, wall_seconds=3, memory_mb=128, source_kb=8192)
    honest = "n = int(input())\nprint(sum(i % 7 for i in range(n)))"
    with Sandbox(limits, workers=2) as box:
        alone = box.map([(honest, ["1000", "2000"])] * 4)
        crowd = box.map([job for program in greedy for job in ((program, [""]), (honest, ["1000", "2000"]))])
        after = box.run(honest, ["1000"])

    def outcome(report: Report) -> list[tuple[Status, bytes]]:
        return [(run.status, run.stdout) for run in report.runs]

    assert [outcome(report) for report in crowd[1::2]] == [outcome(alone[0])] * len(greedy)
    assert not any(run.status in (Status.OK, Status.FAULT) for report in crowd[::2] for run in report.runs)
    assert outcome(after) == outcome(alone[0])[:1]


def test_a_run_under_way_survives_the_end_of_another_sandbox() -> None:
    with Sandbox(workers=1) as box:
        results: list[Report] = []
        slow = threading.Thread(
            target=lambda: results.append(box.run("import time\ntime.sleep(0.5)\nprint(1)", [""]))
        )
        slow.start()
        with Sandbox(workers=1) as other:
            other.run("import os\nos.fork()", [""])
        slow.join()
    assert results[0].runs[0].stdout == b"1\n"
