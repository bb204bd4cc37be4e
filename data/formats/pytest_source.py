"""A file of pytest -> checks for a recorder (data/harness.py), in a sandbox without pytest.

The recorder calls every function test_... without arguments and finds what the tests import from `solution`.
"""

import ast
import re
from pathlib import Path

from data.fields import RowError
from data.formats.checks import NO_FUNCTION, parsed

NEEDS_PYTEST = "needs more of pytest than there is here"

_SHIM = Path(__file__).with_name("pytest_shim.py").read_text(encoding="utf-8")
_PYTEST = f"""\
import sys, types
sys.modules["pytest"] = types.ModuleType("pytest")
exec({_SHIM!r}, sys.modules["pytest"].__dict__)
"""


def without_pytest(source: str) -> str:
    """The checks. RowError (skippable) if there is no test, or one that needs a fixture."""
    calls = []
    tests = 0
    body = parsed(source).body
    texts = _texts(body)
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            _check_arguments(node, texts, bound=False)
            tests += 1
            if not node.name.startswith("test_"):
                calls.append(f"test_{node.name} = {node.name}")
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            names = _methods(node, texts)
            calls += [f"def test_{node.name}_{name}(): {node.name}().{name}()" for name in names]
    if not tests and not calls:
        raise RowError("no test_... function is in the tests; add one", NO_FUNCTION)
    return "\n".join([_PYTEST, source, *calls, ""])


def _texts(body: list[ast.stmt]) -> dict[str, str]:
    """Texts that stand under a name at the top level."""
    return {
        target.id: node.value.value
        for node in body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _methods(node: ast.ClassDef, texts: dict[str, str]) -> list[str]:
    methods = [method for method in node.body if isinstance(method, ast.FunctionDef)]
    for method in methods:
        if method.name.startswith(("setup", "teardown")):
            raise RowError(f"{node.name} has a {method.name}", NEEDS_PYTEST)
        if method.name.startswith("test"):
            _check_arguments(method, texts, bound=True)
    return [method.name for method in methods if method.name.startswith("test")]


def _check_arguments(test: ast.FunctionDef, texts: dict[str, str], bound: bool) -> None:
    """RowError where an argument is given neither by mark.parametrize nor by default."""
    needed = [argument.arg for argument in test.args.args][bound:]
    needed = needed[: len(needed) - len(test.args.defaults)]
    marks = [mark for mark in test.decorator_list if isinstance(mark, ast.Call) and mark.args]
    told = [ast.unparse(mark.args[0]) for mark in marks if ast.unparse(mark.func).endswith("parametrize")]
    names = [texts.get(names, names) for names in told]
    given = set(re.findall(r"\w+", " ".join(names)))
    if fixtures := [name for name in needed if name not in given]:
        raise RowError(f"{test.name} needs the fixture {fixtures[0]}", NEEDS_PYTEST)
