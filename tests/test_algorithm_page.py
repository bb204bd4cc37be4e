"""docs/algorithm.md is true: its texts, its links, and the tests that it says hold the thirty checks."""

import ast
import re

import pytest
from sources import ROOT

PAGE = ROOT / "docs" / "algorithm.md"
TEXT = PAGE.read_text(encoding="utf-8")
REFERENCES = re.findall(r"\[`([\w/]+\.py)`\]\(\.\./\1\) `([^`]+)`", TEXT)
"""A file, and a text to search for in it"""
ROWS = re.finditer(
    r"^\| (\d+) \| [^|]+ \| [^|]+ \| (.+) \|$", TEXT.partition("## Thirty checks")[2], flags=re.M
)
CHECKS = {int(row[1]): row[2] for row in ROWS}


@pytest.mark.parametrize("file, text", REFERENCES)
def test_the_text_named_beside_a_file_occurs_there_once(file, text):
    assert (ROOT / file).read_text(encoding="utf-8").count(text) == 1


def test_files_are_named_with_a_text():
    """Few enough are not (whole files, in prose)."""
    assert len(REFERENCES) >= 40 and len(re.findall(r"`[\w/]+\.py`\]", TEXT)) - len(REFERENCES) < 10


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", TEXT):
        assert (PAGE.parent / target).resolve().exists(), target


def test_every_step_of_the_loop_and_ten_changes_are_there():
    loop, changes = (TEXT.split(f"## {title}")[1].split("\n## ")[0] for title in ("The loop", "To change X"))
    assert re.findall(r"^\| (\d) \|", loop, flags=re.M) == list("12345678")
    assert len(re.findall(r"`[\w/]+\.py`\]", changes)) >= 10 and changes.count("../examples/") == 2


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
