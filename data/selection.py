"""Which problems and which tests of a set are kept: pure functions, the same for the same seed.

Texts are told apart by a hash of their words and operators: case, spacing and other punctuation differ
between copies of one problem, and a copy of a held-out problem in training is no held-out problem.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from data.problem import Problem, TestCase

_WORDS = re.compile(r"\w+|[-+*/%<>=^&|]")  # "n + 1" and "n - 1" are two problems
_EXAMPLE = 2_000  # characters; no text shows a longer input or output


def text_hash(prompt: str) -> str:
    """The same for two texts of the same words in the same order."""
    words = _WORDS.findall(unicodedata.normalize("NFKC", prompt).casefold())
    return hashlib.sha256(" ".join(words).encode("utf-8", "surrogatepass")).hexdigest()


def with_public(problem: Problem) -> Problem:
    """The problem with its public tests marked: those its text shows, unless its set has said which."""
    if any(test.public for test in problem.tests):
        return problem
    text = " ".join(problem.prompt.split())

    def shown(part: str) -> bool:
        words = " ".join(part.split()) if len(part) <= _EXAMPLE else ""
        return bool(words) and words in text

    tests = (replace(t, public=shown(t.input) and shown(t.output)) for t in problem.tests)
    return replace(problem, tests=tuple(tests))


def without_large_tests(problem: Problem, max_input: int, max_output: int) -> Problem:
    """The problem without the tests whose input or output has more bytes than that; all may be."""

    def fits(test: TestCase) -> bool:
        return len(test.input.encode()) <= max_input and len(test.output.encode()) <= max_output

    return replace(problem, tests=tuple(filter(fits, problem.tests)))


def with_max_tests(problem: Problem, max_tests: int, seed: int) -> Problem:
    """At most so many different tests (0: all), public ones first, the rest drawn; in the order they had."""
    shown: dict[tuple[str, str], bool] = {}
    for test in problem.tests:
        pair = test.input, test.output
        shown[pair] = shown.get(pair, False) or test.public
    different = [TestCase(*pair, public) for pair, public in shown.items()]
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


def without_copies(problems: Iterable[Problem], known: Iterable[str] = ()) -> tuple[list[Problem], int, int]:
    """(problems, copies, overlap): one of each text; a text that is held out, or known, is not in training.

    `known`: hashes of texts that are held out elsewhere.
    """
    ordered = list(problems)
    heldout = {text_hash(p.prompt) for p in ordered if p.split == "heldout"}
    elsewhere = set(known)
    kept, seen, copies, overlap = [], set(), 0, 0
    for problem in ordered:
        key = text_hash(problem.prompt)
        if key in elsewhere or (problem.split != "heldout" and key in heldout):
            overlap += 1
        elif key in seen:
            copies += 1
        else:
            seen.add(key)
            kept.append(problem)
    return kept, copies, overlap


def _draw(seed: int, text: str, number: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{number}\0{text}".encode("utf-8", "surrogatepass")).digest()
