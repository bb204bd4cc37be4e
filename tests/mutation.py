"""Mutation testing: a bug put into a copy of the sources, which the tests that guard it must notice.

A mutant is a replacement of text that occurs once in its file, and the few tests (pytest arguments) that must
fail on it. That it still applies is checked in every run of the suite; that it is caught, by `-m slow`.
"""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sources import ROOT

ROOMS = ("ppo", "models", "data", "reward", "sandbox", "cli", "report")
READ_BY_TESTS = ("tests", "docs", "configs", "examples", "README.md", "pyproject.toml")
COPIED = (*ROOMS, *READ_BY_TESTS)


@dataclass(frozen=True)
class Mutant:
    """One seeded bug."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def source(self, root: Path = ROOT) -> str:
        """The mutated text of its file. AssertionError where it does not apply any more."""
        text = (root / self.file).read_text(encoding="utf-8")
        assert text.count(self.old) == 1, f"{self.name}: {self.old!r} is not once in {self.file}; renew it"
        mutated = text.replace(self.old, self.new)
        assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(text)), f"{self.name} changes nothing"
        return mutated


def copy_tree(folder: Path) -> Path:
    """The sources and tests, without what is built or cached."""
    ignore = shutil.ignore_patterns("__pycache__", ".*")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy(source, folder / name)
    return folder


def run_tests(tree: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run pytest in a copy, up to the first failure. Status 0: all pass; 1: one failed."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True)


def check_caught(tree: Path, mutant: Mutant) -> None:
    """Put the bug into the copy, see its tests fail, take it out again."""
    path = tree / mutant.file
    original = path.read_text(encoding="utf-8")
    path.write_text(mutant.source(tree), encoding="utf-8")
    try:
        done = run_tests(tree, mutant.tests)
    finally:
        path.write_text(original, encoding="utf-8")
    # 1 is a test that failed; 2 to 5 would be tests that could not be collected, or none at all.
    assert done.returncode == 1 and " failed" in done.stdout, (
        f"{mutant.name} survived:\n{done.stdout[-2000:]}"
    )
