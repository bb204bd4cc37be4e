"""A program runs as under plain CPython: the reference of most tests here is `python program.py < input`."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import Run, Sandbox, Status

STDIN = "héllo\r\nwörld\rx\nlast"

SAME_AS_PYTHON = {
    "input": "print(ascii(input()), ascii(input()), ascii(input()))",
    "read": "import sys\nprint(ascii(sys.stdin.read()))",
    "lines": "import sys\nfor line in sys.stdin: print(len(line))",
    "past the end": "for i in range(9): input()",
    "unread input": "print(1)",
    "prompt": "input('n? ')",
    "open 0": "print(ascii(open(0).read()))",
    "/dev/stdin": "print(ascii(open('/dev/stdin').read()))",
    "os.open": "import os\nprint(ascii(os.read(os.open('/dev/stdin', os.O_RDONLY), 1 << 20).decode()))",
    "os.open of a path": (
        "import os, pathlib\nprint(ascii(os.fdopen(os.open(pathlib.Path('/dev/stdin'), os.O_RDONLY)).read()))"
    ),
    "pathlib": "import pathlib\nprint(ascii(pathlib.Path('/dev/stdin').read_text()))",
    "fstat": "import os\nprint(os.read(0, os.fstat(0).st_size))",
    "mmap": "import mmap\nprint(mmap.mmap(0, 0, access=mmap.ACCESS_READ)[:])",
    "stdin is 0": "import sys\nprint(sys.stdin.fileno(), sys.stdin.name, sys.stdin.isatty(), sys.stdin.mode)",
    "streams": "import sys\nfor s in sys.stdin, sys.stdout: print(s, s.newlines, s.line_buffering, "
    "s.write_through, s.buffer, s.buffer.raw)\n"
    "print(sys.stdin.tell(), sys.stdin.seekable(), sys.stderr.errors)",
    "streams are their own": "import sys\nprint(sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__)",
    "arguments": "import sys\nprint(sys.argv)",
    "exit()": "exit()",
    "quit(3)": "quit(3)",
    "sys.exit(3)": "import sys\nsys.exit(3)",
    "sys.exit(-1)": "import sys\nsys.exit(-1)",
    "sys.exit(256)": "import sys\nsys.exit(256)",
    "sys.exit(huge)": "import sys\nsys.exit(10**30)",
    "sys.exit(str)": "import sys\nsys.exit('no')",
    "exit in finally": "import sys\ntry: sys.exit(3)\nfinally: print('f')",
    "exit in a thread": "import threading, sys\n"
    "t = threading.Thread(target=sys.exit)\nt.start()\nt.join()\nprint(1)",
    "os._exit": "import os\nprint('lost')\nos._exit(0)",
    "os._exit replaced": "import os\nos._exit = lambda code: None\nprint(1)",
    "error": "def f(): 1 / 0\nprint(1)\nf()",
    "hook": "import sys\nsys.excepthook = lambda *a: print('hook')\n1 / 0",
    "hook exits": "import sys\nsys.excepthook = lambda *a: sys.exit(3)\n1 / 0",
    "finalizer of a module that is held": "import sys\nn = 3\nclass A:\n"
    "  def __del__(s): sys.stdout.write(str(n))\na = A()\nsys.held = sys.modules['__main__']",
    "finalizer after an error": "n = 3\nclass A:\n  def __del__(s): print(n)\na = A()\na.a = a\n1 / 0",
    "finalizer of a local": "n = 3\nclass A:\n  def __del__(s): print(n)\ndef f():\n  a = A()\n  1 / 0\nf()",
    "print of C": "import ctypes\nprint(1, flush=True)\nctypes.CDLL(None).printf(b'x')",
    "modules by name": "from importlib import import_module\n"
    "for (name, *_), _ in ((('hashlib', 1), 2), (('math', 3), 4)): print(import_module(name).__name__)",
    "low recursion limit": "import sys\nprint(1)\nsys.setrecursionlimit(5)",
    "modules replaced": "import sys\nclass A:\n  def __del__(s): print('bye')\na = A()\nsys.modules = None",
    "segfault": "import ctypes\nctypes.string_at(0)",
    "abort": "import os\nos.abort()",
    "atexit": "import atexit\natexit.register(print, 'x')\nprint('y')",
    "printed before a handler writes": "import atexit, os\n"
    "atexit.register(os.write, 1, b'second')\nprint('first')",
    "printed before a handler ends it": "import atexit, os\natexit.register(os._exit, 0)\nprint(1)",
    "printed before a thread ends it": "import os, threading, time\n"
    "threading.Thread(target=lambda: (time.sleep(0.05), os._exit(0))).start()\nprint(1)",
    "printed before a hook ends it": "import os, sys\n"
    "sys.excepthook = lambda *a: os._exit(0)\nprint(1)\n1 / 0",
    "printed before the error": "import os\nos.dup2(1, 2)\nprint(1)\nraise SystemExit('no')",
    "stdout deleted": "import sys\nprint(1)\ndel sys.stdout",
    "exit with a text and no stderr": "import sys\nsys.stderr = None\nsys.exit('no')",
    "thread outlives main": "import threading, time\n"
    "threading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()\nprint('early')",
    "daemon thread": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "executor": "from concurrent.futures import ThreadPoolExecutor as T\nT(2).submit(print, 'x')",
    "big stack": "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(2**29)\n"
    "def f(n): return n and 1 + f(n - 1)\nt = threading.Thread(target=lambda: print(f(50000)))\nt.start()",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**6)\n"
    "def f(n): return n and 1 + f(n - 1)\nprint(f(50000))",
    "endless recursion": "def f(): f()\nf()",
    "stack idiom": "import resource\nresource.setrlimit(resource.RLIMIT_STACK,"
    " resource.getrlimit(resource.RLIMIT_STACK))\nprint(1)",
    "main guard": "if __name__ == '__main__': print(__spec__, type(__builtins__), *sorted(globals()))",
    "main module": "import sys\nprint(vars(sys.modules['__main__']) is globals())",
    "pickled class": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))))",
    "dataclass": "from dataclasses import dataclass\nfrom typing import ClassVar\n@dataclass\nclass A:\n"
    "  x: 'ClassVar[int]' = 1\n  y: int = 2\nprint(A())",
    "future": "from __future__ import annotations\ndef f(x: nothing): return 1\nprint(f.__annotations__)",
    "no future of ours": "def f(x: int): return 1\nprint(f.__annotations__)",
    "strptime": "import datetime\nprint(datetime.datetime.strptime('2020-01-02', '%Y-%m-%d'))",
    "del at exit": "class A:\n  def __del__(s): print('bye')\na = A()\na.me = a\ndef f(): return a",
    "file left open": "out = open(1, 'w')\nout.write('x')",
    "stdout wrapped": "import sys, io\n"
    "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf8')\nprint('é')",
    "stdout detached": "import sys, io\nsys.stdout = io.TextIOWrapper(sys.stdout.detach())\nprint(1)",
    "stdin detached": "import sys, io\nprint(io.TextIOWrapper(sys.stdin.detach(), 'utf8').read(3))",
    "finalizer with globals": "import sys\nn = 3\nclass A:\n  def __del__(s): sys.stdout.write(str(n))\n"
    "a = A()",
    "fast io left to its end": "import os, io\nclass W(io.IOBase):\n  def __init__(s): s.b = io.BytesIO()\n"
    "  def flush(s): os.write(1, s.b.getvalue()); s.b.truncate(0)\nout = W()\nout.b.write(b'x')",
    "stdout replaced": "import sys, io\nprint('a')\nsys.stdout = io.StringIO()\nprint('b')",
    "stdout closed": "import sys\nprint(1)\nsys.stdout.close()",
    "fd 1 closed": "import os\nos.close(1)\nprint(1)",
    "fast io": "import sys, os, io\nclass W:\n  def __init__(s): s.b = io.BytesIO()\n"
    "  def write(s, x): s.b.write(x.encode())\n  def flush(s): os.write(1, s.b.getvalue()); s.b.truncate(0)\n"
    "sys.stdout = W()\nprint('x')",
    "buffer and text": "import sys\nprint('a')\nsys.stdout.flush()\nsys.stdout.buffer.write(b'b\\n')",
    "surrogate": "print('\\ud800')",
    "lazy imports": "import json, sqlite3, asyncio, xml.dom\nprint(1)",
    "no sandbox to import": "import sandbox",
    "hash": "print(hash('a'), {'x', 'y', 'z'})",
    "gc": "import gc\nprint(gc.isenabled(), gc.get_threshold())",
    "signals": "import signal\n"
    "print([signal.getsignal(s) for s in (2, 13, 15, 17)], signal.pthread_sigmask(0, []))",
    "no input file": "import sys\n"
    "try: sys.stdin = open('input.txt')\nexcept FileNotFoundError: print(input())",
    "no such module": "try: import nothing_of_the_kind\nexcept ModuleNotFoundError as e: print(e)",
    "memory error caught": "try: x = [0] * (1 << 50)\nexcept MemoryError: print('caught')",
    "alarm": "import signal, time\n"
    "signal.signal(14, lambda *a: print('alarm'))\nsignal.alarm(1)\nsignal.pause()",
    "default signal": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\nsignal.pause()",
    "pipe and select": "import os, select\nr, w = os.pipe()\nos.write(w, b'x')\n"
    "print(select.select([r], [], [], 0)[0] == [r])",
    "wait for nobody": "import os\ntry: os.wait()\nexcept ChildProcessError: print('none')",
    "codecs": "print('aé'.encode('cp1252'), 'a'.encode('utf-16'), b'61'.hex(), 'a'.encode('idna'))",
    "codecs by name": "import codecs\n"
    "print('aé'.encode('utf-7'), 'bücher.de'.encode('idna'), 'ü'.encode('punycode'))\n"
    "print([codecs.encode(b'x', name) for name in ('hex', 'base64', 'zlib')], 'é'.encode('utf-32-le'))",
    "time zone": "import time, datetime\nprint(time.localtime(0)[:6], datetime.datetime.fromtimestamp(0))",
    "names of modules": "code = html = trace = uuid = 1\nprint(code + html)",
}


@pytest.mark.parametrize("name", SAME_AS_PYTHON)
def test_same_output_and_exit_status_as_python(name: str, one: Callable[..., Run], tmp_path: Path) -> None:
    program = SAME_AS_PYTHON[name]
    (tmp_path / "program.py").write_text(program)
    (tmp_path / "input").write_bytes(STDIN.encode())
    with open(tmp_path / "input", "rb") as stdin:
        plain = subprocess.run(
            [sys.executable, "-X", "utf8", "program.py"],
            stdin=stdin,
            capture_output=True,
            cwd=tmp_path,
            env={"PYTHONHASHSEED": "0"},
        )
    run = one(program, STDIN)
    assert run.stdout == plain.stdout
    assert (run.exit_code if run.signal is None else -run.signal) == plain.returncode
    assert run.status is (Status.OK if plain.returncode == 0 else Status.CRASH)


def test_traceback_names_the_program_and_no_frame_of_ours(one: Callable[..., Run]) -> None:
    stderr = one("x = 1\nint('x')").stderr
    assert 'File "program.py", line 2' in stderr
    assert stderr.count("File ") == 1
    assert stderr.splitlines()[-1].startswith("ValueError")


@pytest.mark.parametrize("module", ["torch", "pytest", "yaml", "sandbox"])
def test_only_the_standard_library_and_numpy_import(module: str, one: Callable[..., Run]) -> None:
    assert f"No module named '{module}'" in one(f"import {module}").stderr


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        ("x =", "SyntaxError"),
        ("if 1:\nx", "IndentationError"),
        ("x = 1\0", ""),  # ValueError before 3.11.4, SyntaxError after
        (b"\xff\xfe", "SyntaxError"),
        ("x = '\ud800'", "UnicodeEncodeError"),
        ("# coding: nothing\n", None),  # a str has no encoding
        (b"# coding: nothing\n", "SyntaxError"),
        ("(" * 300 + ")" * 300, ""),
        ("x = " + "-" * 50_000 + "1", ""),  # recursion in the parser
    ],
)
def test_what_compile_refuses_does_not_compile(program: str | bytes, cause: str | None, box: Sandbox) -> None:
    report = box.run(program, ["", ""])
    assert report.compiles == (cause is None)
    if cause is not None:
        assert report.runs == ()
        assert report.error and cause in report.error and "\n" not in report.error


def test_bytes_honour_their_encoding_cookie_and_text_needs_none(one: Callable[..., Run]) -> None:
    program = "# -*- coding: latin-1 -*-\nprint('é')"
    assert one(program.encode("latin-1")).stdout == "é\n".encode()
    assert one(program).stdout == "é\n".encode()
    assert one("\ufeffprint(1)").stdout == one(b"\xef\xbb\xbfprint(1)").stdout == b"1\n"


def test_compile_is_checked_without_inputs_and_nothing_runs(box: Sandbox) -> None:
    assert box.run("while True: pass", []) == box.run("", [])
    assert box.run("", []).compiles
    assert not box.run("x =", []).compiles


def test_compile_is_under_the_limits(small_box: Sandbox) -> None:
    # The compiler copies a finally block to each way out of its try: nesting doubles the code each time.
    bomb = "".join(" " * i + "try: f()\n" + " " * i + "finally:\n" for i in range(20)) + " " * 20 + "f()\n"
    report = small_box.run(bomb, [""])
    assert (report.compiles, report.runs) == (False, ())
    assert report.error is not None and report.error.startswith("compile: over the")
    assert "limit" in report.error


def test_a_long_program_does_not_compile(small_box: Sandbox) -> None:
    report = small_box.run("x = 1\n" * 4000, [""])
    assert (report.compiles, report.runs) == (False, ())
    assert report.error is not None and "24000 bytes" in report.error


def test_source_of_exactly_the_limit_is_accepted(small_box: Sandbox) -> None:
    text = "#" * (16 * 1024)
    assert small_box.run(text, []).compiles
    assert not small_box.run(text + "#", []).compiles


def test_runs_repeat(one: Callable[..., Run]) -> None:
    program = (
        "import random\nprint(random.random(), random.sample(range(99), 9), {'a', 'b', 'c', 'd'}, hash('x'))"
    )
    assert one(program).stdout == one(program).stdout
