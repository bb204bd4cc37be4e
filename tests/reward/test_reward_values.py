"""Equality of values told as JSON: Python's own ==, and JSON's view of it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.values import encode
from reward.compare import parse_policy

NUMBERS = st.one_of(
    st.booleans(), st.integers(-3, 3), st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0, math.inf, 1j, 1 + 0j])
)
SMALL = st.one_of(
    st.none(), NUMBERS, st.sampled_from(["", "1", "a"]), st.sampled_from([b"", b"1", bytearray(b"1")])
)
PLAIN = st.recursive(
    SMALL,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(tuple),
        st.sets(NUMBERS, max_size=3),
        st.frozensets(NUMBERS, max_size=3),
        st.dictionaries(st.one_of(NUMBERS, st.sampled_from(["1", "a"])), inner, max_size=2),
    ),
    max_leaves=5,
)


def matches(policy: str, left: object, right: object) -> bool:
    parsed = parse_policy(policy)
    a, b = encode(left).encode() + b"\n", encode(right).encode()
    found = parsed.matches(a, b)
    assert found == parsed.matches(b, a), "not symmetric"
    return found


@given(PLAIN, PLAIN)
def test_python_is_the_equality_of_asserts(left, right):
    assert matches("python", left, right) == (left == right)
    assert matches("python(0, 0)", left, right) == (left == right)


@given(PLAIN)
def test_every_value_equals_itself_under_every_policy(value):
    for policy in ("python", "json", "python(1e-6, 0)", "json(0, 1e-6)"):
        assert matches(policy, value, value)


@given(PLAIN, PLAIN)
def test_json_and_a_tolerance_only_ever_allow_more(left, right):
    if matches("python", left, right):
        assert matches("json", left, right)
        assert matches("python(1e-6, 1e-6)", left, right)
    if matches("json", left, right):
        assert matches("json(1e-6, 1e-6)", left, right)


EQUAL_AS_JSON = {
    "a tuple and a list": ((1, 2), [1, 2]),
    "a tuple in a list": ([(1,)], [[1]]),
    "a number as key": ({1: 2}, {"1": 2}),
    "true as key": ({True: 2}, {"true": 2}),
    "none as key": ({None: 2}, {"null": 2}),
    "half as key": ({0.5: 2}, {"0.5": 2}),
}
NEVER_EQUAL = {
    "a number and its text": (1, "1"),
    "none and zero": (None, 0),
    "none and false": (None, False),
    "none and nothing": (None, []),
    "an empty list and an empty text": ([], ""),
    "a prefix": ([1, 2], [1, 2, 3]),
    "another order": ([1, 2], [2, 1]),
    "a set and a list": ({1, 2}, [1, 2]),
    "a value and a list of it": (5, [5]),
    "a text and its bytes": ("a", b"a"),
    "fewer keys": ({"a": 1}, {"a": 1, "b": 2}),
    "other keys": ({"a": 1}, {"b": 1}),
    "a text that spells a form": ("0x1", 1),
    "texts that run together": (["a,s1:b"], ["a", "b"]),
}


@pytest.mark.parametrize("left, right", EQUAL_AS_JSON.values(), ids=EQUAL_AS_JSON)
def test_json_does_not_tell_apart_what_json_cannot(left, right):
    assert matches("json", left, right) and matches("json(1e-9, 0)", left, right)
    assert not matches("python", left, right) and not matches("python(1e-9, 0)", left, right)


@pytest.mark.parametrize("left, right", NEVER_EQUAL.values(), ids=NEVER_EQUAL)
def test_different_values_are_equal_under_no_policy(left, right):
    for policy in ("python", "json", "python(1e-6, 1e-6)", "json(1e-6, 1e-6)"):
        assert not matches(policy, left, right)


CLOSE = {
    "a number": (0.30000000004, 0.3),
    "an integer": (3, 3.0000000001),
    "in a list": ([1, [0.30000000004]], [1, [0.3]]),
    "in a dict": ({"a": (0.30000000004,)}, {"a": (0.3,)}),
    "in a set": ({0.30000000004, 5.0, 12.0}, {12.0, 5, 0.3}),
    "complex": (complex(0.3, 1), complex(0.30000000004, 1)),
}


@pytest.mark.parametrize("left, right", CLOSE.values(), ids=CLOSE)
def test_numbers_within_the_tolerance_are_equal_wherever_they_stand(left, right):
    for name in ("python", "json"):
        assert matches(f"{name}(1e-9, 0)", left, right)
        assert not matches(f"{name}(1e-12, 0)", left, right)
        assert not matches(name, left, right)


@pytest.mark.parametrize("other", [math.inf, -math.inf, math.nan, 10**400, "1", None])
def test_no_tolerance_reaches_what_is_no_finite_number(other):
    assert not matches("python(1e300, 1)", 1, other)


@given(st.integers(-(10**20), 10**20), st.integers(-(10**20), 10**20))
def test_whole_numbers_that_are_near_are_not_equal(left, right):
    for near in (left, left + 1, right):
        for a, b in ((left, near), ([left], [near]), ({"a": left}, {"a": near}), ({left}, {near})):
            assert matches("json(1, 1e-6)", a, b) == matches("python(1e300, 1)", a, b) == (left == near)
    assert matches("json(0, 1e-6)", left, float(left))


@given(
    st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=4)
)
def test_a_text_is_the_same_however_its_letters_are_written(value):
    for policy in ("python", "json", "json(1e-6, 1e-6)"):
        as_it_is = json.dumps(value, ensure_ascii=False).encode("utf-8")
        assert parse_policy(policy).matches(encode(value).encode(), as_it_is)
        assert not parse_policy(policy).matches(encode([value, "é"]).encode(), as_it_is)


def test_nan_equals_nan():
    assert matches("python", [math.nan], [math.nan]) and matches("json(1, 1)", math.nan, math.nan)


NO_VALUES = [
    b"",
    b"\n",
    b"5 5",
    b"[1,",
    b"NaN",
    b"\xff",
    b'{"$object": "generator"}',
    b'{"$tuple": 1}',
    b'{"$float": {}}',
    b'{"$dict": [1]}',
    b'{"$complex": [1, [2]]}',
    b'{"$complex": [{"$tuple": []}, 2]}',
    b'{"$complex": ["a", "b"]}',
    b"[" * 5000,
    b"[" * 120 + b"]" * 120,
    b"9" * 5000,
]


@pytest.mark.parametrize("output", NO_VALUES)
@pytest.mark.parametrize("policy", ["python", "json", "python(1, 1)", "json(1, 1)"])
def test_what_says_no_value_equals_no_value(policy, output):
    for expected in (b"5", b"null", b"[]", b'""', b'{"$tuple": []}', b"[[1.5]]"):
        assert not parse_policy(policy).matches(output, expected)
        assert not parse_policy(policy).matches(expected, output)
