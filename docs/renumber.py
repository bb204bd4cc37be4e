"""Puts the line numbers of docs/algorithm.md right: `python docs/renumber.py`.

A reference is [`file.py:12`](../file.py#L12) `text`: the text stands on that line and on no other.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "algorithm.md"
REFERENCE = re.compile(r"\[`(?P<file>[\w/]+\.py):\d+`\]\(\.\./(?P=file)#L\d+\) `(?P<text>[^`]+)`")


def renumbered(page: str, root: Path = ROOT) -> str:
    """The page with every reference on its line. ValueError where a text is not once in its file."""

    def on_its_line(match: re.Match[str]) -> str:
        file, text = match["file"], match["text"]
        lines = (root / file).read_text(encoding="utf-8").splitlines()
        found = [number for number, line in enumerate(lines, start=1) if text in line]
        if len(found) != 1:
            raise ValueError(f"docs/algorithm.md: {text!r} is on {len(found)} lines of {file}, not on one")
        return f"[`{file}:{found[0]}`](../{file}#L{found[0]}) `{text}`"

    return REFERENCE.sub(on_its_line, page)


if __name__ == "__main__":
    PAGE.write_text(renumbered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
