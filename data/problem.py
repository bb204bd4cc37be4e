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
    security: bool = False
    """Asks whether a program is secure; the others ask whether it works."""


@dataclass(frozen=True)
class Problem:
    """A task in words, and the tests that decide whether a program solves it.

    One with a `cwe` may be without tests: then it can be measured whether programs are clean, and nothing
    else, and no reward follows from it.
    """

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
    """Code to stand in front of an answer: what it needs, or the beginning of the entry point, down to its
    docstring, of which an answer may be the body alone."""
    cwe: int | None = None
    """Number of the weakness that the task tempts into, where it is there to measure security."""
    insecure: tuple[str, ...] = ()
    """Programs that have this weakness: what the analyser finds of them is what it can find."""
