"""Code of the caller's in the program's place: what it finds, and that all else is as without it."""

import pytest

from sandbox import Sandbox, Status


def harness(text: str):
    return compile(text, "harness.py", "exec")


SHOW = harness("names = {}\nexec(__program__, names)\nprint(names['answer'], __name__, input())")


def test_it_finds_the_compiled_program_and_the_input(box: Sandbox) -> None:
    report = box.run("answer = 6 * 7", ["a", "b"], harness=SHOW)
    assert [run.stdout for run in report.runs] == [b"42 __main__ a\n", b"42 __main__ b\n"]
    assert all(run.status is Status.OK and run.read_input for run in report.runs)


def test_the_program_alone_decides_whether_it_compiles(box: Sandbox) -> None:
    report = box.run("x = (", ["a"], harness=SHOW)
    assert (report.compiles, report.runs) == (False, ())
    assert report.error is not None and "program.py, line 1" in report.error


def test_a_traceback_has_the_frames_of_both(box: Sandbox) -> None:
    (run,) = box.run("\n\n1 / 0", ["a"], harness=SHOW).runs
    assert run.status is Status.CRASH
    assert 'File "harness.py", line 2' in run.stderr and 'File "program.py", line 3' in run.stderr
    assert "boot.py" not in run.stderr


def test_the_programs_own_names_decide_which_server_runs_it(box: Sandbox) -> None:
    (run,) = box.run("import hashlib\nanswer = hashlib.md5(b'').hexdigest()[:4]", ["a"], harness=SHOW).runs
    assert run.stdout == b"d41d __main__ a\n"


def test_every_input_has_a_fresh_child(box: Sandbox) -> None:
    """Though the program alone keeps nothing: the harness might."""
    count = harness("import sys\nsys.seen = getattr(sys, 'seen', 0) + 1\nprint(sys.seen)")
    report = box.run("x = 1", ["", "", ""], accept=lambda i, run: True, harness=count)
    assert [run.stdout for run in report.runs] == [b"1\n"] * 3


@pytest.mark.parametrize("program", ["import os\nos._exit(3)", "raise SystemExit(3)"])
def test_the_program_may_end_it(box: Sandbox, program: str) -> None:
    (run,) = box.run(program, ["a"], harness=SHOW).runs
    assert (run.status, run.exit_code, run.stdout) == (Status.CRASH, 3, b"")


def test_the_limits_hold(short_box: Sandbox) -> None:
    (run,) = short_box.run("while True: pass", ["a"], harness=SHOW).runs
    assert run.status is Status.TIMEOUT
