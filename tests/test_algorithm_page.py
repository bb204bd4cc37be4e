"""docs/algorithm.md is true: its lines, its links, and the tests that it says hold the thirty checks."""

import ast
import re

import pytest
from sources import ROOT

from docs.renumber import PAGE, REFERENCE, renumbered

TEXT = PAGE.read_text(encoding="utf-8")
ROWS = re.finditer(
    r"^\| (\d+) \| [^|]+ \| [^|]+ \| (.+) \|$", TEXT.partition("## Thirty checks")[2], flags=re.M
)
CHECKS = {int(row[1]): row[2] for row in ROWS}


def test_lines_are_where_the_page_says():
    """After a change: python docs/renumber.py."""
    assert renumbered(TEXT) == TEXT, "run: python docs/renumber.py"
    assert len(REFERENCE.findall(TEXT)) == TEXT.count("#L") >= 40  # no line number stands without its text


def test_a_line_that_moved_would_be_seen():
    """Another number is put right; a text that is gone is an error."""
    shifted = re.sub(r"py:(\d+)`\]\((\S+)#L\1\)", lambda m: f"py:9`]({m[2]}#L9)", TEXT, count=1)
    assert shifted != TEXT and renumbered(shifted) == TEXT
    with pytest.raises(ValueError, match="on 0 lines"):
        renumbered("[`ppo/loop.py:1`](../ppo/loop.py#L1) `no such text`")


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", TEXT):
        assert (PAGE.parent / target).resolve().exists(), target


def test_every_step_of_the_loop_and_ten_changes_are_there():
    loop, changes = (TEXT.split(f"## {title}")[1].split("\n## ")[0] for title in ("The loop", "To change X"))
    assert re.findall(r"^\| (\d) \|", loop, flags=re.M) == list("12345678")
    assert changes.count("#L") >= 10 and changes.count("../examples/") == 3


def docstrings(file: str) -> dict[str, str]:
    """Test names of a file with the first words of their docstrings."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {
        node.name: " ".join((ast.get_docstring(node) or "").split())
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize("number", range(1, 31))
def test_every_check_is_held_by_the_tests_named(number):
    """They exist, and each says so itself."""
    named = 0
    for file, tests in re.findall(r"\]\(\.\./(tests/[\w/]+\.py)\): ([^<]+)", CHECKS[number]):
        known = docstrings(file)
        for test in re.findall(r"`(\w+)`", tests):
            said = re.findall(r"\bChecks? ((?:\d+(?:, | and )?)+)", known[test])
            assert str(number) in re.findall(r"\d+", " ".join(said)), f"{file}::{test}"
            named += 1
    assert named >= 1
