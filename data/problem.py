"""What a problem is. How files hold it is data/problems.py's and data/forms.py's."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class TestCase:
    """One run of a program: what it reads on standard input, what it must print.

    Of a problem with an entry point: the arguments of a call and its result, as data/values.py writes them.
    """

    __test__: ClassVar[bool] = False  # or pytest would try to collect it

    input: str
    output: str
    public: bool = False
    """Shown in the problem's text, as an example."""


@dataclass(frozen=True)
class Problem:
    """A task in words, and the tests that decide whether a program solves it."""

    id: str
    prompt: str
    tests: tuple[TestCase, ...]
    solutions: tuple[str, ...] = ()
    difficulty: str | None = None
    source: str | None = None
    split: str | None = None
    compare: str = "lines"
    entry_point: str | None = None
    """The function that a program must define, or Class.method; None: it reads standard input and prints."""
    stub: str = ""
    """Code that ends with the head (and docstring) of the entry point: an answer may be its body alone."""
