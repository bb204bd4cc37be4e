"""What is read from a source for the sentinels, table by table."""

import ast
from typing import Any

import pytest

from reward.scan.traits import MAX_TEXT, traits


def read(source: str) -> dict[str, Any]:
    tree = ast.parse(source)
    return traits(tree, list(ast.walk(tree)))


@pytest.mark.parametrize(
    ("source", "literals", "keys"),
    [
        ("print(input())", [], []),
        ("print(42, -1, 0.5, 'ab', b'cd', True, None)", ["1", "-1", "42", "ab", "cd", "0.5"], []),
        ("print({'1': 2}[input()])", ["1", "2"], ["1"]),
        ("if input() == '3 4': print(7)", ["7", "3 4"], ["3 4"]),
        ("print([5, 6][0])", ["0", "5", "6"], ["5", "6"]),
        ("match input():\n    case 'x': print(9)", ["9", "x"], ["x"]),
        ("print(input().startswith('ab'))", ["ab"], ["ab"]),
        ("print('1 2'.split())", ["1 2"], ["1 2"]),
        ("n = int(input())\nprint(n % 2)", ["2"], []),
        ("print(f'a{1}b')", ["1", "a", "b"], []),
    ],
)
def test_literals_and_keys(source: str, literals: list[str], keys: list[str]) -> None:
    found = read(source)
    assert (found["literals"], found["keys"]) == (literals, keys)


def test_literals_are_bounded_and_the_shortest_are_kept() -> None:
    found = read("\n".join(f"x = '{i:030}'" for i in range(1000)) + "\nprint('7')")["literals"]
    assert found[0] == "7" and sum(map(len, found)) <= MAX_TEXT
    assert read(f"x = {'9' * 4200}")["literals"] == []  # str() of it would be an error


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("", False),
        ("print(1)", False),
        ("input()", False),
        ("n = input()", False),
        ("a, b = map(int, input().split())", False),
        ("import sys\nsys.stdin.read()", False),
        ("print(input())", True),
        ("n = input()\nn + 1", True),
        ("a, b = map(int, input().split())\nprint(b)", True),
        ("import sys\nfor line in sys.stdin: pass", True),
        ("print(open(0).read())", True),
        ("import os\nprint(os.read(0, 9))", True),
    ],
)
def test_use_of_the_input(source: str, uses: bool) -> None:
    assert read(source)["uses_input"] is uses


@pytest.mark.parametrize(
    ("source", "early"),
    [
        ("print(1)\nexit()", False),
        ("import sys\nsys.exit()\nprint(1)", True),
        ("from sys import exit as stop\nstop(0)\nprint(1)", True),
        ("from os import _exit\n_exit(0)\nx = 1", True),
        ("raise SystemExit\nprint(1)", True),
        ("raise ValueError\nprint(1)", False),
        ("if input():\n    exit()\nprint(1)", False),
        ("if True:\n    exit()\nprint(1)", True),
        ("exit()\ndef f():\n    pass\nimport os\n'text'", False),
        ("def stop():\n    exit()\nstop()\nprint(1)", True),
        ("def main():\n    print(1)\n    exit()\nmain()\nprint(2)", False),
        ("import sys\nsys.excepthook = print", True),
        ("import atexit, os\natexit.register(os._exit, 0)", True),
        ("import atexit, os\natexit.register(lambda: os._exit(0))", True),
        ("import atexit\natexit.register(print, 'done')", False),
    ],
)
def test_leaving_early(source: str, early: bool) -> None:
    assert read(source)["leaves_early"] is early


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("print(open(0).read())", []),
        ("print(open('/dev/stdin').read())", []),
        ("import sys\nsys.stdin = open('input.txt')\nsys.stdout = open('output.txt', 'w')", []),
        ("print(open('/tmp/x', mode='w'))", []),
        ("import os\nprint(os.read(os.open('/dev/stdin', os.O_RDONLY), 9))", []),
        ("import mmap\nprint(mmap.mmap(0, 0, access=mmap.ACCESS_READ).readline())", []),
        ("import mmap, sys\nprint(mmap.mmap(sys.stdin.fileno(), 0, prot=mmap.PROT_READ)[:])", []),
        ("from pathlib import Path\nprint(Path('/dev/stdin').read_text())", []),
        ("import pathlib\nprint(pathlib.Path('/proc/self/fd/0').read_bytes())", []),
        ("from pathlib import Path\nprint(Path('/etc/passwd').read_text())", ["open"]),
        ("import pathlib\nprint(list(pathlib.Path('.').iterdir()))", ["open"]),
        ("from pathlib import Path\nprint(Path(__file__).parent)", ["__file__", "open"]),
        ("from pathlib import Path\nprint(Path.home())", ["pathlib.Path.home"]),
        ("import os\nprint(os.open('/tests', 0))", ["open"]),
        ("import os\nif 'LOCAL' in os.environ: pass\nos.environ.get('LOCAL')\nos.environ['LOCAL']", []),
        ("import os\nos.getenv('DEBUG')", []),
        ("import sys\nsys.setrecursionlimit(9)\nsys.modules", ["sys.modules"]),
        ("import sys\nsys.stdin = open('in' + str(1) + '.dat')", []),
        ("import sys\nsys.stdin = open('/tmp/in' + str(1))", ["open"]),
        ("print(open('tests.json'))", ["open"]),
        ("print(open('../answers.txt'))", ["open"]),
        ("print(open(input()))", ["open"]),
        ("import os\nprint(os.environ)", ["os.environ"]),
        ("import os\nprint(os.environ['ANSWER'])", ["os.environ"]),
        ("from os import environ as e\nprint(dict(e))", ["os.environ"]),
        ("import os\nprint(os.getenv('ANSWER'), os.listdir())", ["os.getenv", "os.listdir"]),
        ("import gc, inspect", ["gc", "inspect"]),
        ("import sys\nprint(sys._getframe().f_back)", ["f_back", "sys._getframe"]),
        ("print(__file__)", ["__file__"]),
        ("def f(): pass\nprint(f.__globals__)", ["__globals__"]),
    ],
)
def test_introspection(source: str, names: list[str]) -> None:
    assert read(source)["introspects"] == names
