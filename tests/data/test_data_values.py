"""Values as JSON text: what comes back is what went in, to the type."""

import math
from collections import Counter, OrderedDict, defaultdict, namedtuple
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.values import MAX_DEPTH, decode, decode_call, encode, encode_call

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**1000, -(10**1000), 10**1500]),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters()),
    st.binary(max_size=8),
    st.binary(max_size=8).map(bytearray),
)
HASHABLE = st.recursive(
    LEAVES.filter(lambda value: not isinstance(value, bytearray)),
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=4,
)
KEYS = st.one_of(st.text(max_size=3), st.sampled_from(["$tuple", "$", "$dict"]), HASHABLE)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(HASHABLE, max_size=4),
        st.frozensets(HASHABLE, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=12,
)


def shown(value: object) -> str:
    """Value and types all the way down; -0.0 is not 0.0, NaN is NaN, sets have no order."""
    if isinstance(value, dict):
        items = [f"{shown(key)}: {shown(item)}" for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [shown(item) for item in value]
    elif isinstance(value, (set, frozenset)):
        items = sorted(shown(item) for item in value)
    else:
        return hex(value) if type(value) is int else repr(value)
    return f"{type(value).__name__}({', '.join(items)})"


def alike(left: object, right: object) -> bool:
    return shown(left) == shown(right)


@given(VALUES)
def test_a_value_comes_back_with_its_types(value):
    text = encode(value)
    assert text.isascii() and "\n" not in text
    assert alike(decode(text), value)
    assert encode(value, strict=True) == text


@given(st.lists(VALUES, max_size=3), st.dictionaries(st.text(min_size=1, max_size=3), VALUES, max_size=2))
def test_the_arguments_of_a_call_come_back(args, kwargs):
    given_args, given_kwargs = decode_call(encode_call(tuple(args), kwargs))
    assert alike(given_args, args) and alike(given_kwargs, kwargs)


class Colour(IntEnum):
    RED = 1


class Loud(str):
    def __str__(self):
        return "LOUD"


class Sly(list):
    def __iter__(self):
        return iter([1, 2, 3])


SUBCLASSES = {
    "namedtuple": (namedtuple("Pair", "a b")(1, [2]), (1, [2])),
    "defaultdict": (defaultdict(list, {1: [2]}), {1: [2]}),
    "OrderedDict": (OrderedDict(a=1), {"a": 1}),
    "Counter": (Counter("aab"), {"a": 2, "b": 1}),
    "IntEnum": (Colour.RED, 1),
    "str that says something else": (Loud("quiet"), "quiet"),
    "list that iterates over something else": (Sly([9]), [9]),
}


@pytest.mark.parametrize("value, base", SUBCLASSES.values(), ids=SUBCLASSES)
def test_a_result_of_a_subclass_is_told_as_its_base_and_an_argument_is_not(value, base):
    assert alike(decode(encode(value)), base)
    with pytest.raises(ValueError, match=r"\$object"):
        decode_call(encode_call((value,), {}))


OTHERS = {
    "a generator": (x for x in [1]),
    "a range": range(3),
    "an object": object(),
    "a function": len,
    "a class": int,
    "an ellipsis": ...,
    "a module": math,
}


@pytest.mark.parametrize("value", OTHERS.values(), ids=OTHERS)
def test_what_has_no_text_is_told_by_its_type_and_is_no_value(value):
    text = encode([value])
    assert type(value).__name__ in text
    with pytest.raises(ValueError, match=r"\$object"):
        decode(text)


def test_what_holds_itself_or_is_nested_without_end_is_no_value():
    endless: list = []
    endless.append(endless)
    deep: tuple = ()
    for _ in range(MAX_DEPTH + 5):
        deep = (deep,)
    for value in (endless, deep, {"a": endless}):
        with pytest.raises(ValueError):
            decode(encode(value))


NO_VALUES = {
    "not JSON": "[1,",
    "two documents": "1 2",
    "NaN": "NaN",
    "Infinity": "[Infinity]",
    "nested a thousand times": "[" * 1000 + "]" * 1000,
    "nested a hundred thousand times": "[" * 100_000,
    "an unknown tag": '{"$range": [1]}',
    "a tuple of no list": '{"$tuple": 1}',
    "a tuple of an object": '{"$tuple": {"a": 1}}',
    "a set of lists": '{"$set": [[1]]}',
    "a dict of no pairs": '{"$dict": [[1]]}',
    "a dict of a number": '{"$dict": 5}',
    "a dict with a list as key": '{"$dict": [[[1], 2]]}',
    "bytes of a number": '{"$bytes": 1}',
    "bytes beyond latin-1": '{"$bytes": "\\u1234"}',
    "a float that is none": '{"$float": "1e5"}',
    "a float that is a list": '{"$float": []}',
    "an integer that is none": '{"$int": "z"}',
    "a complex number of one part": '{"$complex": [1]}',
    "a complex number of texts": '{"$complex": ["x", 1]}',
    "too many digits": "9" * 5000,
}


@pytest.mark.parametrize("text", NO_VALUES.values(), ids=NO_VALUES)
def test_what_says_no_value_is_a_value_error(text):
    with pytest.raises(ValueError):
        decode(text)
    with pytest.raises(ValueError):
        decode_call(f"[{text}]")


@pytest.mark.parametrize(
    "text", ["1", "{}", '"a"', '{"a": 1}', '{"$call": 1}', '{"$call": [[]]}', '{"$call": [[], []]}']
)
def test_what_is_no_list_of_arguments_is_no_call(text):
    with pytest.raises(ValueError):
        decode_call(text)
