"""One child for accepted inputs: what it may carry over (nothing), and that no verdict depends on it."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
from corpus import SHORT as CORPUS_LIMITS
from corpus import lines
from hypothesis import given
from hypothesis import strategies as st
from sandbox_helpers import alive, eventually

from sandbox import Accept, Limits, Report, Run, Sandbox, Status
from sandbox.server.supervise import MAX_THREADS
from sandbox.session import Session
from sandbox.worker import Fault

SHARED = Path(__file__).parents[3].parent / "shared"


def always(i: int, run: Run) -> bool:
    return True


def pids(report: Report) -> list[bytes]:
    return [run.stdout.split()[-1] for run in report.runs]


def test_accepted_inputs_share_a_child(box: Sandbox) -> None:
    report = box.run("import os\nprint(input(), os.getpid())", ["a", "b", "c"], accept=always)
    assert [run.stdout.split()[0] for run in report.runs] == [b"a", b"b", b"c"]
    assert len(set(pids(report))) == 1


def test_accept_is_called_here_in_order_and_again_for_the_run_that_replaces_one(box: Sandbox) -> None:
    calls: list[tuple[int, bytes, int]] = []

    def accept(i: int, run: Run) -> bool:
        calls.append((i, run.stdout.strip(), os.getpid()))
        return i != 1

    program = "import os, sys\nprint(input())\nprint(os.getpid(), file=sys.stderr)"
    report = box.run(program, ["a", "b", "c", "d"], accept=accept)
    # b ran in a's child, was not accepted, and ran again in its own; c needed a fresh one, d shared it.
    assert [(i, text) for i, text, _ in calls] == [(0, b"a"), (1, b"b"), (1, b"b"), (2, b"c"), (3, b"d")]
    assert {pid for _, _, pid in calls} == {os.getpid()}
    a, b, c, d = [run.stderr for run in report.runs]
    assert len({a, b, c}) == 3 and c == d


def test_fresh_children_decide_on_all_once_a_used_one_has_answered_otherwise(box: Sandbox) -> None:
    calls: list[tuple[int, bytes]] = []

    def accept(i: int, run: Run) -> bool:
        calls.append((i, run.stdout.strip()))
        return i != 2

    program = "import math\nprint(hasattr(math, 'left'))\nmath.left = 1"
    report = box.run(program, [""] * 4, accept=accept)
    assert [run.stdout for run in report.runs] == [b"False\n"] * 4
    assert calls[:4] == [(0, b"False"), (1, b"True"), (2, b"True"), (2, b"False")]
    assert calls[4:] == [(1, b"False"), (3, b"False")]  # again, and from then on only in fresh ones


def test_a_run_that_is_not_accepted_counts_only_from_a_fresh_child(box: Sandbox) -> None:
    program = "import time\ntime.left = getattr(time, 'left', 0) + 1\nprint(time.left)"
    report = box.run(program, ["", "", ""], accept=lambda i, run: run.stdout == b"1\n")
    assert [run.stdout for run in report.runs] == [b"1\n"] * 3


class Rows:
    """In the place of a session: its program has a row of answers for fresh children, one for used ones."""

    def __init__(self, fresh: str, used: str, fault_at: int | None = None) -> None:
        self.fresh, self.used, self.fault_at = fresh, used, fault_at
        self.waits = False
        self.calls = 0

    def run(self, stdin: bytes, keep: bool = False) -> tuple[bool, Run]:
        self.calls += 1
        if self.fault_at is not None and self.calls > self.fault_at:
            raise Fault("lost")
        self.waits = keep
        return True, Run(Status.OK, stdout=self.fresh[int(stdin)].encode())

    def run_next(self, stdin: bytes, keep: bool) -> Run | None:
        waits, self.waits = self.waits, keep
        return Run(Status.OK, stdout=self.used[int(stdin)].encode()) if waits else None


@given(st.lists(st.tuples(*[st.sampled_from("yn")] * 3), min_size=1, max_size=7))
def test_answers_of_used_children_count_only_where_no_fresh_one_contradicts(
    box: Sandbox, rows: list[tuple[str, str, str]]
) -> None:
    fresh, used, right = map("".join, zip(*rows, strict=True))
    asked: list[list[str]] = [[] for _ in rows]

    def accept(i: int, run: Run) -> bool:
        asked[i].append(run.stdout.decode())
        return asked[i][-1] == right[i]

    session = cast(Session, Rows(fresh, used))
    report = box._run_all(session, [b"%d" % i for i in range(len(rows))], accept)
    answers = "".join(run.stdout.decode() for run in report.runs)
    assert [answer[-1] for answer in asked] == list(answers)  # the last that was asked about is what counts
    assert all(got in (of_fresh, wanted) for got, of_fresh, wanted in zip(answers, fresh, right, strict=True))
    if any(len(set(answer)) > 1 for answer in asked):
        assert answers == fresh


@pytest.mark.parametrize(("calls", "left"), [(0, "----"), (1, "yn--"), (2, "y-y-"), (3, "yyy-"), (4, "yyyy")])
def test_a_fault_leaves_no_answer_of_a_used_child_that_was_to_be_run_again(
    calls: int, left: str, box: Sandbox
) -> None:
    """The used child's second answer is taken, its third is not, and the fresh one's is another."""
    session = cast(Session, Rows("yyyy", "?nny", fault_at=calls))
    report = box._run_all(session, [b"0", b"1", b"2", b"3"], lambda i, run: run.stdout == b"ynyy"[i : i + 1])
    assert "".join(run.stdout.decode() or "-" for run in report.runs) == left
    assert [run.status is Status.FAULT for run in report.runs] == [answer == "-" for answer in left]
    assert (report.error is None) == ("-" not in left)


CARRIES_NOTHING_OVER = {
    "globals": "print(sorted(globals()))\nx = 1",
    "recursion limit": "import sys\nprint(sys.getrecursionlimit())\nsys.setrecursionlimit(10**6)",
    "random": "import random\nprint(random.random())",
    "own random": "from random import *\nseed(5)\nprint(random())",
    "decimal": "from decimal import *\nprint(getcontext())\ngetcontext().prec = 3\nprint(Decimal(1) / 3)",
    "streams": "import sys\nprint(sys.stdin.readline(), sys.stdout)\nsys.stdin = sys.stderr = None",
    "stdin closed": "import sys\nprint(sys.stdin.read())\nsys.stdin.close()",
    "stdout closed": "import sys\nprint(1)\nsys.stdout.close()",
    "descriptors": "import os\nprint(os.dup(0), os.dup(1))",
    "descriptor closed": "import os\nprint(1, flush=True)\nos.close(1)\nos.close(0)",
    "wrapped output": "import sys, io\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer)\nprint(1)",
    "output by number": "import os, sys\nsys.stdout = os.fdopen(1, 'w')\nprint(1)",
    "input by number": "import os, sys\nsys.stdin = sys.__stdin__ = os.fdopen(0)\nprint(input())",
    "equal to all": "import builtins\nclass Equal:\n  def __eq__(self, other): return True\n"
    "  def __call__(self, *a): pass\nprint(1)\nbuiltins.print = Equal()",
    "finalizer that prints elsewhere": "import sys, io\nsys.stdout = io.StringIO()\n"
    "class A:\n  def __del__(self): print('bye')\na = A()",
    "buffered output": "out = open(1, 'w')\nout.write('x' * 9)",
    "arguments": "import sys\nprint(sys.argv)\nsys.argv.append('x')",
    "stack size": "import threading\nprint(threading.stack_size(1 << 26))",
    "memory limit": "import resource, threading\nprint(resource.getrlimit(resource.RLIMIT_DATA))\n"
    "threading.stack_size(1 << 26)",
    "limits": "import resource\nprint(resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
    "digits": "import sys\nprint(sys.get_int_max_str_digits())\nsys.set_int_max_str_digits(0)",
    "collector": "import gc\nprint(gc.isenabled(), gc.get_threshold())\ngc.disable()\ngc.set_threshold(5)",
    "module patched": "import sys, math\nprint(math.pi)",
    "main": "import sys\nprint(sys.modules['__main__'].__dict__ is globals())",
    "timer": "import signal\nprint(signal.getitimer(signal.ITIMER_REAL))\nsignal.alarm(50)",
    "warning at compile time": "import sys\nprint(1 is 1, file=sys.stderr)",
    "warning": "import warnings\nwarnings.warn('w')",
    "exit": "import sys\nprint(1)\nsys.exit()",
    "joined threads": "import threading\nt = threading.Thread(target=print, args=(1,))\nt.start()\nt.join()",
    "finalizer": "class A:\n  def __del__(self): print('bye')\na = A()",
    "builtins": "print(hasattr(__builtins__, 'left'))\n__builtins__.left = 1",
    "print replaced": "import builtins\nold = print\nbuiltins.print = lambda *a: old('p', *a)\nprint(1)",
    "builtins by another name": "globals()['__builtins__'].left = getattr(__builtins__, 'left', 0) + 1\n"
    "print(__builtins__.left)",
    "print replaced in text": "exec('import builtins; p = print; builtins.print = lambda *a: p(0, *a)')\n"
    "print(1)",
    "sys replaced": "import sys\nprint(sys.exit.__name__)\nsys.exit = print",
    "new in sys": "import sys\nprint(hasattr(sys, 'left'))\nsys.left = 1",
    "set by name": "import sys\nprint(sys.maxsize)\nsetattr(sys, 'max' + 'size', 1)",
    "modules": "import sys\nprint('left' in sys.modules)\nsys.modules['left'] = sys",
    "hook": "import sys\nprint(sys.displayhook.__name__)\nsys.displayhook = print",
    "path": "import sys\nprint(len(sys.path))\nsys.path.append('x')",
    "trace": "import sys\nprint(sys.gettrace())\nsys.settrace(lambda *a: None)",
    "exit handler": "import atexit\natexit.register(print, 'x')\nprint('y')",
    "daemon thread": "import threading, time\nprint(threading.active_count())\n"
    "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    "raw thread": "import _thread, time\nprint(_thread._count())\n_thread.start_new_thread(time.sleep, (9,))",
    "arguments replaced": "import sys\nsys.argv = tuple(sys.argv)\nprint(1)",
    "default decimal context": "from decimal import *\nprint(Decimal(1) / 3)\nDefaultContext.prec = 5",
    "executor": "from concurrent.futures import ThreadPoolExecutor as T\nT(2).submit(print, 'x')",
}


@pytest.mark.parametrize("name", CARRIES_NOTHING_OVER)
def test_a_shared_child_reports_what_fresh_ones_do(name: str, box: Sandbox) -> None:
    inputs = ["1\n2\n", "1\n2\n", "3"]
    program = CARRIES_NOTHING_OVER[name]
    assert facts(box.run(program, inputs, accept=always)) == facts(box.run(program, inputs))


def facts(report: Report) -> list[tuple[object, ...]]:
    return [(run.status, run.stdout, run.stderr, run.exit_code, run.signal) for run in report.runs]


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos.kill(os.getpid(), 9)",
        "1 / 0",
        "while True: pass",
        "import sys\nsys.exit(1)",
        "import os\nprint(1)\nos._exit(0)",
    ],
)
def test_no_child_waits_after_a_run_that_did_not_end_well(program: str, short_box: Sandbox) -> None:
    marked = f"import os, sys\nprint(os.getpid(), flush=True)\n{program}"
    assert len(set(pids(short_box.run(marked, ["", ""], accept=always)))) == 2


def test_limits_hold_for_each_input_of_a_shared_child(short_box: Sandbox) -> None:
    burn = "import time\nend = time.process_time() + float(input())\nwhile time.process_time() < end: pass"
    report = short_box.run(
        burn, ["0.07", "0.25"], accept=always
    )  # 0.32 s together, the limit is 0.3 for each
    assert [run.status for run in report.runs] == [Status.OK, Status.OK]
    assert report.runs[1].cpu_seconds >= 0.25
    assert short_box.run(burn, ["0", "9"], accept=always).runs[1].status is Status.TIMEOUT
    output = short_box.run("print('x' * int(input()))", ["9000", "9000", "20000"], accept=always)
    assert [run.status for run in output.runs] == [Status.OK, Status.OK, Status.OUTPUT]
    memory = short_box.run("x = bytearray(int(input()) << 20)", ["9", "9", "500"], accept=always)
    assert [run.status for run in memory.runs] == [Status.OK, Status.OK, Status.MEMORY]


def test_inputs_that_share_a_child_have_all_their_cpu_time() -> None:
    burn = "import time\nend = time.process_time() + 0.45\nwhile time.process_time() < end: pass"
    with Sandbox(Limits(cpu_seconds=0.8, wall_seconds=20), workers=1) as box:  # the kernel ends it at 2 s
        report = box.run(burn, [""] * 5, accept=always)
    assert [run.status for run in report.runs] == [Status.OK] * 5


def test_what_one_input_works_out_for_the_next_is_bounded() -> None:
    """A library module keeps it, which no look at the interpreter finds."""
    program = (
        "import math, time\nend = time.process_time() + 0.12\n"
        "print(getattr(math, 'table', None))\nwhile time.process_time() < end: pass\nmath.table = 1"
    )
    with Sandbox(workers=1) as box:
        report = box.run(program, [""] * 3, accept=always)
    assert [run.stdout for run in report.runs] == [b"None\n"] * 3


def test_work_done_while_waiting_is_charged_to_the_next_input() -> None:
    """A program that says by itself that it is done, and then goes on."""
    program = (
        "import gc, os\nfrom array import array\n"
        "channel = [o for o in gc.get_objects() if type(o).__name__ == 'Channel']\n"
        "words = [v for c in channel for v in vars(c).values() if type(v) is bytes]\n"
        "for word in words: os.write(63, word)\n"
        "while True: pass"
    )
    with Sandbox(Limits(cpu_seconds=0.3, wall_seconds=5), workers=1) as box:
        report = box.run(program, ["", ""], accept=always)
        assert report.runs[-1].status is Status.TIMEOUT
        assert box.run("print(1)", [""]).runs[0].stdout == b"1\n"


# Not by a name that would keep the program out of a shared child.
C_TYPES = "c = __import__(''.join(['cty', 'pes']))\n"
FIND_WORD = (
    "import gc, os\n"
    "channels = [o for o in gc.get_objects() if type(o).__name__ == 'Channel']\n"
    "(word,) = [v for c in channels for v in vars(c).values() if type(v) is bytes] or [b'']\n"
)


@pytest.mark.parametrize("said", ["word[:9]", "word * 2", "word + bytes(8)", "b''", "bytes(16)", "word"])
def test_nothing_that_a_program_says_in_the_channel_costs_a_server(said: str) -> None:
    program = f"{FIND_WORD}if word: os.write(63, {said})\nprint(1)"
    with Sandbox(workers=1) as box:
        servers = box._workers[0].pids
        report = box.run(program, ["", "", ""], accept=always)
        assert {run.status for run in report.runs} == {Status.OK}
        assert box._workers[0].pids == servers


@pytest.mark.parametrize("put", ["os.dup2(1, 63)", "os.dup2(os.pipe()[1], 63)", "os.closerange(63, 64)"])
def test_what_a_program_puts_in_the_place_of_the_channel_stays_its_own(put: str, box: Sandbox) -> None:
    report = box.run(f"import os\nprint(1, flush=True)\n{put}", ["", ""], accept=always)
    assert [(run.status, run.stdout) for run in report.runs] == [(Status.OK, b"1\n")] * 2


@pytest.mark.parametrize("name", ["VmHWM: x", "VmHWM:", "VmHWM: 7"])
def test_a_process_by_another_name_costs_no_server_and_hides_no_memory(name: str) -> None:
    """The name stands in the file that the server reads the peak from, and in front of it."""
    program = f"{C_TYPES}c.CDLL(None).prctl(15, b{name!r})\nx = bytes(60 << 20)\nprint(1)"
    with Sandbox(workers=1) as box:
        servers = box._workers[0].pids
        report = box.run(program, ["", ""], accept=always)
        assert box._workers[0].pids == servers
    assert [(run.status, run.stdout) for run in report.runs] == [(Status.OK, b"1\n")] * 2
    assert all(run.max_rss_kb > 1 << 10 for run in report.runs)


@pytest.mark.parametrize(
    "used",
    [
        "math.left = used = hasattr(math, 'left')",
        "used = time.process_time() > 0.02\nwhile time.process_time() < 0.03: pass",
    ],
)
def test_a_program_cannot_try_two_answers_input_by_input(used: str, box: Sandbox) -> None:
    """One in a used child and, that being wrong, another in a fresh one."""
    expected = [b"yes\n", b"no\n", b"yes\n", b"yes\n", b"no\n", b"no\n"]
    program = f"import math, time\n{used}\nprint('no' if used else 'yes')"

    def right(report: Report) -> list[bool]:
        return [run.stdout == output for run, output in zip(report.runs, expected, strict=True)]

    inputs = [""] * len(expected)
    shared = box.run(program, inputs, accept=lambda i, run: run.stdout == expected[i])
    assert right(shared) == right(box.run(program, inputs))


@pytest.mark.parametrize(
    "then",
    [
        "x = bytearray(400 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1",
        "threading.stack_size(1 << 16)\nfor _ in range(3000): "
        "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    ],
    ids=["memory", "threads"],
)
def test_limits_hold_for_a_child_that_only_says_that_it_waits(then: str) -> None:
    program = (
        f"{FIND_WORD}{C_TYPES}import threading, time\nlimit = (c.c_ulong * 2)()\nlibc = c.CDLL(None)\n"
        "libc.getrlimit(2, limit)\nlimit[0] = limit[1]\nlibc.syscall(160, 2, limit)\n"
        f"print(os.getpid(), flush=True)\nos.write(63, word)\n{then}\ntime.sleep(9)"
    )
    peaks, threads = [], []

    def look(i: int, run: Run) -> bool:
        if i == 0:
            status = Path(f"/proc/{int(run.stdout)}/status")
            end = time.monotonic() + 0.8
            with suppress(FileNotFoundError, ProcessLookupError):
                while time.monotonic() < end and "VmHWM:" in (text := status.read_text()):
                    peaks.append(int(text.split("VmHWM:")[1].split()[0]) >> 10)
                    threads.append(int(text.split("Threads:")[1].split()[0]))
        return True

    with Sandbox(Limits(memory_mb=128), workers=1, isolation="base") as box:
        box.run(program, ["", ""], accept=look)
    assert 0 < max(peaks) < 256  # the limit, and what can be touched between two looks
    assert 0 < max(threads) < MAX_THREADS


def test_a_shared_child_does_not_state_its_own_memory(box: Sandbox) -> None:
    report = box.run("x = bytearray(60 << 20)\ndel x\nprint(1)", ["", ""], accept=always)
    assert all(60 << 10 < run.max_rss_kb < 200 << 10 for run in report.runs)


def test_a_waiting_child_is_ended_when_another_program_comes() -> None:
    with Sandbox(workers=1, isolation="base") as box:
        first = box.run("import os\nprint(os.getpid())", ["", "", ""], accept=lambda i, run: i == 0)
        box.run("print(1)", [""])
        assert not any(alive(int(pid)) for pid in pids(first))


def test_a_waiting_child_is_ended_when_nothing_comes() -> None:
    def refuse_slowly(i: int, run: Run) -> bool:
        assert eventually(lambda: i > 0 or not alive(int(run.stdout)))
        return True

    with Sandbox(workers=1, isolation="base") as box:
        report = box.run("import os\nprint(os.getpid())", ["", ""], accept=refuse_slowly)
    assert [run.status for run in report.runs] == [Status.OK, Status.OK]
    assert len(set(pids(report))) == 2


def is_right(outputs: list[str]) -> Accept:
    return lambda i, run: lines(run.stdout) == lines(outputs[i].encode())


@pytest.mark.slow
def test_real_programs_get_the_same_reports_either_way() -> None:
    path = SHARED / "data" / "codecontests.jsonl"
    if not path.exists():
        pytest.skip("the CodeContests sample is not here")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row for row in rows if "TLE" not in row["plain_python_verdicts"]]
    with Sandbox(Limits(cpu_seconds=10, output_kb=4096)) as box:
        fresh = box.map([(row["solutions"][0], row["inputs"]) for row in rows])
        shared = box.map([(row["solutions"][0], row["inputs"], is_right(row["outputs"])) for row in rows])
    assert [facts(report) for report in shared] == [facts(report) for report in fresh]


def test_hostile_programs_get_the_same_reports_either_way() -> None:
    folder = SHARED / "hostile"
    if not folder.exists():
        pytest.skip("the hostile corpus is not here")
    cases = json.loads((folder / "expected.json").read_text())
    quick = {
        name: case for name, case in cases.items() if case["verdict"] in ("AC", "WA", "RE", "CE", "DENIED")
    }
    jobs = [((folder / f"{name}.py").read_bytes(), [case["stdin"]] * 2) for name, case in quick.items()]
    with Sandbox(CORPUS_LIMITS) as box:
        fresh = box.map(jobs)
        shared = box.map([(program, inputs, always) for program, inputs in jobs])
    differ = [
        name
        for name, one, two in zip(quick, fresh, shared, strict=True)
        if [(r.status, r.stdout, r.exit_code) for r in one.runs]
        != [(r.status, r.stdout, r.exit_code) for r in two.runs]
    ]
    assert differ == []
