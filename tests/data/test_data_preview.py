"""Texts cut for people."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.preview import preview


@pytest.mark.parametrize(
    "content, limit, shown",
    [
        ("", 0, ""),
        ("abc", 3, "abc"),
        ("abcd", 3, "abc… (1 more bytes)"),
        ("aé", 2, "a… (2 more bytes)"),  # two bytes, of which one would fit
        ("a→b", 3, "a… (4 more bytes)"),
        (b"\xff\n", 9, "\\xff\n"),
        (b"\xffabc", 2, "\\xffa… (2 more bytes)"),
        (b"ab\xe2\x86", 9, "ab\\xe2\\x86"),  # a character that is not finished, and never was
        ("\ud800", 9, "\\ud800"),
    ],
)
def test_what_is_shown(content, limit, shown):
    assert preview(content, limit) == shown


@given(st.text() | st.binary(), st.integers(0, 40))
def test_the_beginning_and_how_much_is_missing(content, limit):
    """Every byte is shown or counted, whatever it is; and the result can be written as UTF-8."""
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    shown = preview(content, limit)
    shown.encode()
    if len(data) <= limit:
        assert shown == data.decode("utf-8", "backslashreplace")
        return
    begin, missing = re.fullmatch(r"(.*)… \((\d+) more bytes\)", shown, flags=re.DOTALL).groups()
    kept = len(data) - int(missing)
    assert limit - 3 <= kept <= limit and begin == data[:kept].decode("utf-8", "backslashreplace")
