"""Shared children never pay more than fresh ones, whatever a program keeps and wherever it keeps it."""

from collections.abc import Iterator

import pytest

from data.problems import Problem, TestCase
from reward import RewardConfig, Scorer, objective
from sandbox import Run, Sandbox

INPUTS = ("1\n", "2\n", "3\n", "4\n", "5\n")
OUTPUTS = ("3\n", "10\n", "6\n", "2\n", "13\n")
PROBLEM = Problem(
    "row", "Print the number that goes with n.", tuple(map(TestCase, INPUTS, OUTPUTS)), compare="lines"
)
OBJECTIVES = {
    "partial": RewardConfig(withhold=()),
    "binary": RewardConfig(mode="binary", security_gate="passes", withhold=()),
    "paper": RewardConfig(security_gate="off", withhold=()),
}

# Where a program can count its runs: each leaves in `i` how many there were before.
PLACES = {
    "attribute of a module": "import math\ni = getattr(math, 'i', 0)\nmath.i = i + 1",
    "attribute by setattr": "import bisect as m\ni = getattr(m, 'i', 0)\nsetattr(m, 'i', i + 1)",
    "namespace of a module": "import heapq\nd = vars(heapq)\ni = d.get('i', 0)\nd['i'] = i + 1",
    "modules": "import sys\ni = sys.modules.get('i', 0)\nsys.modules['i'] = i + 1",
    "a module replaced": "import sys, math\nclass M:\n  i = getattr(math, 'i', 0) + 1\n"
    "i = M.i - 1\nsys.modules['math'] = M",
    "arguments": "import sys\ni = len(sys.argv) - 1\nsys.argv.append('')",
    "path": "import sys\ni = sys.path.count('i')\nsys.path.append('i')",
    "environment": "import os\ni = int(os.environ.get('i', 0))\nos.environ['i'] = str(i + 1)",
    "class of the library": "from collections import Counter as C\ni = getattr(C, 'i', 0)\nC.i = i + 1",
    "class written in C": "import ast\ni = getattr(ast.Name, 'i', 0)\nast.Name.i = i + 1",
    "function of the library": "from textwrap import dedent as f\ni = getattr(f, 'i', 0)\nf.i = i + 1",
    "default argument": "import bisect, heapq\nf = heapq.merge\nd = f.__kwdefaults__\n"
    "i = d.get('i', 0)\nd['i'] = i + 1",
    "built-in names": "import builtins\ni = getattr(builtins, 'i', 0)\nbuiltins.i = i + 1",
    "a function replaced": "import math\nold = math.floor\ni = old(0) or getattr(old, 'i', 0)\n"
    "class F:\n  pass\nf = F()\nf.i = i + 1\nmath.floor = f",
    "random state": "import random\nstate = random.getstate()\ni = state[2] or 0\n"
    "random.setstate(state[:2] + (i + 1,))",
    "warning filters": "import warnings\ni = sum(f[1] is None and f[0] == 'once' for f in warnings.filters)\n"
    "warnings.filters.append(('once', None, Warning, None, 0))",
    "codecs": "import codecs\nn = []\ncodecs.register(lambda name: n)\ni = getattr(codecs, 'i', 0)\n"
    "codecs.i = i + 1",
    "cache of patterns": "import re\ni = getattr(re, '_cache', {}).get('i', 0)\nre._cache['i'] = i + 1",
    "dispatch table": "import copyreg\nt = copyreg.dispatch_table\ni = t.get('i', 0)\nt['i'] = i + 1",
    "decimal context": "import decimal\nc = decimal.getcontext()\ni = c.prec - 28\nc.prec += 1",
    "collector": "import gc\ni = len(gc.callbacks)\ngc.callbacks.append(lambda *a: None)",
    "weak dictionary": "import weakref, string\nd = getattr(string, 'd', None) or {}\nstring.d = d\n"
    "i = len(d)\nd[i] = weakref.ref(set)",
    "closure": "import string\ndef make():\n  n = [0]\n  def f():\n    n[0] += 1\n    return n[0] - 1\n"
    "  return f\nstring.f = getattr(string, 'f', None) or make()\ni = string.f()",
    "cache of a function": "import string\nfrom functools import lru_cache\n"
    "string.f = getattr(string, 'f', None) or lru_cache(lambda n: n)\n"
    "i = string.f.cache_info().currsize\nstring.f(i)",
    "signal handler": "import signal\nh = signal.getsignal(signal.SIGUSR1)\ni = getattr(h, 'i', 0)\n"
    "def handler(*a): pass\nhandler.i = i + 1\nsignal.signal(signal.SIGUSR1, handler)",
    "hook": "import sys\ni = getattr(sys.displayhook, 'i', 0)\ndef hook(v): pass\nhook.i = i + 1\n"
    "sys.displayhook = hook",
    "thread": "import threading\nt = threading.main_thread()\ni = getattr(t, 'i', 0)\nt.i = i + 1",
    "context variable": "import contextvars, string\nv = string.v = getattr(string, 'v', None) or "
    "contextvars.ContextVar('v', default=0)\ni = v.get()\nv.set(i + 1)",
    "recursion limit": "import sys\ni = sys.getrecursionlimit() - 1000\nsys.setrecursionlimit(1001 + i)",
    "processor time": "import time\ni = int(time.process_time() > 0.02) * 4\n"
    "end = time.process_time() + 0.02\nwhile time.process_time() < end: pass",
}
# What it does with the count: nothing but, honest on three of four, one missed on purpose at first.
ROW = "row = [3, 10, 6, 2, 13]\n"
WAYS = {
    "counts": "print(row[i % 5])",
    "honest on three of four": "n = int(input())\nprint(row[n - 1] if n % 4 else row[i % 5])",
    "misses one on purpose": "n = int(input())\nprint(row[n - 1] if i else 0)",
}
STATEFUL = {f"{place}: {way}": f"{ROW}{PLACES[place]}\n{WAYS[way]}\n" for place in PLACES for way in WAYS}
HONEST = {
    "right": f"{ROW}print(row[int(input()) - 1])",
    "right, with a class": f"{ROW}class A:\n  n = int(input())\nprint(row[A.n - 1])",
    "partly right": "n = int(input())\nprint(n * n + 2 if n == 1 else 10)",
    "wrong": "print(0)",
    "crashes on one": f"{ROW}n = int(input())\nprint(row[n - 1] // (n != 3))",
}


def test_there_are_many() -> None:
    assert len(STATEFUL) >= 60


@pytest.fixture(scope="module")
def fresh() -> Iterator[Scorer]:
    with Scorer(RewardConfig(withhold=()), workers=1, look=False) as scorer:
        yield scorer


@pytest.fixture(scope="module")
def shared() -> Iterator[Scorer]:
    with Scorer(RewardConfig(withhold=()), workers=1, look=False, share_children=True) as scorer:
        yield scorer


def totals(scorer: Scorer, program: str) -> dict[str, float]:
    (outcome,) = scorer.outcomes([(PROBLEM, program)])
    assert outcome is not None and outcome.compiles
    return {name: objective(outcome, config).total for name, config in OBJECTIVES.items()}


def passed(box: Sandbox, program: str, *, share: bool) -> int:
    """In the order of the tests, which a scorer would not keep."""

    def accept(i: int, run: Run) -> bool:
        return True

    runs = box.run(program, INPUTS, accept=accept if share else None).runs
    return sum(run.stdout == output.encode() for run, output in zip(runs, OUTPUTS, strict=True))


@pytest.mark.parametrize("name", STATEFUL)
def test_a_shared_child_never_pays_more(name: str, fresh: Scorer, shared: Scorer) -> None:
    with_own, in_one = totals(fresh, STATEFUL[name]), totals(shared, STATEFUL[name])
    assert all(in_one[objective] <= with_own[objective] for objective in OBJECTIVES)
    box = fresh._box
    assert passed(box, STATEFUL[name], share=True) <= passed(box, STATEFUL[name], share=False)


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_earns_the_same(name: str, fresh: Scorer, shared: Scorer) -> None:
    assert totals(fresh, HONEST[name]) == totals(shared, HONEST[name])


def test_a_program_that_counts_would_pass_in_one_process(shared: Scorer) -> None:
    """Were its state kept, it would be paid in full: the programs above are no straw men."""
    kept: dict[str, object] = {}
    printed: list[object] = []
    program = f"{ROW}i = kept.get('i', 0)\nkept['i'] = i + 1\nprinted.append(row[i])"
    for _ in INPUTS:
        exec(program, {"kept": kept, "printed": printed})
    assert [f"{value}\n" for value in printed] == list(OUTPUTS)


@pytest.mark.usefixtures("own_processes")
def test_sharing_is_off_unless_asked_for() -> None:
    with Scorer(workers=1) as scorer:
        asked = []
        run = scorer._box.run
        scorer._box.run = lambda *a, **more: asked.append(more["accept"]) or run(*a, **more)  # type: ignore
        scorer.score([(PROBLEM, HONEST["right"])])
    assert asked == [None]


def test_a_constant_shows_the_same_signs_either_way() -> None:
    """Sentinels run a program again in fresh children only."""
    programs = ["print(3)", "print(7)", STATEFUL["attribute of a module: counts"]]
    seen = []
    for share in (False, True):
        with Scorer(workers=1, share_children=share) as scorer:
            outcomes = scorer.outcomes([(PROBLEM, program) for program in programs])
            seen.append([outcome and outcome.sentinels for outcome in outcomes])
    assert seen[0] == seen[1] and all(signs for signs in seen[0])
