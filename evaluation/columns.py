"""The columns of an evaluation: their names in evaluation.json, their headings, which of them are rates."""

from typing import NamedTuple


class Column(NamedTuple):
    """One number of a sample, averaged over samples."""

    key: str
    heading: str
    factor: int
    """What it is shown times: 100 for percent."""
    form: str


HEADLINE = (
    Column("syntax", "Syn. %", 100, "{:.1f}"),
    Column("any_pass", "≥1-P %", 100, "{:.1f}"),
    Column("all_pass", "All-P %", 100, "{:.1f}"),
    Column("reward", "mean R", 1, "{:.3f}"),
    Column("reward_pass_fraction", "R with k/T", 1, "{:.3f}"),
    Column("length", "length", 1, "{:.1f}"),
)
"""The paper's, with the mean length of programs in characters."""

MORE = (
    Column("functional", "R_func", 1, "{:.3f}"),
    Column("pass_fraction", "k/T", 1, "{:.3f}"),
    Column("clean", "clean % of parsable", 100, "{:.1f}"),
    Column("pass_and_clean", "All-P and clean %", 100, "{:.1f}"),
    Column("hacking", "any sign of playing %", 100, "{:.1f}"),
    Column("truncated", "cut at the limit %", 100, "{:.1f}"),
    Column("public_pass", "public tests %", 100, "{:.1f}"),
    Column("hidden_pass", "hidden tests %", 100, "{:.1f}"),
    Column("public_only", "public but not hidden %", 100, "{:.1f}"),
    Column("functional_pass", "tests of function %", 100, "{:.1f}"),
    Column("security_pass", "tests of security %", 100, "{:.1f}"),
    Column("blank", "no code %", 100, "{:.1f}"),
)
"""Public and hidden: of problems that have tests of both kinds; the others have no value. So are tests of
function and of security. No code: of answers to problems without tests."""

SECURITY = (
    Column("syntax", "parsable %", 100, "{:.1f}"),
    Column("blank", "no code %", 100, "{:.1f}"),
    Column("clean", "clean % of parsable", 100, "{:.1f}"),
    Column("functional_pass", "tests of function %", 100, "{:.1f}"),
    Column("security_pass", "tests of security %", 100, "{:.1f}"),
    Column("all_pass", "All-P %", 100, "{:.1f}"),
    Column("pass_and_clean", "All-P and clean %", 100, "{:.1f}"),
)
"""The headline of sets that measure security."""

COMPARED = (
    *("syntax", "any_pass", "all_pass", "pass_and_clean", "clean", "hacking", "truncated"),
    *("functional_pass", "security_pass"),
    *("reward", "reward_pass_fraction", "functional", "pass_fraction", "length"),
)
"""Columns whose differences between models are tested."""

MAIN = "all_pass"
"""What decides, unless an evaluation names another column."""

_MEANS = {"reward", "reward_pass_fraction", "length", "functional", "pass_fraction"}


def is_rate(key: str) -> bool:
    """Whether every sample's value is 0 or 1."""
    return key not in _MEANS


def column(key: str) -> Column:
    """The column of a key of HEADLINE or MORE."""
    return next(c for c in (*HEADLINE, *MORE) if c.key == key)
