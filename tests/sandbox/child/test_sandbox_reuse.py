"""One child for several inputs: who may share it, what it may carry over (nothing), and its limits."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from corpus import SHORT as CORPUS_LIMITS
from corpus import lines
from sandbox_helpers import alive, descendants, eventually

from sandbox import Accept, Limits, Report, Run, Sandbox, Status
from sandbox.session import Session

SHARED = Path(__file__).parents[3].parent / "shared"
ECHO = "print(input())"


def always(i: int, run: Run) -> bool:
    return True


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The inputs that used children have run."""
    served: list[bytes] = []
    run_next = Session.run_next

    def spy(self: Session, stdin: bytes, keep: bool) -> Run | None:
        run = run_next(self, stdin, keep)
        if run is not None:
            served.append(stdin)
        return run

    monkeypatch.setattr(Session, "run_next", spy)
    yield served


def test_accepted_inputs_share_a_child(box: Sandbox, used: list[bytes]) -> None:
    report = box.run(ECHO, ["a", "b", "c"], accept=always)
    assert [run.stdout for run in report.runs] == [b"a\n", b"b\n", b"c\n"]
    assert used == [b"b", b"c"]


def test_accept_is_called_here_once_per_input_and_in_order(box: Sandbox, used: list[bytes]) -> None:
    calls: list[tuple[int, bytes]] = []

    def accept(i: int, run: Run) -> bool:
        calls.append((i, run.stdout.strip()))
        return i != 1

    box.run(ECHO, ["a", "b", "c", "d"], accept=accept)
    assert calls == [(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d")]
    assert used == [b"b", b"d"]  # c needed a fresh child


def test_a_program_that_could_keep_something_gets_fresh_children(box: Sandbox, used: list[bytes]) -> None:
    report = box.run(
        "import time\ntime.left = getattr(time, 'left', 0) + 1\nprint(time.left)", [""] * 4, accept=always
    )
    assert [run.stdout for run in report.runs] == [b"1\n"] * 4
    assert used == []


def test_a_used_child_that_runs_out_of_memory_leaves_it_to_a_fresh_one(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "run_next", lambda self, stdin, keep: Run(Status.MEMORY))
    report = box.run(ECHO, ["a", "b"], accept=always)
    assert [run.stdout for run in report.runs] == [b"a\n", b"b\n"]


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
def test_reports_are_those_of_fresh_children(name: str, box: Sandbox) -> None:
    inputs = ["1\n2\n", "1\n2\n", "3"]
    program = CARRIES_NOTHING_OVER[name]
    assert facts(box.run(program, inputs, accept=always)) == facts(box.run(program, inputs))


KEEPS_NOTHING = {
    "globals": "x = [1]\nx.append(input())\nprint(x)",
    "default argument": "def f(x, seen=[]):\n    seen.append(x)\n    return seen\nprint(f(input()), f(1))",
    "cache": "from functools import lru_cache\n@lru_cache(None)\ndef f(n):\n    print('called')\n"
    "    return n\nprint(f(input()) + f('x') + f('x'))",
    "recursion limit": "import sys\ndef f(n):\n    return n and f(n - 1)\nf(900)\nsys.setrecursionlimit(50)\n"
    "print(f(10))",
    "streams": "import sys\ndata = sys.stdin.read().split()\nsys.stdout.write(str(data))",
    "open(0)": "print(open(0).read().split())",
    "exit": "print(input())\nexit(0)",
    "dictionaries": "from collections import defaultdict, Counter\nd = defaultdict(int)\nd[input()] += 1\n"
    "print(d, Counter('abca'))",
    "names of built-in functions": "sum = 0\nlist = [1, 2]\nfor i in list: sum += i\nprint(sum, list)",
    "a warning at compile time": "print(input())\nprint(1 is 1)",
}


@pytest.mark.parametrize("name", KEEPS_NOTHING)
def test_reports_of_used_children_are_those_of_fresh_ones(name: str, box: Sandbox, used: list[bytes]) -> None:
    inputs = ["1\n2\n", "1\n2\n", "3"]
    program = KEEPS_NOTHING[name]
    shared = box.run(program, inputs, accept=always)
    assert facts(shared) == facts(box.run(program, inputs))
    assert bool(used) == ("warning" not in name)


def facts(report: Report) -> list[tuple[object, ...]]:
    return [(run.status, run.stdout, run.stderr, run.exit_code, run.signal) for run in report.runs]


def test_recursion_goes_as_deep_in_a_used_child(box: Sandbox, used: list[bytes]) -> None:
    deep = "def f(n):\n    print(n)\n    f(n + 1)\nf(1)"
    deepest = int(box.run(deep, [""]).runs[0].stdout.split()[-1])
    report = box.run("def f(n):\n    if n > 1: f(n - 1)\nf(int(input()))", [str(deepest)] * 3, accept=always)
    assert [run.status for run in report.runs] == [Status.OK] * 3
    assert len(used) == 2


@pytest.mark.parametrize("program", ["1 / 0", "while True: pass", "exit(1)", "raise SystemExit('no')"])
def test_no_child_waits_after_a_run_that_did_not_end_well(
    program: str, short_box: Sandbox, used: list[bytes]
) -> None:
    short_box.run(program, ["", ""], accept=always)
    assert used == []


BURN = "n = int(input())\nwhile n: n -= 1\n"


def test_limits_hold_for_each_input_of_a_shared_child(
    short_box: Sandbox, small_box: Sandbox, used: list[bytes]
) -> None:
    assert short_box.run(BURN, ["0", "-1"], accept=always).runs[1].status is Status.TIMEOUT
    output = small_box.run("print('x' * int(input()))", ["9000", "9000", "20000"], accept=always)
    assert [run.status for run in output.runs] == [Status.OK, Status.OK, Status.OUTPUT]
    memory = small_box.run("x = bytearray(int(input()) << 20)", ["9", "9", "500"], accept=always)
    assert [run.status for run in memory.runs] == [Status.OK, Status.OK, Status.MEMORY]
    assert used == [b"-1", b"9000", b"20000", b"9", b"500"]


def test_a_later_input_has_no_more_time_for_having_been_compiled_before(used: list[bytes]) -> None:
    """A fresh child would have to compile it again, so that is charged again."""
    program = ECHO + "\nif 0:\n" + " x = [" + "1, " * 2000 + "]\n"
    with Sandbox(workers=1) as box:
        first, second = box.run(program, ["a", "b"], accept=always).runs
    assert used == [b"b"]
    assert second.cpu_seconds > first.cpu_seconds > 0.002


@pytest.mark.slow
def test_inputs_that_share_a_child_have_all_their_cpu_time(used: list[bytes]) -> None:
    with Sandbox(Limits(cpu_seconds=0.8, wall_seconds=20), workers=1) as box:  # the kernel ends it at 2 s
        report = box.run("n = 10**6\nwhile n: n -= 1", [""] * 30, accept=always)
    assert {run.status for run in report.runs} == {Status.OK}


@pytest.mark.slow
def test_what_used_children_work_out_is_bounded(used: list[bytes]) -> None:
    """After 0.1 s of CPU a child takes no further input."""
    with Sandbox(workers=1) as box:
        box.run("n = 9 * 10**6\nwhile n: n -= 1", [""] * 3, accept=always)
    assert used == []


def test_a_shared_child_does_not_state_its_own_memory(box: Sandbox, used: list[bytes]) -> None:
    report = box.run("x = bytearray(30 << 20)\ndel x\nprint(1)", ["", ""], accept=always)
    assert used and all(30 << 10 < run.max_rss_kb < 200 << 10 for run in report.runs)


def test_a_waiting_child_is_ended_when_another_program_comes() -> None:
    with Sandbox(workers=1, isolation="base") as box:
        server = box._workers[0].pids[0]
        waiting: set[int] = set()

        def look(i: int, run: Run) -> bool:
            waiting.update(descendants(server))
            return i == 0

        box.run(ECHO, ["a", "b", "c"], accept=look)
        box.run("print(1)", [""])
        assert waiting and not any(map(alive, waiting))


def test_a_waiting_child_is_ended_when_nothing_comes(used: list[bytes]) -> None:
    def refuse_slowly(i: int, run: Run) -> bool:
        assert eventually(lambda: i > 0 or not descendants(server))
        return True

    with Sandbox(workers=1, isolation="base") as box:
        server = box._workers[0].pids[0]
        report = box.run(ECHO, ["a", "b"], accept=refuse_slowly)
    assert [run.status for run in report.runs] == [Status.OK, Status.OK]
    assert used == []


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


@pytest.mark.slow
def test_hostile_programs_get_the_same_reports_either_way() -> None:
    folder = SHARED / "hostile"
    if not folder.exists():
        pytest.skip("the hostile corpus is not here")
    cases = json.loads((folder / "expected.json").read_text())
    quick = {
        name: case for name, case in cases.items() if case["verdict"] in ("AC", "WA", "RE", "CE", "DENIED")
    }
    jobs = [((folder / f"{name}.py").read_bytes(), [case["stdin"]] * 2) for name, case in quick.items()]
    with Sandbox(replace(CORPUS_LIMITS, cpu_seconds=10.0)) as box:  # none of them is near a limit
        fresh = box.map(jobs)
        shared = box.map([(program, inputs, always) for program, inputs in jobs])
    differ = [
        name
        for name, one, two in zip(quick, fresh, shared, strict=True)
        if [(r.status, r.stdout, r.exit_code) for r in one.runs]
        != [(r.status, r.stdout, r.exit_code) for r in two.runs]
    ]
    assert differ == []
