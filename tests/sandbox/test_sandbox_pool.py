"""The public calls: order, arguments, faults, and an end that leaves nothing."""

import os
import signal
import socket
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from sandbox_helpers import SHORT, alive, descendants, eventually

import sandbox.pool
from sandbox import Run, Sandbox, SandboxError, Status
from sandbox.worker import Fault, Worker


def test_one_run_per_input_in_order(box: Sandbox) -> None:
    report = box.run("print(int(input()) + 1)", ["1", b"2", "x", "4\n"])
    assert (report.compiles, report.error) == (True, None)
    assert [run.stdout for run in report.runs] == [b"2\n", b"3\n", b"", b"5\n"]
    assert [run.status for run in report.runs] == [Status.OK, Status.OK, Status.CRASH, Status.OK]


def test_without_accept_every_input_gets_a_fresh_child(box: Sandbox) -> None:
    program = "import os, builtins\nprint(os.getpid(), hasattr(builtins, 'left'))\nbuiltins.left = 1"
    report = box.run(program, [""] * 3)
    pids, left = zip(*(run.stdout.split() for run in report.runs), strict=True)
    assert len(set(pids)) == 3
    assert set(left) == {b"False"}


def test_an_error_in_accept_reaches_the_caller_and_harms_nothing(box: Sandbox) -> None:
    with pytest.raises(ZeroDivisionError):
        box.run("", [""], accept=lambda i, run: bool(1 // 0))
    assert box.run("", [""]).runs[0].status is Status.OK


def test_map_keeps_the_order_and_runs_in_parallel() -> None:
    # The first program to be accepted waits until the second is: one at a time would wait for ever.
    both = threading.Barrier(2)

    def meet(i: int, run: Run) -> bool:
        both.wait(60)
        return True

    jobs = [
        ("print('first')", [""], meet),
        ("print('second')", [""], meet),
        ("x =", [""]),
        ("print(3)", ["", ""]),
    ]
    with Sandbox(workers=2) as box:
        reports = box.map(jobs)
    assert [[run.stdout for run in report.runs] for report in reports] == [
        [b"first\n"],
        [b"second\n"],
        [],
        [b"3\n", b"3\n"],
    ]
    assert [report.compiles for report in reports] == [True, True, False, True]


def test_an_error_in_a_job_of_map_ends_the_others(box: Sandbox) -> None:
    asked = []

    def fails(i: int, run: Run) -> bool:
        asked.append(run)
        return bool([][1])

    with pytest.raises(IndexError):
        box.map([("", [""], fails)] * 100)
    assert len(asked) <= len(box._workers)
    assert [report.compiles for report in box.map([("", []), ("x =", [])])] == [True, False]


def test_run_may_be_called_from_many_threads(box: Sandbox) -> None:
    outputs: dict[int, bytes] = {}

    def work(i: int) -> None:
        outputs[i] = box.run("print(input())", [str(i)]).runs[0].stdout

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {i: b"%d\n" % i for i in range(8)}


def test_the_same_program_gets_the_same_verdict_from_every_server() -> None:
    program = "import random\nprint(random.random(), {'a', 'b', 'c'}, hash('x'), input())"
    with Sandbox(workers=2) as box:
        first = box.map([(program, ["1", "2"])] * 4)
    with Sandbox(workers=1) as box:
        second = box.map([(program, ["1", "2"])])
    assert len({tuple((run.status, run.stdout) for run in report.runs) for report in first + second}) == 1


def test_large_input_and_empty_input(box: Sandbox) -> None:
    big = b"x" * (8 << 20)
    runs = box.run("import sys\nprint(len(sys.stdin.buffer.read()))", [big, b""]).runs
    assert [run.stdout for run in runs] == [b"%d\n" % len(big), b"0\n"]


@pytest.mark.parametrize(
    ("program", "inputs", "word"),
    [
        (None, [""], "NoneType"),
        (3, [], "int"),
        ("", ["", 3], "input 1"),
        ("", "abc", "sequence"),
        ("", b"", "sequence"),
    ],
)
def test_wrong_arguments_are_refused(program: object, inputs: object, word: str, box: Sandbox) -> None:
    for call in (lambda: box.run(program, inputs), lambda: box.map([(program, inputs)])):  # type: ignore[arg-type, list-item]
        with pytest.raises(ValueError, match=word):
            call()


def test_too_large_an_input_is_refused(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.pool, "MAX_INPUT_MB", 1)
    with pytest.raises(ValueError, match="input 0"):
        box.run("", ["x" * ((1 << 20) + 1)])


def test_a_server_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.worker, "_COMMAND", ("/bin/false",))
    with pytest.raises(SandboxError, match="started"):
        Sandbox(workers=2)


def status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return ""


def _kill_servers(box: Sandbox, times: int) -> threading.Thread:
    """Kill the server of a one-worker box as soon as it has a child, again after each restart."""
    killed: set[int | None] = {None}

    def server() -> int | None:
        return next(iter(box._workers[0].pids), None)

    def busy() -> bool:
        pid = server()
        return pid not in killed and pid is not None and bool(descendants(pid))

    def work() -> None:
        for _ in range(times):
            if eventually(busy) and (pid := server()) is not None:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_lost_server_is_retried_once() -> None:
    with Sandbox(workers=1) as box:
        killer = _kill_servers(box, 1)
        report = box.run("import time\ntime.sleep(0.7)\nprint(input())", ["a", "b"])
        killer.join()
    assert [run.stdout for run in report.runs] == [b"a\n", b"b\n"]
    assert report.error is None


def test_a_server_lost_twice_is_a_fault_and_the_box_goes_on() -> None:
    with Sandbox(workers=1) as box:
        killer = _kill_servers(box, 2)
        report = box.run("import time\ntime.sleep(0.7)", ["a", "b"])
        killer.join()
        assert [run.status for run in report.runs] == [Status.FAULT, Status.FAULT]
        assert report.compiles and report.error is not None and "server" in report.error
        assert box.run("print(1)", [""]).runs[0].stdout == b"1\n"


def test_a_fault_without_inputs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Worker, *arguments: object) -> None:
        raise Fault("lost")

    with Sandbox(workers=1) as box:
        monkeypatch.setattr(Worker, "ask", fail)
        with pytest.raises(SandboxError, match="lost"):
            box.run("", [])


@pytest.mark.parametrize("isolation", ["base", "auto"])
def test_children_die_with_a_killed_server(isolation: str) -> None:
    def work() -> None:
        with suppress(SandboxError):  # closed before the retry has ended
            box.run("import time\ntime.sleep(60)", [""])

    with Sandbox(workers=1, isolation=isolation) as box:
        (server,) = box._workers[0].pids
        idle = descendants(server)
        thread = threading.Thread(target=work)
        thread.start()
        assert eventually(lambda: len(descendants(server)) == len(idle) + 1)
        below = descendants(server)
        os.kill(server, signal.SIGKILL)
        assert eventually(lambda: not any(map(alive, below)))
    thread.join()


def test_servers_are_recycled(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(workers=1) as box:
        monkeypatch.setattr(sandbox.worker, "RECYCLE_RUNS", box._workers[0]._servers[False].runs + 2)
        pids = []
        for _ in range(3):
            box.run("", [""])
            pids += box._workers[0].pids
    assert pids[0] == pids[1] != pids[2]


@pytest.mark.parametrize("isolation", ["base", "auto"])
def test_close_leaves_no_process_descriptor_or_file(
    isolation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def traces() -> tuple[object, ...]:
        return descendants(os.getpid()), os.listdir("/proc/self/fd"), os.listdir(tmp_path)

    before = traces()
    with Sandbox(SHORT, workers=2, isolation=isolation) as box:
        box.map([("open('x', 'w').close()", ["", ""])] * 4 + [("while True: pass", [""]), ("x =", [""])])
        box.run("print(1)", [""] * 3, accept=lambda i, run: i == 0)
        assert len(descendants(os.getpid()) - before[0]) >= 2
    assert traces() == before


def test_runs_do_not_pile_up_descriptors(box: Sandbox) -> None:
    def descriptors() -> list[int]:
        pids = [os.getpid(), *descendants(os.getpid())]
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]

    box.run("", [""])
    before = descriptors()
    box.run("open('x', 'w')", [""] * 20)
    box.run("", [""] * 20, accept=lambda i, run: True)
    box.run("", [""] * 20, accept=lambda i, run: bool(i % 2))
    assert descriptors() == before


def test_a_server_holds_nothing_of_its_rehearsal() -> None:
    """Its standard streams, the socket, /proc and the two ends of the pipe for notes."""
    with Sandbox(workers=1, isolation="base") as box:
        (pid,) = box._workers[0].pids
        assert len(os.listdir(f"/proc/{pid}/fd")) == 7


def test_close_ends_a_run_under_way_and_is_final() -> None:
    box = Sandbox(workers=1)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            box.run("import time\ntime.sleep(60)", [""])
        except SandboxError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    (server,) = box._workers[0].pids
    assert eventually(lambda: any("Seccomp:\t2" in status(pid) for pid in descendants(server)))
    start = time.monotonic()
    box.close()
    box.close()
    thread.join()
    assert time.monotonic() - start < 60
    assert [type(error) for error in errors] == [SandboxError]
    for call in (lambda: box.run("", [""]), lambda: box.map([("", [""])])):
        with pytest.raises(SandboxError, match="closed"):
            call()


def test_close_ends_a_map_that_has_not_begun_like_any_other() -> None:
    box = Sandbox(workers=1)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            box.map([("import time\ntime.sleep(60)", [""])])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    (server,) = box._workers[0].pids
    for thread in threads:
        thread.start()
    assert eventually(lambda: any("Seccomp:\t2" in status(pid) for pid in descendants(server)))
    assert eventually(lambda: box._threads._work_queue.qsize() > 0)  # the other map's
    box.close()
    for thread in threads:
        thread.join()
    assert [type(error) for error in errors] == [SandboxError] * 2


def test_descriptors_that_others_have_under_way_are_not_in_the_way() -> None:
    """The kernel refuses to pass more while a user has as many under way as one process may open."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        socket.send_fds(ours, [b"x"], [0] * 100)
        with Sandbox(workers=1, isolation="base") as box:
            report = box.run("print(input())", ["a", "b", "c"], accept=lambda i, run: True)
    assert [(run.status, run.stdout) for run in report.runs] == [(Status.OK, b"%c\n" % c) for c in b"abc"]


def test_a_forked_copy_of_the_caller_can_neither_use_nor_close_the_box(box: Sandbox) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            box.close()
            box.run("", [""])
        except SandboxError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert box.run("print(1)", [""]).runs[0].stdout == b"1\n"
