"""Whatever stands in a field of a public row, the row is read, or refused in one line."""

import json

import set_rows
from hypothesis import given
from hypothesis import strategies as st

from data.fields import RowError
from data.formats.base import Unrecorded
from data.formats.known import format_of, read_row
from data.forms import row_of

ROWS = [row for row in vars(set_rows).values() if isinstance(row, dict) and format_of(row) is not None]

plain = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=6)
texts = st.sampled_from(
    ["", " ", "[", "{}", "[]", "[1]", "[{}]", '{"inputs": 1}', "def f(", "\ud800", "é" * 9]
)
values = st.recursive(
    plain | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The path of everything in a row, also in fields that are text of JSON."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        return [path, *places(json.loads(value), (*path, "text"))]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def replaced(value: object, path: tuple, new: object) -> object:
    if not path:
        return new
    if path[0] == "text" and isinstance(value, str):
        return json.dumps(replaced(json.loads(value), path[1:], new))
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


CASES = [(row, place) for row in ROWS for place in places(row) if place]


@given(st.sampled_from(CASES), values)
def test_a_field_of_any_kind_is_read_or_refused(case, value):
    row, place = case
    try:
        read, _ = read_row(replaced(row, place, value), "9")
    except RowError as error:
        assert "\n" not in str(error)
    else:
        problem = read.problem if isinstance(read, Unrecorded) else read
        json.dumps(row_of(problem), ensure_ascii=False).encode()  # it can be written


def test_the_rows_are_those_of_the_sets_and_read_as_they_are():
    assert len(ROWS) >= 17
    for row in ROWS:
        read_row(row, "9")
