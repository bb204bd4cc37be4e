"""Which problems and which tests of a set are kept: pure functions, the same for the same seed.

Texts are told apart by a hash of their words and operators: case, spacing and other punctuation differ
between copies of one problem, and a copy of a held-out problem in training is no held-out problem.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from data.formats.checks import EXAMPLE
from data.problem import Problem, TestCase
from data.shown import calls_shown
from data.values import encode_call

_WORDS = re.compile(r"\w+|[-+*/%<>=^&|]")  # "n + 1" and "n - 1" are two problems
_EXAMPLE = 2_000  # characters; no text shows a longer input or output
_TEST_SHOWN = re.compile(rf"^(?:{re.escape(EXAMPLE)}|assert\b.*)$", re.MULTILINE)
_RANKS = {"heldout": 0, "validation": 1}  # whose text it is, where two splits have one text; the others: 2


def text_hash(prompt: str) -> str:
    """The same for two texts of the same words in the same order, whichever test is shown behind them."""
    text = _TEST_SHOWN.sub("", prompt)
    words = _WORDS.findall(unicodedata.normalize("NFKC", text).casefold())
    return hashlib.sha256(" ".join(words).encode("utf-8", "surrogatepass")).hexdigest()


def with_public(problem: Problem) -> Problem:
    """The problem with its public tests marked: those its text shows, unless its set has said which."""
    if any(test.public for test in problem.tests):
        return problem
    if problem.entry_point is not None:
        return _with_public_calls(problem, problem.entry_point)
    text = " ".join(problem.prompt.split())

    def shown(part: str) -> bool:
        words = " ".join(part.split()) if len(part) <= _EXAMPLE else ""
        return bool(words) and words in text

    tests = (replace(t, public=shown(t.input) and shown(t.output)) for t in problem.tests)
    return replace(problem, tests=tuple(tests))


def _with_public_calls(problem: Problem, entry_point: str) -> Problem:
    """Calls count as shown by their arguments; those with a keyword may be written without."""
    shown = set()
    for args, named in calls_shown(problem.prompt, entry_point):
        shown |= {encode_call(args, named), encode_call((*args, *named.values()), {})}
    return replace(problem, tests=tuple(replace(t, public=t.input in shown) for t in problem.tests))


def without_large_tests(problem: Problem, max_input: int, max_output: int) -> Problem:
    """The problem without the tests whose input or output has more bytes than that; all may be."""

    def fits(test: TestCase) -> bool:
        return len(test.input.encode()) <= max_input and len(test.output.encode()) <= max_output

    return replace(problem, tests=tuple(filter(fits, problem.tests)))


def with_max_tests(problem: Problem, max_tests: int, seed: int) -> Problem:
    """At most so many different tests (0: all), public ones first, the rest drawn; in the order they had."""
    found: dict[tuple[str, str], TestCase] = {}
    for test in problem.tests:
        known = found.setdefault((test.input, test.output), test)
        if test.public and not known.public:
            found[test.input, test.output] = replace(known, public=True)
    different = list(found.values())
    if max_tests and len(different) > max_tests:

        def rank(number: int) -> tuple[bool, bytes]:
            return not different[number].public, _draw(seed, problem.id, number)

        chosen = sorted(range(len(different)), key=rank)[:max_tests]
        different = [different[number] for number in sorted(chosen)]
    return replace(problem, tests=tuple(different))


def with_split(problem: Problem, heldout: float, seed: int) -> Problem:
    """The problem with a split: `heldout` for about that share of texts, chosen by text and seed."""
    drawn = int.from_bytes(_draw(seed, text_hash(problem.prompt), 0)[:8], "big") / 2**64
    return replace(problem, split="heldout" if drawn < heldout else "train")


def without_copies(
    problems: Iterable[Problem], known: Iterable[str] = ()
) -> tuple[list[Problem], list[Problem], list[Problem]]:
    """(kept, copies, overlap): of each text one is kept. What is held out, or known, is not in training,
    and not among those for validation; one of these is not in training.

    `known`: hashes of texts that are held out elsewhere.
    """
    ordered = [(problem, text_hash(problem.prompt), _rank(problem)) for problem in problems]
    best: dict[str, int] = {}
    for _, key, rank in ordered:
        best[key] = min(rank, best.get(key, rank))
    elsewhere = set(known)
    kept: list[Problem] = []
    copies: list[Problem] = []
    overlap: list[Problem] = []
    seen = set()
    for problem, key, rank in ordered:
        if key in elsewhere or rank > best[key]:
            overlap.append(problem)
        elif key in seen:
            copies.append(problem)
        else:
            seen.add(key)
            kept.append(problem)
    return kept, copies, overlap


def _rank(problem: Problem) -> int:
    return _RANKS.get(problem.split or "", len(_RANKS))


def _draw(seed: int, text: str, number: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{number}\0{text}".encode("utf-8", "surrogatepass")).digest()
