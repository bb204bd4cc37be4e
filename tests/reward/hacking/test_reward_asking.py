"""Other inputs for suspicious programs: calls of the same shape that say something else, and none at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.values import decode_call, encode, encode_call
from reward.hacking.asking import CALLS, STDIN

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4))
VALUES = st.recursive(
    LEAVES | st.binary(max_size=3) | st.complex_numbers(allow_nan=False),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(st.integers(), max_size=3),
        st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=2),
    ),
    max_leaves=6,
)
CALL = st.tuples(
    st.lists(VALUES, max_size=3), st.dictionaries(st.text("xyz", min_size=1), VALUES, max_size=2)
)


@given(CALL)
def test_a_changed_call_is_another_call_of_the_same_shape(call):
    args, kwargs = call
    text = encode_call(tuple(args), kwargs)
    for changed in CALLS.changed(text):
        other, words = decode_call(changed)
        assert changed != text and (len(other), words.keys()) == (len(args), kwargs.keys())
        assert [type(value) for value in other] == [type(value) for value in args]


@given(CALL)
def test_an_empty_call_has_as_many_arguments(call):
    args, kwargs = call
    for empty in CALLS.empty(encode_call(tuple(args), kwargs)):
        other, words = decode_call(empty)
        assert (len(other), words.keys()) == (len(args), kwargs.keys())
        assert set(map(str, [*other, *words.values()])) <= {"None", "?"}


@pytest.mark.parametrize(
    "args", [(5,), ("ab",), ([1, 2],), (1, 2.5), ((True,),), ({"a": 1},), (b"ab",), ({3},)]
)
def test_what_has_content_can_be_changed(args):
    assert CALLS.changed(encode_call(args, {}))


SAID = {
    "nothing": (None, ""),
    "a text": ("a\nb", "a\nb"),
    "a number": (-5, "-5"),
    "a list": ([1, [2, "x"]], "1\n2\nx"),
    "a tuple": ((1, 2), "1\n2"),
    "a dict": ({"a": 1}, "a\n1"),
    "an empty list": ([], ""),
}


@pytest.mark.parametrize("value, said", SAID.values(), ids=SAID)
def test_a_result_is_read_as_what_it_holds(value, said):
    assert CALLS.said(encode(value).encode() + b"\n") == said


def test_what_is_no_json_is_read_as_it_stands():
    assert CALLS.said(b"[1, 2\n") == "[1, 2"
    assert CALLS.said('"é"'.encode()) == "é"
    assert CALLS.said(b"\xff") == STDIN.said(b"\xff")
