"""Limits end programs, and nothing a program started or wrote outlives it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sandbox_helpers import SHORT, SMALL, alive, descendants, eventually

from sandbox import Run, Sandbox, Status


@pytest.mark.parametrize(
    "program",
    [
        "while True: pass",
        "while True:\n  try:\n    while True: pass\n  except BaseException: pass",
        "x = 3 ** (10 ** 8)",  # one C call that holds the interpreter lock
        "import threading\n"
        "def f():\n  while True: pass\nfor i in range(3): threading.Thread(target=f).start()",
        "import resource, signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
    ],
)
def test_cpu_time_decides_timeout(program: str, short_box: Sandbox) -> None:
    run = short_box.run(program, [""]).runs[0]
    assert run.status is Status.TIMEOUT
    assert run.cpu_seconds >= SHORT.cpu_seconds
    assert run.signal == 9


def test_a_memory_error_can_be_printed(small_box: Sandbox) -> None:
    """Which takes memory where the traceback is written in Python: all of it is in use."""
    program = (
        "import sys\ndef hook(*error):\n  print(len(bytearray(1 << 21)))\n  sys.__excepthook__(*error)\n"
        "sys.excepthook = hook\na = []\nwhile True: a.append(bytes(1000))"
    )
    run = small_box.run(program, [""]).runs[0]
    assert (run.status, run.stdout) == (Status.MEMORY, b"2097152\n")


@pytest.mark.parametrize(
    "program",
    ["import time\ntime.sleep(60)", "import threading\nthreading.Lock().acquire()\nthreading.Event().wait()"],
)
def test_wall_clock_is_the_backstop(program: str) -> None:
    with Sandbox(replace(SHORT, wall_seconds=0.3), workers=1) as box:
        run = box.run(program, [""]).runs[0]
    assert run.status is Status.TIMEOUT
    assert run.cpu_seconds < SHORT.cpu_seconds
    assert run.wall_seconds >= 0.3


def test_a_program_that_waits_is_not_a_timeout(short_box: Sandbox) -> None:
    """It waits for longer than it may compute."""
    assert short_box.run("import time\ntime.sleep(0.6)", [""]).runs[0].status is Status.OK


def test_waiting_for_a_busy_cpu_does_not_count_as_wall_time() -> None:
    cpus = os.sched_getaffinity(0)
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    others = []
    try:
        os.sched_setaffinity(0, {min(cpus)})  # the server and all it forks inherit this
        spin = [sys.executable, "-c", "while True: pass"]
        # In sessions of their own, as the child is in one: where the scheduler shares by session, five do.
        others = [subprocess.Popen(spin, start_new_session=True) for _ in range(4)]
        with Sandbox(replace(SMALL, wall_seconds=0.4), workers=1) as box:
            busy, asleep = (
                box.run(program, [""]).runs[0] for program in (burn, "import time\ntime.sleep(60)")
            )
    finally:
        os.sched_setaffinity(0, cpus)
        for other in others:
            other.kill()
            other.wait()
    assert (busy.status, asleep.status) == (Status.OK, Status.TIMEOUT)
    assert busy.wall_seconds > 0.4


@pytest.mark.parametrize(
    "program",
    [
        "x = bytearray(300 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1",
        "x = [0] * (1 << 40)",
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "import mmap\nm = mmap.mmap(-1, 300 << 20)\nfor i in range(0, 300 << 20, 4096): m[i] = 1",
        "import threading\nthreading.stack_size(1 << 26)\nx = bytearray(300 << 20)",
        "x = b'x' * (300 << 20)\ndel x",  # over the limit for a moment only
    ],
)
def test_memory_limit(program: str, small_box: Sandbox) -> None:
    assert small_box.run(program, [""]).runs[0].status is Status.MEMORY


def test_reserved_address_space_is_not_memory(small_box: Sandbox) -> None:
    run = small_box.run("import mmap\nm = mmap.mmap(-1, 500 << 20)\nprint(len(m))", [""]).runs[0]
    assert run.status is Status.OK
    assert run.max_rss_kb < 64 * 1024


def test_output_limit_is_exact(small_box: Sandbox) -> None:
    limit = SMALL.output_kb * 1024
    just = small_box.run(f"print('x' * {limit - 1})", [""]).runs[0]
    over = small_box.run(f"print('x' * {limit})", [""]).runs[0]
    assert (just.status, len(just.stdout)) == (Status.OK, limit)
    assert (over.status, len(over.stdout)) == (Status.OUTPUT, limit)


@pytest.mark.parametrize(
    "program",
    [
        "while True: print('x' * 100)",
        "import sys\nsys.stderr.write('x' * 20000)",
        "import os\nos.write(1, b'x' * 20000)\nos._exit(0)",
        "import signal, os\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "for i in range(3): os.write(1, b'x' * 9000)",
    ],
)
def test_too_much_output(program: str, small_box: Sandbox) -> None:
    run = small_box.run(program, [""]).runs[0]
    assert run.status is Status.OUTPUT
    assert len(run.stdout) <= SMALL.output_kb * 1024


def test_stderr_is_kept_at_its_end(one: Callable[..., Run]) -> None:
    stderr = one("import sys\nsys.stderr.write('x' * 20000)\n1 / 0").stderr
    assert len(stderr) < 10000
    assert stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.fixture(scope="module")
def open_box() -> Iterator[Sandbox]:
    # Some of what runs here is to end by itself, and starts an interpreter's worth of modules first.
    with Sandbox(replace(SHORT, cpu_seconds=1.0), workers=1, unsafe=True) as box:
        yield box


STARTS_OTHERS = {
    "a child": "import os, time\npid = os.fork()\nif pid == 0: time.sleep(60)\nprint(pid)",
    "a child in its own session": "import os, time\npid = os.fork()\n"
    "if pid == 0:\n  os.setsid()\n  time.sleep(60)\ntime.sleep(0.05)\nprint(pid)",
    "a daemon": "import os, time, sys\nr, w = os.pipe()\n"
    "if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n"
    "    os.write(w, b'%d' % os.getpid())\n    time.sleep(60)\n  os._exit(0)\n"
    "os.wait()\nprint(os.read(r, 99).decode())",
    "another program": "import subprocess\n"
    "p = subprocess.Popen(['/bin/sleep', '60'], start_new_session=True)\n"
    "print(p.pid)",
}


@pytest.mark.parametrize(
    "end", ["", "\nimport sys\nsys.stdout.flush()\nwhile True: pass"], ids=["exits", "is killed"]
)
@pytest.mark.parametrize("name", STARTS_OTHERS)
def test_without_the_filter_no_process_outlives_its_program(name: str, end: str, open_box: Sandbox) -> None:
    run = open_box.run(STARTS_OTHERS[name] + end, [""]).runs[0]
    assert run.status is (Status.TIMEOUT if end else Status.OK), run
    assert not alive(int(run.stdout))
    assert descendants(open_box._workers[0].pids[0]) == set()


def test_without_the_filter_a_small_fork_bomb_is_cleaned_up() -> None:
    program = "import os\nfor i in range(5):\n  if os.fork() == 0: os.setsid()\nwhile True: pass"
    with Sandbox(replace(SHORT, wall_seconds=0.3), workers=1, unsafe=True) as box:
        assert box.run(program, [""]).runs[0].status is Status.TIMEOUT
        assert descendants(box._workers[0].pids[0]) == set()
        assert box.run("print(1)", [""]).runs[0].stdout == b"1\n"


def test_without_the_filter_cpu_time_of_orphans_counts(open_box: Sandbox) -> None:
    program = "import os, time\nif os.fork() == 0:\n  while True: pass\ntime.sleep(1)"
    run = open_box.run(program, [""]).runs[0]
    assert run.cpu_seconds > 0.03


HELD = replace(SMALL, wall_seconds=0.3)
BURN = "import time\nwhile time.process_time() < 0.2: pass\nprint(1)"


def _hold_up(box: Sandbox, seconds: float | None, times: int) -> threading.Thread:
    """Stop children of the server from outside, for so long or for ever, as a machine does that is busy."""
    server = box._workers[0].pids[0]
    before = descendants(server)

    def stop() -> bool:
        for pid in descendants(server) - before - seen:
            if "Seccomp:\t2" not in Path(f"/proc/{pid}/status").read_text():
                continue
            os.kill(pid, signal.SIGSTOP)
            seen.add(pid)
            if seconds is not None:
                time.sleep(seconds)
                os.kill(pid, signal.SIGCONT)
            return True
        return False

    def work() -> None:
        for _ in range(times):
            with suppress(FileNotFoundError, ProcessLookupError):
                eventually(stop)

    seen: set[int] = set()
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_what_the_machine_holds_up_is_not_the_programs_time() -> None:
    with Sandbox(HELD, workers=1) as box:
        thread = _hold_up(box, seconds=0.7, times=1)
        run = box.run(BURN, [""]).runs[0]
        thread.join()
    assert (run.status, run.stdout) == (Status.OK, b"1\n")
    assert run.wall_seconds > 0.7 and run.slept_seconds < HELD.wall


def test_a_program_that_the_machine_never_lets_run_is_a_fault_and_no_verdict() -> None:
    with Sandbox(HELD, workers=1) as box:
        servers = box._workers[0].pids
        thread = _hold_up(box, seconds=None, times=2)
        report = box.run(BURN, ["", ""])
        thread.join()
        assert box._workers[0].pids == servers  # it is not to blame
    assert [run.status for run in report.runs] == [Status.FAULT, Status.FAULT]
    assert report.error is not None and "too busy" in report.error


def test_sleep_is_told_and_nothing_else_is(box: Sandbox) -> None:
    program = "import time\ntime.sleep(float(input()))\nwhile time.process_time() < 0.3: pass"
    quick, slow = box.run(program, ["0", "0.4"]).runs
    assert quick.slept_seconds == 0.0
    assert 0.3 < slow.slept_seconds < slow.wall_seconds
