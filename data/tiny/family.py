"""What a family of micro-tasks is: phrasings, a program, an answer, and tests that tell right from nearly so.

A family is one idea ("print n plus k"); a task is a family with its phrasing, names and constant chosen.
Expected outputs come from `answer`, a plain function, and never from running the program's text; the test
suite runs the programs and compares.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from data.problems import TestCase

VERBS = ("Print", "Output", "Show")

_ATTEMPTS = 200


@dataclass(frozen=True)
class Shape:
    """How a task reads its input: in words, in code, and as text on standard input."""

    reading: tuple[str, ...]
    """Sentences that introduce the input, with {a}, {b}, {c} for the names."""
    code: str
    """The lines that read it."""
    names: tuple[tuple[str, ...], ...]
    """Choices of names; none is `i` or `r`, which programs use for themselves."""
    stdin: Callable[..., str]
    """The values -> the text a test feeds."""


@dataclass(frozen=True)
class Family:
    """One idea for a task. In texts and code {a}, {b}, {c} are names, {k} a constant, {P} and {p} a verb."""

    name: str
    shape: Shape
    code: str
    """The lines after reading."""
    answer: Callable[..., Any]
    """The values, then the constant if there is one -> what must be printed; a list is one item per line."""
    near: tuple[Callable[..., Any], ...]
    """Answers to be told from the right one: the tests of every problem fail each of these."""
    draw: Callable[[Random, Any], tuple[Any, ...]]
    """(rng, constant) -> the values of one test."""
    seen: tuple[str, ...]
    """Task sentences used everywhere."""
    unseen: tuple[str, ...]
    """Task sentences that no training split uses: new wording, made of words that training knows."""
    k: Sequence[Any] = ()
    """Choices of the constant; empty if the task has none."""


@dataclass(frozen=True)
class Task:
    """A family with everything chosen but the tests."""

    prompt: str
    program: str
    family: Family
    constant: Any


def draw_task(family: Family, rng: Random, *, unseen: bool) -> Task:
    """Choose wording, names and constant."""
    names = rng.choice(family.shape.names)
    constant = rng.choice(family.k) if family.k else None
    verb = rng.choice(VERBS)
    fields = {**dict(zip("abc", names, strict=False)), "k": constant, "P": verb, "p": verb.lower()}
    sentence = rng.choice(family.unseen if unseen else family.seen)
    prompt = f"{rng.choice(family.shape.reading)} {sentence}".format(**fields)
    program = f"{family.shape.code}\n{family.code}\n".format(**fields)
    return Task(prompt, program, family, constant)


def make_tests(task: Task, rng: Random) -> tuple[TestCase, ...]:
    """Three to five tests that no constant output and none of the family's near misses passes."""
    family, constant = task.family, task.constant
    tail = (constant,) if family.k else ()
    count = rng.randint(3, 5)
    for _ in range(_ATTEMPTS):
        values = [family.draw(rng, constant) for _ in range(count)]
        inputs = [family.shape.stdin(*value) for value in values]
        outputs = [printed(family.answer(*value, *tail)) for value in values]
        if len(set(inputs)) < count or len(set(outputs)) == 1 or "" in outputs:
            continue  # a program that does nothing must not pass a test either
        misses = ([printed(near(*value, *tail)) for value in values] for near in family.near)
        if all(miss != outputs for miss in misses):
            return tuple(TestCase(given, expected) for given, expected in zip(inputs, outputs, strict=True))
    raise RuntimeError(
        f"family {family.name}, constant {constant!r}: no discriminating tests in {_ATTEMPTS} draws"
    )


def yes_no(condition: bool) -> str:
    return "yes" if condition else "no"


def spaced(items: list[Any]) -> str:
    """Items as `print(*items)` prints them."""
    return " ".join(map(str, items))


def printed(answer: Any) -> str:
    """An answer as a program prints it."""
    items = answer if isinstance(answer, list) else [answer]
    return "".join(f"{item}\n" for item in items)


# --- drawing values ---


def integers(low: int, high: int, count: int = 1) -> Callable[[Random, Any], tuple[int, ...]]:
    return lambda rng, k: tuple(rng.randint(low, high) for _ in range(count))


def around(spread: int) -> Callable[[Random, Any], tuple[int, ...]]:
    """One integer near the constant, so that comparisons with it come out both ways, equality included."""
    return lambda rng, k: (k + rng.randint(-spread, spread),)


def close_pairs(rng: Random, k: Any) -> tuple[int, int]:
    """Two integers that are often equal and seldom far apart."""
    first = rng.randint(1, 30)
    return first, first + rng.randint(-1, 1) * rng.randint(0, 5)


def lists(rng: Random, k: Any) -> tuple[list[int]]:
    return ([rng.randint(-9, 30) for _ in range(rng.randint(2, 6))],)


def lists_with_constant(rng: Random, k: Any) -> tuple[list[int]]:
    """Lists in which the constant and its neighbours turn up often."""
    return ([k + rng.randint(-1, 1) * rng.randint(0, 3) for _ in range(rng.randint(2, 6))],)


def word(rng: Random, k: Any = None) -> tuple[str]:
    """Letters that read like a word; few different ones, so that letters repeat."""
    pairs = [rng.choice("bdlmnrst") + rng.choice("aeio") for _ in range(rng.randint(1, 3))]
    return ("".join(pairs) + rng.choice(("", "", "n", "s", "t")),)


def mixed_case_word(rng: Random, k: Any = None) -> tuple[str]:
    return ("".join(rng.choice((letter, letter.upper())) for letter in word(rng)[0]),)


def words(rng: Random, k: Any = None) -> tuple[list[str]]:
    return ([word(rng)[0] for _ in range(rng.randint(2, 5))],)


# --- shapes ---


def _lines(*values: Any) -> str:
    return "".join(f"{value}\n" for value in values)


def _line(*values: Any) -> str:
    return " ".join(map(str, values)) + "\n"


def _items(values: list[Any]) -> str:
    return _line(*values)


def _names(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(names.split(",")) for names in text.split())


_PAIRS = _names("a,b x,y m,n p,q u,v c,d n,k h,w")

INT = Shape(
    reading=("Read an integer {a}.", "Read a number {a}.", "An integer {a} is given."),
    code="{a} = int(input())",
    names=_names("n x a m y p v d num age"),
    stdin=_lines,
)
PAIR = Shape(
    reading=(
        "Read {a} and {b} from one line.",
        "Read integers {a} and {b} on one line.",
        "One line holds {a} and {b}.",
    ),
    code="{a}, {b} = map(int, input().split())",
    names=_PAIRS,
    stdin=_line,
)
LINES = Shape(
    reading=(
        "Read {a} and {b} from two lines.",
        "Read integers {a} and {b} on two lines.",
        "Two lines hold {a} and {b}.",
    ),
    code="{a} = int(input())\n{b} = int(input())",
    names=_PAIRS,
    stdin=_lines,
)
TRIPLE = Shape(
    reading=(
        "Read {a}, {b} and {c} from one line.",
        "One line holds {a}, {b} and {c}.",
        "Read integers {a}, {b} and {c} on one line.",
    ),
    code="{a}, {b}, {c} = map(int, input().split())",
    names=_names("a,b,c x,y,z p,q,d u,v,w k,m,n d,e,f x,n,m h,w,d"),
    stdin=_line,
)
LIST = Shape(
    reading=(
        "Read a line of integers {a}.",
        "Read a list {a} of integers.",
        "A list {a} of integers is given.",
    ),
    code="{a} = list(map(int, input().split()))",
    names=_names("xs nums a v data arr row items"),
    stdin=_items,
)
WORD = Shape(
    reading=("Read a word {a}.", "Read one word {a}.", "A word {a} is given."),
    code="{a} = input()",
    names=_names("s t w name text x line p"),
    stdin=_lines,
)
WORDS = Shape(
    reading=("Read a line of words {a}.", "Read words {a} on one line.", "A line of words {a} is given."),
    code="{a} = input().split()",
    names=_names("ws parts items xs w data row v"),
    stdin=_items,
)
WORD_INT = Shape(
    reading=(
        "Read a word {a} and a number {b} on two lines.",
        "Two lines hold a word {a} and a number {b}.",
        "Read a word {a}, then a number {b} on a new line.",
    ),
    code="{a} = input()\n{b} = int(input())",
    names=_names("s,n w,k t,m name,x s,k text,n w,n t,x"),
    stdin=_lines,
)
