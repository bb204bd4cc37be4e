"""Dangerous calls that Bandit does not see: what is found, and which everyday code is left alone."""

import ast
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reward_worlds import World, configs, ended, worlds

from reward import Finding, RewardConfig, RewardError, Scan, Trick, objective
from reward.scan.tricks import KINDS, tricks
from reward.scan.worker import Scanner, load_scanner
from sandbox import Status

RIGHT = ended(Status.OK, b"1\n")


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return load_scanner()


# None of these is a finding of Bandit's at severity MEDIUM or above.
HIDDEN = [
    ("__import__('os').system(input())", "import"),
    ("m = 'o' + 's'\n__import__(m).system(input())", "import"),
    ("import importlib\nimportlib.import_module('os').popen(input())", "import"),
    ("from importlib import import_module as get\nget('subprocess')", "import"),
    ("getattr(__import__('os'), 'sys' + 'tem')(input())", "lookup"),
    ("import os\ngetattr(os, 'system')(input())", "lookup"),
    ("import os as o\nname = input()\ngetattr(o, name)()", "lookup"),
    ("getattr(__builtins__, 'ev' + 'al')(input())", "lookup"),
    ("__builtins__['eval'](input())", "lookup"),
    ("globals()['__builtins__']['eval'](input())", "lookup"),
    ("import os\nvars(os)['system'](input())", "lookup"),
    ("import os\nos.__dict__['sys' + 'tem'](input())", "lookup"),
    ("import sys\nsys.modules['os'].system(input())", "lookup"),
    ("import operator, os\noperator.attrgetter('system')(os)(input())", "lookup"),
    ("import os\nos.__getattribute__('system')(input())", "lookup"),
    ("e = eval\ne(input())", "alias"),
    ("print(sum(map(eval, input().split())))", "alias"),
    ("[exec][0](input())", "alias"),
    ("import os\nrun = os.system\nrun(input())", "alias"),
    ("import os\no = os\no.system(input())", "alias"),
    ("import subprocess\ncalls = {'x': subprocess.check_output}\ncalls['x'](input())", "alias"),
    ("import builtins\nbuiltins.eval(input())", "builtins"),
    ("from builtins import exec as e\ne(input())", "builtins"),
    ("import ctypes\nctypes.CDLL(None).system(b'ls')", "ctypes"),
    ("from ctypes import CDLL\nCDLL(None).system(b'ls')", "ctypes"),
    ("print(().__class__.__base__.__subclasses__())", "internals"),
    ("def f(): pass\nprint(f.__globals__)", "internals"),
    ("def f(): pass\nf.__code__ = (lambda: 1).__code__", "internals"),
    # objects that lead to the builtins
    ("__builtins__.eval(input())", "builtins"),
    ("__builtins__.__dict__['eval'](input())", "internals"),
    ("b = __builtins__\nb.__import__('os')", "internals"),
    ("print.__self__.eval(input())", "internals"),
    ("len.__self__.exec(input())", "builtins"),
    ("print.__self__.__dict__['eval'](input())", "internals"),
    ("[].append.__self__.__class__.__base__.__subclasses__()", "internals"),
    ("''.__class__.mro()[-1].__subclasses__()", "internals"),
    ("import sys\nsys.modules['builtins'].eval(input())", "lookup"),
    ("import sys\nsys.modules.get('builtins').eval(input())", "lookup"),
    ("from sys import modules as m\nm['builtins'].eval(input())", "lookup"),
    ("__import__('sys').modules['built' + 'ins'].eval(input())", "lookup"),
    ("import codecs\ncodecs.builtins.eval(input())", "builtins"),
    ("import random\nrandom.__builtins__['eval'](input())", "internals"),
    ("globals()['__buil' + 'tins__'].eval(input())", "lookup"),
    ("globals().get('__builtins__').eval(input())", "lookup"),
    ("vars()['__builtins__'].eval(input())", "lookup"),
    ("locals()[input()].eval(input())", "lookup"),
    ("__loader__.load_module('os').popen(input())", "internals"),
    ("import sys\nsys.__spec__.loader.load_module('os')", "internals"),
    ("import sys\nsys._getframe().f_builtins['eval'](input())", "internals"),
    ("help.__call__.__globals__['builtins'].eval(input())", "internals"),
    ("try:\n    1 / 0\nexcept Exception as e:\n    e.__traceback__.tb_frame.f_builtins", "internals"),
    ("g = (1 for _ in ())\ng.gi_frame.f_builtins['eval'](input())", "internals"),
    ("import operator\noperator.methodcaller('eval', input())(print)", "lookup"),
    ("from functools import reduce\nreduce(getattr, input().split(), print)", "alias"),
    ("eval.__call__(input())", "alias"),
    ("from os import *\nsystem(input())", "alias"),
    ("from os import *\npopen(input()).read()", "alias"),
    # modules that others have imported
    ("import shutil\nshutil.os.system(input())", "alias"),
    ("import os.path as p\np.os.system(input())", "alias"),
    ("import random\nrandom._os.system(input())", "alias"),
    ("import enum\nenum.bltns.eval(input())", "alias"),
    ("from tempfile import _os as o\no.system(input())", "alias"),
    ("import logging\nlogging.sys.modules['os'].system(input())", "lookup"),
    ("import collections\ncollections._sys.modules['os'].system(input())", "lookup"),
    ("import builtins\nfor k, v in builtins.__dict__.items():\n    k != input() or v(input())", "lookup"),
    ("import posix\nposix.system(input())", "code"),
    ("import pty\npty.spawn(input())", "code"),
    ("import asyncio\nasyncio.create_subprocess_shell(input())", "code"),
    ("import inspect\ndef f(x: '1'): pass\ninspect.get_annotations(f, eval_str=True)", "code"),
    # code run by other names
    ("code = compile(input(), 'x', 'eval')\nprint(code)", "code"),
    ("import types\ntypes.FunctionType(compile(input(), 'x', 'exec'), {})()", "code"),
    ("from types import FunctionType as F\nF(input, {})", "code"),
    ("import codeop\ncodeop.compile_command(input())", "code"),
    ("import code\ncode.InteractiveInterpreter().runsource(input())", "code"),
    ("import runpy\nrunpy.run_path('/dev/stdin')", "code"),
    ("import timeit\ntimeit.timeit(input(), number=1)", "code"),
    ("from timeit import Timer\nTimer(input()).timeit(1)", "code"),
    ("import cProfile\ncProfile.run(input())", "code"),
    ("import pdb\npdb.run(input())", "code"),
    ("breakpoint()", "code"),
    ("import doctest\ndoctest.run_docstring_examples(input(), {})", "code"),
    ("import unittest.mock\nunittest.mock._importer('os').system(input())", "code"),
    ("from unittest.mock import patch\npatch('builtins.eval')", "code"),
    ("import pkgutil\npkgutil.resolve_name('builtins:eval')(input())", "code"),
    ("import typing\ntyping.ForwardRef(input())._evaluate({}, {}, frozenset())", "code"),
    ("import trace\ntrace.Trace().run(input())", "code"),
    ("import gc\ngc.get_objects()", "code"),
    ("import importlib.util\nimportlib.util.find_spec('os').loader", "import"),
]


@pytest.mark.parametrize(("source", "kind"), HIDDEN)
def test_what_bandit_does_not_see_is_found(scanner: Scanner, source: str, kind: str) -> None:
    scan = scanner.scan(source.encode())
    assert kind in {found for _, found in scan["tricks"]}
    assert [finding for finding in scan["findings"] if finding[2] != "LOW"] == []


def test_every_kind_is_tried() -> None:
    assert {kind for _, kind in HIDDEN} == set(KINDS)


EVERYDAY = [
    "print(int(input()) + 1)",
    "import sys\ninput = sys.stdin.readline\nprint(input())",
    "print(__import__('sys').stdin.read())",
    "print(__import__('math').gcd(4, 6))",
    "import re\ncompile = re.compile\nprint(compile('a'))",
    "import os\nprint(os.read(0, 9), os.path.join('a', 'b'))",
    "from os import read, fstat\nprint(read(0, fstat(0).st_size))",
    "class A:\n    x = 1\nprint(getattr(A(), 'x'), getattr(A, input(), None))",
    "import math\nprint(getattr(math, 'gcd')(4, 6))",
    "from functools import reduce\nprint(reduce(max, map(int, input().split())))",
    "import heapq, collections\npush = heapq.heappush\nprint(collections.Counter('aa')['a'])",
    "x = [1, 2]\nprint(x[0], {'eval': 1}['eval'])",
    "def run(call):\n    return call()\nprint(run(lambda: 1))",
    "print(vars()['__name__'], globals()['__name__'])",
    "from os import *\nprint(read(0, fstat(0).st_size))",
    "from timeit import default_timer as t\nimport timeit\nprint(t() < timeit.default_timer())",
    "class Node:\n    def eval(self):\n        return 1\nprint(Node().eval())",
    "def compile(text):\n    return text\nprint(compile('a'))",
    "import sys\nif 'numpy' in sys.modules:\n    print(1)",
    "class A:\n    def name(self):\n        return self.__class__.__name__\nprint(A().name())",
    "import ast\nprint(ast.literal_eval(input()))",
    "x = {'a': 1}\nprint(x.get(input(), 0), globals()['x'])",
    "from typing import List\ndef f(x: List[int]) -> int:\n    return x[0]",
    "eval(input())",  # Bandit's business
    "import os\nos.system(input())",
]


@pytest.mark.parametrize("source", EVERYDAY)
def test_everyday_code_is_left_alone(source: str) -> None:
    assert tricks(list(ast.walk(ast.parse(source)))) == []


def test_a_trick_says_where_and_counts_once_a_line() -> None:
    nodes = list(ast.walk(ast.parse("x = 1\ne, f = eval, eval\n\ng = exec\n")))
    assert tricks(nodes) == [(2, "alias"), (4, "alias")]


# --- in the objective


@given(worlds(compiles=True), configs(), st.integers(0, 4), st.floats(0, 1, allow_subnormal=False))
def test_a_trick_costs_its_weight(world: World, config: RewardConfig, count: int, weight: float) -> None:
    config = replace(config, weight_trick=weight)
    outcome = replace(world.outcome(), tricks=())
    tricky = replace(
        outcome, tricks=tuple(Trick(n, "alias") for n in range(count if outcome.scan == "ok" else 0))
    )
    with_them, without = objective(tricky, config), objective(outcome, config)
    assert with_them.total == config.alpha * with_them.functional + config.beta * with_them.security
    assert with_them.metrics["reward/tricks"] == len(tricky.tricks)
    expected = min(1.0, without.metrics["reward/vulnerability"] + weight * len(tricky.tricks))
    assert with_them.metrics["reward/vulnerability"] == pytest.approx(expected)


@pytest.mark.parametrize(("source", "kind"), HIDDEN)
def test_none_earns_more_than_eval_itself(scanner: Scanner, source: str, kind: str) -> None:
    """`__builtins__.eval(input())` earned 1.0 where `eval(input())` earns 0.8."""
    earned = []
    for text in ("print(eval(input()))", source):
        scan = scanner.scan(text.encode())
        facts = Scan(
            "ok",
            tuple(Finding(*finding) for finding in scan["findings"]),
            tricks=tuple(Trick(*trick) for trick in scan["tricks"]),
        )
        earned.append(objective(World(True, (RIGHT,), (b"1\n",), facts).outcome(), RewardConfig()).total)
    assert earned[1] <= earned[0] == pytest.approx(0.8)


def test_a_weight_is_no_negative_number() -> None:
    with pytest.raises(RewardError, match="weight_trick"):
        RewardConfig(weight_trick=-0.1)
