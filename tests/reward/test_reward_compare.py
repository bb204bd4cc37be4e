"""Comparison policies: tables of what is equal, and the two properties that every policy has."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reward import Policy, RewardError, parse_policy

POLICIES = ("lines", "exact", "tokens", "float", "float(0,0)", "float(0.5,0)", "float(0, 1e-3)")

# output, expected, and the policies under which they are equal ("all" or names)
TABLE = [
    # the same
    (b"1\n2\n", b"1\n2\n", "all"),
    (b"", b"", "all"),
    # white space that does not count by lines
    (b"1\n2", b"1\n2\n", "lines tokens float"),
    (b"1\n2\n\n\n", b"1\n2\n", "lines tokens float"),
    (b"1 \n2\t\n", b"1\n2\n", "lines tokens float"),
    (b"1\r\n2\r\n", b"1\n2\n", "lines tokens float"),
    (b"\n \n", b"", "lines tokens float"),
    (b"1\n \n2\n", b"1\n\n2\n", "lines tokens float"),
    # white space that does
    (b"\n1\n", b"1\n", "tokens float"),
    (b" 1\n", b"1\n", "tokens float"),
    (b"1  2\n", b"1 2\n", "tokens float"),
    (b"1\n\n2\n", b"1\n2\n", "tokens float"),
    (b"1 2\n", b"1\n2\n", "tokens float"),
    (b"1\r2\n", b"1\n2\n", "tokens float"),
    # too little, too much, in another order
    (b"1\n", b"1\n2\n", ""),
    (b"1\n2\n3\n", b"1\n2\n", ""),
    (b"", b"1\n", ""),
    (b"2\n1\n", b"1\n2\n", ""),
    (b"1\n1\n2\n", b"1\n2\n", ""),
    (b"12\n", b"1 2\n", ""),
    # numbers
    (b"0.3333333\n", b"0.33333333\n", "float"),
    (b"1.0\n", b"1\n", "float"),
    (b"-0\n", b"0\n", "float"),
    (b"-0.0\n", b"0.0\n", "float"),
    (b"1e3\n", b"1000\n", "float"),
    (b"+5\n", b"5\n", "float"),
    (b".5\n", b"0.5\n", "float"),
    (b"1.01\n", b"1\n", ""),
    # numbers between punctuation, which is the same
    (b"[0.1, 0.3]\n", b"[0.1, 0.30000000000000004]\n", "float"),
    (b"1.0,2.0\n", b"1,2\n", "float"),
    (b"(1.0;2.0)\n", b"(1;2)\n", "float"),
    (b"x=0.50\n", b"x=0.5\n", "float"),
    (b"{'a':1.0}\n", b"{'a':1}\n", "float"),
    (b"50.0%\n", b"50%\n", "float"),
    (b"[-0.0]\n", b"[0]\n", "float"),
    (b"[1e3]\n", b"[1000]\n", "float"),
    (b"1.0,2.0\n", b"1;2\n", ""),
    (b"[1.0]\n", b"[1\n", ""),
    (b"1,2\n", b"1,2,3\n", ""),
    (b"1,2\n", b"2,1\n", ""),
    (b"1,\n", b"1\n", ""),
    (b"[0.1,0.3]\n", b"[0.1, 0.3]\n", ""),
    (b"[1.01]\n", b"[1]\n", ""),
    (b"[nan]\n", b"[nan]\n", "all"),
    (b"[1e999]\n", b"[1e998]\n", ""),
    # parts of names, versions and dates are no numbers
    (b"x1.0\n", b"x1\n", ""),
    (b"1.0x\n", b"1x\n", ""),
    (b"x_1.0\n", b"x_1\n", ""),
    (b"1.2.30\n", b"1.2.3\n", ""),
    (b"2020-01-02\n", b"2020-1-2\n", ""),
    (b"1-2.0\n", b"1-2\n", ""),
    # what is no number equals only itself
    (b"nan\n", b"nan\n", "all"),
    (b"NaN\n", b"nan\n", ""),
    (b"inf\n", b"inf\n", "all"),
    (b"inf\n", b"1e999\n", ""),
    (b"1e999\n", b"1e998\n", ""),
    (b"1e999\n", b"1\n", ""),  # a relative tolerance of infinity is infinite
    (b"nan\n", b"0\n", ""),
    (b"1_000\n", b"1000\n", ""),
    (b"0x10\n", b"16\n", ""),
    # bytes, not text: nothing is decoded, so nothing unreadable is the same as something else unreadable
    (b"\xff\n", b"\xfe\n", ""),
    (b"\xff\n", b"\xef\xbf\xbd\n", ""),
    ("é\n".encode(), "é\n".encode("latin-1"), ""),
    (b"1\xc2\xa0\n", b"1\n", ""),
    ("١\n".encode(), b"1\n", ""),
    (b"1\x00\n", b"1\n", ""),
    (b"YES\n", b"yes\n", ""),
]


@pytest.mark.parametrize(("output", "expected", "equal"), TABLE)
def test_table(output: bytes, expected: bytes, equal: str) -> None:
    for name in ("exact", "lines", "tokens", "float"):
        wanted = equal == "all" or name in equal.split()
        assert parse_policy(name).matches(output, expected) is wanted, name
        assert parse_policy(name).matches(expected, output) is wanted, f"{name}, the other way round"


@pytest.mark.parametrize(
    ("policy", "output", "equal"),
    [
        ("float(0,0)", b"100.0", True),
        ("float(0,0)", b"100.0000001", False),
        ("float(0.5,0)", b"100.5", True),
        ("float(0.5,0)", b"100.51", False),
        ("float(0, 1e-3)", b"99.9", True),
        ("float(0, 1e-3)", b"99.8", False),
        ("float", b"100.0001", True),  # relative 1e-6
        ("float", b"100.001", False),
        ("float( 2e-3 , 0 )", b"100.001", True),
    ],
)
def test_tolerances_are_absolute_then_relative(policy: str, output: bytes, equal: bool) -> None:
    assert parse_policy(policy).matches(output, b"100") is equal


outputs = st.one_of(
    st.binary(max_size=12),
    st.text("12.e-+ \n\r\tna", max_size=12).map(str.encode),
    st.lists(st.floats(), max_size=4).map(lambda numbers: " ".join(map(str, numbers)).encode()),
)


@given(st.sampled_from(POLICIES), outputs)
def test_every_output_equals_itself(policy: str, output: bytes) -> None:
    """Numeric comparison alone would break this: NaN differs from itself."""
    assert parse_policy(policy).matches(output, output)


@given(st.sampled_from(POLICIES), outputs, outputs)
def test_comparison_is_symmetric(policy: str, one: bytes, other: bytes) -> None:
    """|a - b| <= relative * |b| alone, as numpy has it, would break this."""
    matches = parse_policy(policy).matches
    assert matches(one, other) == matches(other, one)


@given(st.floats(1e-3, 1e3), st.floats(-2e-3, 2e-3))
@example(1000.0, -1e-3)  # 1 apart: a thousandth of the larger, more than that of the smaller
def test_float_tolerance_is_symmetric_near_its_edge(value: float, shift: float) -> None:
    one, other = repr(value).encode(), repr(value * (1 + shift)).encode()
    matches = parse_policy("float(0, 1e-3)").matches
    assert matches(one, other) == matches(other, one)


@given(outputs, outputs)
def test_policies_are_ordered_by_strictness(one: bytes, other: bytes) -> None:
    """exact implies lines implies tokens implies float."""
    equal = [parse_policy(name).matches(one, other) for name in ("exact", "lines", "tokens", "float")]
    assert equal == sorted(equal)


@given(st.lists(st.sampled_from([b"1", b"2", b"x"]), min_size=1, max_size=5), st.sampled_from(POLICIES))
def test_no_prefix_and_no_extra_line_passes(lines: list[bytes], policy: str) -> None:
    expected, shorter = b"\n".join(lines), b"\n".join(lines[:-1])
    assert not parse_policy(policy).matches(shorter, expected)
    assert not parse_policy(policy).matches(expected + b"\n7", expected)


@pytest.mark.parametrize(
    "text",
    [
        *("", "line", "Lines", "lines ", "lines(1,2)", "tokens()", None, 3),
        *("float()", "float(1)", "float(1,2,3)", "float(a,b)", "float(-1,0)", "float(nan,0)", "float(inf,0)"),
        *("float(1,2", "float:1,2", "float(1e-6,)", "float(1,2)\n"),
    ],
)
def test_an_unknown_policy_is_an_error(text: object) -> None:
    with pytest.raises(RewardError, match=r"comparison|tolerances") as error:
        parse_policy(text)  # type: ignore[arg-type]
    assert repr(text) in str(error.value)


def test_policies_parse_to_their_fields() -> None:
    assert parse_policy("lines") == Policy("lines")
    assert parse_policy("float") == Policy("float", 1e-6, 1e-6)
    assert parse_policy("float(1e-9, 0)") == Policy("float", 1e-9, 0.0)
