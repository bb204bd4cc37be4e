"""Where a program failed, as the sandbox's own standard error tells it."""

import pytest

from reward.outcome import judge
from reward.security import NOT_PARSED
from reward.traceback import compiler_line, failed_lines
from sandbox import Sandbox


@pytest.fixture(scope="module")
def box():
    with Sandbox(workers=1) as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    ("program", "lines"),
    [
        ("def f(x):\n    return 1 / x\n\nprint('hi')\nf(0)\n", (5, 2)),
        ("def f(n):\n    return f(n + 1)\nf(0)\n", (3, 2)),  # "Previous line repeated 994 more times"
        ("import json\njson.loads('{')\n", (2, 2)),  # frames of the standard library do not count
        ("try:\n    1 / 0\nexcept ValueError:\n    pass\nx = 1\n", (2, 2)),
        ("try:\n    1 / 0\nexcept Exception as e:\n    raise ValueError from e\n", (4, 4)),  # the last one
        ("raise ValueError('''a\n  File \"program.py\", line 77, in <module>\nb''')\n", (1, 1)),
        ("import atexit\n@atexit.register\ndef f():\n    1 / 0\nprint(1)\nraise SystemExit(3)\n", (None, 4)),
        ("a = 1\r\nb = '''\r\n'''\r\nc\r\n", (4, 4)),
        ("exec('1/0')\n", (1, 1)),
        ("import sys\nsys.exit(1)\n", (None, None)),
        ("print(1)\n", (None, None)),
    ],
)
def test_lines_of_a_traceback(box, program, lines):
    """The module's line and the innermost line of the program, in what the sandbox reports."""
    (run,) = box.run(program, [""]).runs
    assert failed_lines(run.stderr) == lines


@pytest.mark.parametrize(
    ("program", "line"), [("x = 1\ny = (\n", 2), ("a = 1\r\nif a\r\n    b\r\n", 2), ("x = '\0'", None)]
)
def test_line_of_a_compiler_message(box, program, line):
    """A null byte is an error without a line."""
    report = box.run(program, [""])
    assert not report.compiles and compiler_line(report.error or "") == line


def test_an_outcome_knows_where_each_run_failed(box):
    """One entry per test, None where it passed or ran out of time; one if it does not compile."""
    program = "n = int(input())\nif n == 2:\n    while True:\n        pass\nprint(6 // n)\n"
    report = box.run(program, ["1", "0", "2"])
    outcome = judge(report, [b"6", b"6", b"6"], lambda out, want: out.strip() == want, NOT_PARSED)
    assert outcome is not None and outcome.tracebacks == (None, (5, 5), None)
    assert type(outcome).from_dict(outcome.to_dict()) == outcome
    broken = judge(box.run("x = (\n", ["1"]), [b"6"], lambda out, want: False, NOT_PARSED)
    assert broken is not None and broken.tracebacks == ((None, 1),)
