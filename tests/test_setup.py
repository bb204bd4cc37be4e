"""The two tested sets differ in torch alone, and cover what requirements name."""

import re
import sys

from sources import ROOT, imported_names


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def required(name: str) -> set[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {re.split(r"[<>=, ]", line)[0] for line in lines if line and not line.startswith("#")}


def test_the_sets_differ_in_torch_alone():
    current, volta = pins("constraints.txt"), pins("constraints-v100.txt")
    assert current.pop("torch") == "2.13.0"
    assert volta.pop("torch") == "2.10.0"
    assert current == volta


def test_everything_required_is_pinned():
    assert required("requirements.txt") | required("requirements-dev.txt") <= set(pins("constraints.txt"))


def test_the_analyser_is_exact_in_the_requirements_too():
    line = next(x for x in (ROOT / "requirements.txt").read_text().splitlines() if x.startswith("bandit"))
    assert line.split()[0] == f"bandit=={pins('constraints.txt')['bandit']}"


def test_every_imported_package_is_required():
    """What the sources import is named in requirements.txt, not borrowed from another package's needs.

    Other trainers run in venvs of their own: see tests/benchmarks/test_benchmarks_peers.py."""
    elsewhere = ROOT / "benchmarks" / "peers"
    ours = {path.name for path in ROOT.iterdir()} | {path.stem for path in ROOT.glob("*.py")}
    names = {"yaml": "PyYAML"}
    rooms = ("ppo", "models", "reward", "sandbox", "data", "evaluation", "report", "cli", "benchmarks")
    imported = {
        name
        for room in rooms
        for path in (ROOT / room).rglob("*.py")
        if path.parent != elsewhere
        for name in imported_names(path)
    }
    foreign = {names.get(n, n) for n in imported - set(sys.stdlib_module_names) - ours - {"__future__"}}
    assert foreign <= required("requirements.txt"), foreign - required("requirements.txt")
