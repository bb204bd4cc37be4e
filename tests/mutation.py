"""Mutation testing: a bug put into a copy of the sources, which the tests that guard it must notice.

A mutant is a replacement of text that occurs once in its file, and the few tests (pytest arguments) that must
fail on it. That it still applies is checked in every run of the suite; that it is caught, by `-m slow`.
"""

import ast
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from forks import FORKS
from sources import ROOT

ROOMS = ("ppo", "models", "data", "reward", "sandbox", "evaluation", "cli", "report")
READ_BY_TESTS = ("tests", "docs", "configs", "examples", "README.md", "pyproject.toml")
COPIED = (*ROOMS, "entry.py", *READ_BY_TESTS)


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


class Done(NamedTuple):
    """How a run of pytest ended, and what it wrote."""

    returncode: int
    stdout: str


def run_tests(tree: Path, tests: Iterable[str]) -> Done:
    """Run pytest in a copy, up to the first failure. Status 0: all pass; 1: one failed.

    In a process forked from one that has imported the libraries: that takes longer than most of the tests.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process = FORKS.Process(target=_pytest, args=(tree, list(tests), log))
        process.start()
        process.join()
        assert process.exitcode is not None
        return Done(process.exitcode, log.read_text(encoding="utf-8", errors="replace"))


def _pytest(tree: Path, tests: list[str], log: Path) -> None:
    """In the forked process: with the modules of the tree, and none of this one."""
    sys.dont_write_bytecode = True  # it is told apart by seconds and size, and mutants may differ in neither
    with log.open("wb") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    os.chdir(tree)
    sys.path[:] = [str(tree), *(entry for entry in sys.path if not _is_ours(entry))]
    for name, module in list(sys.modules.items()):
        if name != "__main__" and _is_ours(getattr(module, "__file__", None) or ""):
            del sys.modules[name]
    sys.exit(pytest.main(["-x", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]))


def _is_ours(path: str) -> bool:
    """Of this tree, and not of the libraries that are installed in it."""
    here = Path(path or "/").resolve()
    return here.is_relative_to(ROOT) and not here.is_relative_to(Path(sys.prefix).resolve())


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
