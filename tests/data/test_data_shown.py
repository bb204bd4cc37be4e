"""The calls that a text shows, the imports that code lacks, and which tests are public."""

import ast

import pytest

from data import Problem, TestCase
from data.imports import with_imports
from data.selection import text_hash, with_public
from data.shown import calls_shown


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (">>> f(1, [2, 3])\n5", [((1, [2, 3]), {})]),
        ("assert f (1) == 2", [((1,), {})]),
        ("f((1, 2), {'a': ')'}) ➞ 3 and f(-1.5) => 2", [(((1, 2), {"a": ")"}), {}), ((-1.5,), {})]),
        ("f('a(b', \")\")", [(("a(b", ")"), {})]),
        ("f(\n  1,\n  2\n)", [((1, 2), {})]),
        ("f(n=1)", [((), {"n": 1})]),
        ("f()", [((), {})]),
        ("def f(n: int) -> int: f(x), f(1 + g(2)), f(1, , f(*a) and gf(3)", []),
        ("Solution().f(3)", [((3,), {})]),
        ("Input: nums = [2,7], target = 9\nOutput: [0,1]", [((), {"nums": [2, 7], "target": 9})]),
        ("Input: some text", []),
        ("", []),
    ],
)
def test_calls_with_plain_values_are_found(text, calls):
    assert calls_shown(text, "Solution.f") == calls


@pytest.mark.parametrize(
    "piece", ["f(", "f(1", "f((((((", "f(')", "f(1)", ")", "Input: a =", "Input: " + "(" * 999]
)
def test_the_work_is_bounded(monkeypatch, piece):
    parsed = []

    def counted(source, **options):
        parsed.append(len(source))
        return compile(source, "", options["mode"], ast.PyCF_ONLY_AST)

    monkeypatch.setattr("data.shown.ast.parse", counted)
    calls_shown(piece * 20_000, "f")
    assert len(parsed) <= 50 * 50 + 50 and max(parsed, default=0) <= 2_010


def test_a_test_is_public_if_its_call_is_shown():
    tests = tuple(TestCase(call, "1") for call in ("[1]", "[2]", '{"$call": [[], {"n": 3}]}', "[4]", '["1"]'))
    problem = Problem("a", "f(1), f(n=3) and f(n=4)", tests, entry_point="f", compare="json")
    assert [test.public for test in with_public(problem).tests] == [True, False, True, True, False]


def test_texts_are_told_apart_without_the_test_they_show():
    shown = "Add one.\n\nYour code should pass this test:\nassert f(1) == 2"
    assert text_hash(shown) == text_hash("Add one.") == text_hash("add  one\nassert g(1) == 2")
    assert text_hash(shown) != text_hash("Add two.")


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("def f(a: List[int]) -> Optional[int]: ...", "from typing import List, Optional\n\n"),
        ("def f(a: List[int], b: Dict[int, int]):\n        ", "from typing import Dict, List\n\n"),
        ("def f(a: List[int]):", "from typing import List\n\n"),
        ("x = math.sqrt(gcd(4, 2))", "import math\nfrom math import gcd\n\n"),
        ("x = bisect.bisect_left([], 1)", "import bisect\n\n"),
        ("x = bisect([], 1)", "from bisect import bisect\n\n"),
        ("@lru_cache(None)\ndef f(n): ...", "from functools import lru_cache\n\n"),
        ("from typing import List\ndef f(a: List[int]): ...", ""),
        ("from typing import *\ndef f(a: List[int]): ...", ""),
        ("import math\nx = math.sqrt(2)", ""),
        ("def gcd(a, b): ...\nx = gcd(1, 2)", ""),
        ("def f(product, cache):\n    return product + cache", ""),
        ("sum = reduce = 1\nprint(reduce)", ""),
        ("not Python: List[int]", ""),
        ("print(1)", ""),
    ],
)
def test_code_gets_the_imports_that_it_lacks(code, lines):
    assert with_imports(code) == lines + code
    assert with_imports(with_imports(code)) == with_imports(code)
