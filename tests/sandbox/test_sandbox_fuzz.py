"""Random mutations of valid programs, and random bytes: no fault, no hang, no leak."""

import os
import random

import pytest
from sandbox_helpers import descendants

from sandbox import Limits, Report, Sandbox, Status

LIMITS = Limits(cpu_seconds=0.1, wall_seconds=2, memory_mb=64, output_kb=16, source_kb=16)
PROGRAMS = [
    "n = int(input())\nprint(n + 1)\n",
    "import sys\nfor line in sys.stdin:\n    print(sum(map(int, line.split())))\n",
    "def f(n):\n    return 1 if n < 2 else f(n - 1) + f(n - 2)\nprint(f(int(input())))\n",
    "from collections import Counter\nc = Counter(input())\nprint(max(c.values()), sep='')\n",
    "import threading\nt = threading.Thread(target=print, args=(input(),))\nt.start()\nt.join()\n",
    "try:\n    a, b = map(int, input().split())\n    print(b // a)\nexcept Exception as e:\n    print(e)\n",
    "import os\nos.write(1, os.read(0, 99))\nos.close(0)\n",
    "class A:\n    def __del__(self):\n        print('end')\na = A()\nwhile a:\n    a = None\n",
]
TOKENS = [
    b"import",
    b"os",
    b"while",
    b"True",
    b":",
    b"\n",
    b"    ",
    b"(",
    b")",
    b"[",
    b"]",
    b"1",
    b"99999999",
]
TOKENS += [
    b"**",
    b"lambda",
    b"yield",
    b"del",
    b"sys",
    b".",
    b"'",
    b'"""',
    b"\\",
    b"\0",
    b"\xff",
    b"#",
    b"fork",
]


def mutant(chance: random.Random) -> bytes:
    """One program in eight is bytes without sense; the rest are valid ones with a few edits."""
    if chance.random() < 0.125:
        return chance.randbytes(chance.randrange(200))
    text = bytearray(chance.choice(PROGRAMS).encode())
    for _ in range(chance.randint(1, 4)):
        at, what = chance.randrange(len(text) + 1), chance.random()
        if what < 0.4:
            text[at:at] = chance.choice(TOKENS)
        elif what < 0.7:
            del text[at : at + chance.randint(1, 8)]
        elif what < 0.85:
            text[at : at + 1] = bytes([chance.randrange(256)])
        else:
            other = chance.choice(PROGRAMS).encode()
            text[at:at] = other[chance.randrange(len(other)) :]
    return bytes(text)


def fuzz(count: int, seed: int) -> list[Report]:
    """Two inputs each, in a child that may be shared."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    jobs = [(mutant(chance), ["3 4\n", "abc"], lambda i, run: True) for _ in range(count)]
    with Sandbox(LIMITS, workers=2) as box:
        before = len(os.listdir("/proc/self/fd"))
        reports = box.map(jobs)
        servers = {pid for worker in box._workers for pid in worker.pids}
        started = sum(len(worker.pids) for worker in box._workers) - len(box._workers)  # for large libraries
        assert len(os.listdir("/proc/self/fd")) == before + started
    assert not descendants(os.getpid()) & servers
    return reports


def assert_nothing_lost(reports: list[Report]) -> None:
    statuses = [run.status for report in reports for run in report.runs]
    assert Status.FAULT not in statuses
    assert {Status.OK, Status.CRASH} <= set(statuses)  # it reached more than the compiler
    assert any(not report.compiles for report in reports)
    assert all(len(report.runs) == 2 * report.compiles for report in reports)


def test_a_few_hundred_mutants() -> None:
    assert_nothing_lost(fuzz(300, seed=1))


@pytest.mark.slow
def test_twenty_thousand_mutants() -> None:
    assert_nothing_lost(fuzz(20_000, seed=random.SystemRandom().randrange(1 << 32)))
