"""Programs for function-call tasks, and what each is: right, on some rung of the ladder, or hostile."""

from reward import Stage

RIGHT = "def add(a, b):\n    return a + b\n"

WAYS_TO_BE_RIGHT = {
    "a function": "def add(a, b):\n    return a + b\n",
    "a lambda": "add = lambda a, b: a + b",
    "another name": "def plus(a, b): return a + b\nadd = plus",
    "an object that is called": ("class Add:\n    def __call__(self, a, b): return a + b\nadd = Add()"),
    "from an import": "from operator import add",
    "a docstring and a future": (
        '"""Adds."""\nfrom __future__ import annotations\ndef add(a: No, b: Such) -> Thing:\n    return a + b'
    ),
    "a dataclass beside it": (
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class P:\n"
        "    a: int\n"
        "def add(a, b):\n"
        "    return a + b\n"
    ),
    "a main block that would fail": (
        "def add(a, b):\n"
        "    return a + b\n"
        "if __name__ == '__main__':\n"
        "    print(add(*input().split()))\n"
        "    1 / 0"
    ),
    "tests of its own": ("def add(a, b):\n    return a + b\nassert add(1, 1) == 2\nprint(add(2, 2))"),
    "prints": "def add(a, b):\n    print('adding', a, b)\n    return a + b",
    "prints to the descriptor": ("import os\ndef add(a, b):\n    os.write(1, b'3')\n    return a + b"),
    "prints much": "def add(a, b):\n    print('x' * 100000)\n    return a + b",
    "has closed its streams": (
        "import os, sys\nsys.stdout.close()\nsys.stdin.close()\ndef add(a, b):\n    return a + b\n"
    ),
    "has its own stdout": ("import io, sys\nsys.stdout = io.StringIO()\ndef add(a, b):\n    return a + b\n"),
    "has its own json": (
        "import json\njson.dumps = json.loads = None\njson = 5\ndef add(a, b):\n    return a + b\n"
    ),
    "has replaced what the harness may need": (
        "import os\nos.write = os.pread = os.dup = os.fstat = None\ndef add(a, b):\n    return a + b\n"
    ),
    "takes names that we use": (
        "call = answer = args = encode = decode_call = kwargs = 5\ndef add(a, b):\n    return a + b\n"
    ),
    "changes its arguments": "def add(a, b):\n    a += b\n    return a",
    "recursive": ("def add(a, b):\n    return a + b if type(a) is not int or a == 0 else add(a - 1, b + 1)"),
    "threads": (
        "import threading\n"
        "def add(a, b):\n"
        "    out = []\n"
        "    t = threading.Thread(target=lambda: out.append(a + b))\n"
        "    t.start(); t.join()\n"
        "    return out[0]"
    ),
    "a large module": (
        "import numpy as np\n"
        "def add(a, b):\n"
        "    return a + b if isinstance(a, (str, list)) else np.int64(a) + b"
    ),
    "windows line ends": "def add(a, b):\r\n    return a + b\r\n",
    "goes on in a thread": (
        "def add(a, b):\n"
        "    return a + b\n"
        "import threading, time\n"
        "threading.Thread(target=lambda: time.sleep(0.05)).start()"
    ),
}

# program -> stage, tests passed of 4, idle
LADDER = {
    "no function": ("x = 1", Stage.PARSES, 0, True),
    "nothing at all": ("", Stage.PARSES, 0, True),
    "a program that reads": ("print(int(input()) + int(input()))", Stage.PARSES, 0, True),
    "an error before the call": ("1 / 0\ndef add(a, b):\n    return a + b\n", Stage.PARSES, 0, True),
    "the end before the call": ("def add(a, b):\n    return a + b\nraise SystemExit", Stage.RUNS, 0, True),
    "returns nothing": ("def add(a, b):\n    pass", Stage.RUNS, 0, True),
    "prints what it should return": ("def add(a, b):\n    print(a + b)", Stage.RUNS, 0, True),
    "ends in the call": ("def add(a, b):\n    exit(0)", Stage.RUNS, 0, True),
    "ends hard in the call": ("import os\ndef add(a, b):\n    os._exit(0)", Stage.RUNS, 0, True),
    "an error in the call": ("def add(a, b):\n    return a.plus(b)", Stage.PARSES, 0, False),
    "takes one argument": ("def add(a):\n    return a", Stage.PARSES, 0, False),
    "no function, a number": ("add = 5", Stage.PARSES, 0, False),
    "returns a wrong value": ("def add(a, b):\n    return 0", Stage.PRINTS, 0, False),
    "returns what has no JSON": ("def add(a, b):\n    return (x for x in ())", Stage.PRINTS, 0, False),
    "returns itself": ("def add(a, b):\n    x = []\n    x.append(x)\n    return x", Stage.PRINTS, 0, False),
    "yields": ("def add(a, b):\n    yield a + b", Stage.PRINTS, 0, False),
    "is a coroutine": ("async def add(a, b):\n    return a + b", Stage.PRINTS, 0, False),
    "right on numbers": ("def add(a, b):\n    return int(a) + int(b)", Stage.PASSES, 2, False),
    "right, then not": (
        ("def add(a, b):\n    return a + b\nimport atexit\natexit.register(lambda: 1 / 0)"),
        Stage.PASSES,
        4,
        False,
    ),
    "right, and exit status 3": (
        ("def add(a, b):\n    return a + b\nimport atexit, os\natexit.register(os._exit, 3)"),
        Stage.PARSES,
        0,
        False,
    ),
}

# Programs that want what they have not computed.
HOSTILE = {
    "writes what it guesses and ends": (
        "import os\n"
        "for fd in range(1, 64):\n"
        "    try:\n"
        "        os.write(fd, b'7\\n')\n"
        "    except OSError:\n"
        "        pass\n"
        "os._exit(0)"
    ),
    "guesses in the call": (
        "import os\ndef add(a, b):\n    [os.write(fd, b'7\\n') for fd in (4,)]\n    return a + b + 1"
    ),
    "equals everything": (
        "class E:\n    def __eq__(self, other): return True\n    __hash__ = None\ndef add(a, b): return E()"
    ),
    "an int that equals everything": (
        "class E(int):\n"
        "    def __eq__(self, other): return True\n"
        "    def __hash__(self): return 0\n"
        "    def __repr__(self): return '3'\n"
        "def add(a, b): return E(-1)"
    ),
    "a text that says something else": (
        "class S(str):\n"
        "    def __str__(self): return 'abc'\n"
        "    def encode(self, *a): return b'abc'\n"
        "    def translate(self, *a): return 'abc'\n"
        "def add(a, b): return S('no')"
    ),
    "a list that iterates for ever": (
        "class L(list):\n"
        "    def __iter__(self):\n"
        "        while True: yield 1\n"
        "    def __len__(self): return 1 << 60\n"
        "def add(a, b): return L([5])"
    ),
    "a dict with its own items": (
        "class D(dict):\n    def items(self):\n        while True: yield 1, 2\ndef add(a, b): return D(x=1)"
    ),
    "says it is of another class": (
        "class C:\n"
        "    @property\n"
        "    def __class__(self): return int\n"
        "    def __index__(self): return 3\n"
        "def add(a, b): return C()"
    ),
    "an array of its own": (
        "class A:\n"
        "    shape = ()\n"
        "    def item(self): return A()\n"
        "A.__module__ = 'numpy'\n"
        "def add(a, b): return A()"
    ),
    "a name that fails": (
        "class M(type):\n"
        "    @property\n"
        "    def __name__(cls): raise SystemExit(0)\n"
        "class C(metaclass=M): pass\n"
        "def add(a, b): return C()"
    ),
    "a tag": "def add(a, b): return {'$object': 'x'}",
    "nested without end": ("def add(a, b):\n    x = ()\n    for _ in range(100000): x = (x,)\n    return x"),
    "the same list 2**40 times": (
        "def add(a, b):\n    x = []\n    for _ in range(40): x = [x, x]\n    return x"
    ),
    "more than its output limit": "def add(a, b): return 'x' * 300_000",
    "replaces the way out": (
        "import os, sys\nos._exit = sys.exit = lambda *a: None\ndef add(a, b): return None"
    ),
    "replaces builtins": (
        "import builtins\n"
        "builtins.type = builtins.issubclass = lambda *a: int\n"
        "def add(a, b): return object()"
    ),
    "looks for an expected value": (
        "import gc, sys\n"
        "def add(a, b):\n"
        "    seen = [o for o in gc.get_objects() if isinstance(o, dict)]\n"
        "    f = sys._getframe(1)\n"
        "    return sorted(map(str, f.f_globals))"
    ),
    "changes the harness's own code": (
        "import sys\n"
        "g = sys._getframe(1).f_globals\n"
        "g['encode'] = lambda value: '3.5'\n"
        "def add(a, b):\n"
        "    return a + b\n"
    ),
    "takes the entry point away": (
        "def add(a, b):\n    return a + b\nimport sys\nsys.modules['program'].add = 7"
    ),
    "an exit that looks clean": ("import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b): 1 / 0"),
    "an excepthook that looks clean": (
        "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\ndef add(a, b): 1 / 0"
    ),
    "a second answer": ("import os\ndef add(a, b):\n    os.write(4, b'9')\n    return a + b"),
    "sleeps in a thread that writes later": (
        "import os, threading\n"
        "threading.Timer(0.05, lambda: os.write(4, b'1')).start()\n"
        "def add(a, b):\n"
        "    return a + b\n"
    ),
    "a number of a million digits": "def add(a, b): return 1 << 4_000_000",
}

# program -> tests passed of 2
METHODS = {
    "the class": (("class Solution:\n    def twice(self, x):\n        return 2 * x"), 2),
    "with typing": (
        (
            "from typing import List\n"
            "class Solution:\n"
            "    def twice(self, x: 'List[int]') -> int:\n"
            "        return 2 * x"
        ),
        2,
    ),
    "a static method": (("class Solution:\n    @staticmethod\n    def twice(x):\n        return 2 * x"), 2),
    "state of its object does not outlive a call": (
        (
            "class Solution:\n"
            "    n = []\n"
            "    def twice(self, x):\n"
            "        self.n.append(x)\n"
            "        return 2 * x if len(self.n) == 1 else 0"
        ),
        2,
    ),
    "a function alone": ("def twice(x):\n    return 2 * x", 0),
    "a class without the method": ("class Solution:\n    pass", 0),
    "a class that needs arguments": (
        ("class Solution:\n    def __init__(self, n): pass\n    def twice(self, x): return 2 * x"),
        0,
    ),
}
