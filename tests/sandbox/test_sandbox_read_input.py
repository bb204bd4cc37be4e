"""`Run.read_input`: whether a program asked for its standard input, whichever way it did."""

import pytest

from sandbox import Run, Sandbox, Status

READERS = {
    "input": "input()",
    "one byte": "import os; os.read(0, 1)",
    "by position": "import os; os.pread(0, 1, 3)",
    "into a buffer": "import os; os.readv(0, [bytearray(1)])",
    "mapped": "import mmap; mmap.mmap(0, 0, access=mmap.ACCESS_READ)",
    "sys.stdin": "import sys; sys.stdin.read(1)",
    "the binary stream": "import sys; next(sys.stdin.buffer)",
    "the raw stream": "import sys; sys.stdin.buffer.raw.read(1)",
    "a descriptor": "open(0).readline()",
    "a path": "open('/dev/stdin').readline()",
    "a duplicate": "import os; os.read(os.dup(0), 1)",
    "through C": "import ctypes; ctypes.CDLL(None).getchar()",
    "and then crashes": "input(); 1 / 0",
    "and then never ends": "input()\nwhile True: pass",
}
IDLERS = {
    "empty": "",
    "comment": "# 0.9375",
    "expression": "0.9375",
    "prints": "print(1)",
    "asks for its size only": "import os, sys; os.fstat(0), sys.stdin.fileno(), sys.stdin.isatty()",
    "names it only": "def main():\n    return input()",
    "crashes first": "1 / 0; input()",
    "never ends": "while True: pass",
}


@pytest.mark.parametrize("way", READERS)
def test_every_way_of_reading_is_seen(small_box: Sandbox, way: str) -> None:
    assert small_box.run(READERS[way], ["3 4\n5\n"]).runs[0].read_input


@pytest.mark.parametrize("way", IDLERS)
def test_what_reads_nothing_is_seen_too(small_box: Sandbox, way: str) -> None:
    assert not small_box.run(IDLERS[way], ["3 4\n5\n"]).runs[0].read_input


@pytest.mark.parametrize("program", ["input()", "import sys; sys.stdin.read()", "import os; os.read(0, 9)"])
def test_asking_an_empty_input_is_reading(small_box: Sandbox, program: str) -> None:
    assert small_box.run(program, [""]).runs[0].read_input


def test_each_run_speaks_for_itself(box: Sandbox) -> None:
    """In one child too: its second input is another file."""
    program = "import os\nif os.fstat(0).st_size > 2: print(input())"
    for accept in (None, lambda i, run: True):
        runs = box.run(program, ["1\n", "100\n", "1\n", "100\n"], accept=accept).runs
        assert [run.read_input for run in runs] == [False, True, False, True]


def test_a_fault_has_read_nothing() -> None:
    assert not Run(Status.FAULT).read_input
