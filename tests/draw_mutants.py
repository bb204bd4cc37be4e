"""Bugs drawn at random, put into the sources one at a time: which of them do the tests notice?

    python tests/draw_mutants.py --seed 1 --count 12 --rooms ppo models

The tables of mutants (test_*_mutation.py) hold bugs that people thought of; a draw holds others. What
survives is either a gap in the tests or a change that means nothing: look at each. Prints a line for each.
The tests run once without a change first. A mutant takes minutes: the tests named like its file come first,
then the rest of its room's.
"""

import argparse
import ast
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from mutation import copy_tree, run_tests
from sources import ROOT

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.BitAnd: ast.BitOr,
}


UNRELATED = ("--ignore", "tests/ppo/test_ppo_mutation.py")  # its mutants would not apply to a changed file


@dataclass(frozen=True)
class Change:
    """One place of a file, and what to write there."""

    file: str
    line: int
    what: str
    source: str
    """The whole file with the change"""


def changes(file: Path) -> Iterator[Change]:
    """Every change to a file: an operator swapped, a number moved by one, a condition negated, a call's
    statement left out. Messages, types and defaults of settings are left alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        for name, old, new in _edits(node):
            setattr(node, name, new)
            what = f"{ast.unparse(node)[:90]!r}"
            yield Change(str(file.relative_to(ROOT)), getattr(node, "lineno", 0), what, ast.unparse(tree))
            setattr(node, name, old)


def _edits(node: ast.AST) -> Iterator[tuple[str, object, object]]:
    """(field, what stands there, what to put there)"""
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPS:
        yield "op", node.op, SWAPS[type(node.op)]()
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield "ops", node.ops, [SWAPS[type(node.ops[0])](), *node.ops[1:]]
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        yield "test", node.test, ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Call | ast.Subscript):
        for name in ("args",) if isinstance(node, ast.Call) else ():
            for i, given in enumerate(node.args):
                if isinstance(given, ast.Constant) and type(given.value) in (int, float):
                    moved = ast.Constant(given.value + 1)
                    yield name, node.args, [*node.args[:i], moved, *node.args[i + 1 :]]
    elif isinstance(node, ast.FunctionDef):
        for i, statement in enumerate(node.body):
            if (
                isinstance(statement, ast.Expr)
                and isinstance(statement.value, ast.Call)
                and len(node.body) > 1
            ):
                yield "body", node.body, [*node.body[:i], *node.body[i + 1 :]]


def draw(rooms: list[str], count: int, seed: int) -> list[Change]:
    """`count` changes, each of another file where there are enough."""
    generator = random.Random(seed)
    files = sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))
    generator.shuffle(files)
    drawn: list[Change] = []
    while len(drawn) < count:
        for file in files:
            known = list(changes(file))
            if known and len(drawn) < count:
                drawn.append(generator.choice(known))
    return drawn


def tests_for(change: Change) -> list[str]:
    """Those named like the file first, then all of its room."""
    room, stem = change.file.split("/")[0], Path(change.file).stem
    named = sorted((ROOT / "tests" / room).rglob(f"test_{room}_{stem}*.py"))
    return [*(str(path.relative_to(ROOT)) for path in named), f"tests/{room}", "tests/ppo"]


def main() -> None:
    """Draw, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--rooms", nargs="+", default=["ppo", "models"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        clean = run_tests(tree, [*UNRELATED, *(f"tests/{room}" for room in arguments.rooms)])
        if clean.returncode != 0:  # or every change would count as caught
            raise SystemExit(f"the tests fail without any change:\n{clean.stdout[-2000:]}")
        for change in draw(arguments.rooms, arguments.count, arguments.seed):
            path = tree / change.file
            original = path.read_text(encoding="utf-8")
            path.write_text(change.source, encoding="utf-8")
            done = run_tests(tree, [*UNRELATED, *tests_for(change)])
            path.write_text(original, encoding="utf-8")
            verdict = "caught" if done.returncode == 1 else "SURVIVED" if done.returncode == 0 else "broken"
            by = next((line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), "")
            print(f"{verdict:9} {change.file}:{change.line} {change.what}  {by[:120]}", flush=True)


if __name__ == "__main__":
    main()
