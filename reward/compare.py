"""When is an output right? Comparison as a policy that each problem declares.

    exact               the same bytes
    lines               the same lines: CRLF counts as LF, white space at a line's end and blank lines at the
                        output's end do not count; everything else does, a leading blank line and indentation
                        too
    tokens              the same words, however they are spaced and broken into lines
    float(ABS, REL)     as tokens, but two finite decimal numbers a, b are equal when
                        |a - b| <= max(ABS, REL * max(|a|, |b|)); plain float is float(1e-6, 1e-6). Numbers
                        also stand between punctuation, which must be the same: [0.1,0.3] and [.1,.3]
    python, json        values as data/values.py writes them, equal under Python's ==, or as far as JSON tells
                        them apart (a tuple is a list): reward/values.py. python(ABS, REL), json(ABS, REL):
                        finite numbers in them as under float(ABS, REL), but two whole ones have to be equal

Every policy is reflexive and symmetric. Three mistakes of published judges are impossible by construction:
truncating to the shorter output (a prefix then passes), comparing sets (a permutation then passes), and a
chain of ever more lenient attempts (the most lenient one is then the policy). Outputs are bytes and stay
bytes: a decoder that replaces what it cannot read would make different outputs equal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

from data.comparison import OF_VALUES, Comparison, parse_comparison
from reward import values

# What counts as a number under `float`. Narrower than Python's float(): no "nan", "inf", "1_000" or digits of
# other scripts, so each of these equals only itself, byte for byte.
# No alternative is tried twice (++, *+, ?+): outputs are hostile, and 256 KiB of digits would cost minutes.
_NUMBER = re.compile(rb"[+-]?+(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][+-]?+\d++)?+")
# What may stand beside a number in a word: punctuation but . + - _, which can be parts of one or of a name
# ("1.2.3", "2020-01-02" and "x_1" are no numbers, and differ where their bytes do).
_BETWEEN = re.compile(rb"([!-*,/:-@\[-^`{-~])")


class RewardError(ValueError):
    """A problem or a setting that no program can be scored against; never a property of the program."""


class Policy(Comparison):
    """One way to compare outputs; made by `parse_policy`."""

    def matches(self, actual: bytes, expected: bytes) -> bool:
        """Whether the two outputs are equal under this policy; the order of the arguments does not matter."""
        if self.name == "exact":
            return actual == expected
        if self.name == "lines":
            return lines(actual) == lines(expected)
        if self.name == "tokens":
            return actual.split() == expected.split()
        if self.name in OF_VALUES:
            return actual == expected or self._same_value(actual, expected)
        return self._close(actual.split(), expected.split())

    def _same_value(self, actual: bytes, expected: bytes) -> bool:
        as_json = self.name == "json"
        if self.absolute == self.relative == 0.0:
            return values.same(actual, expected, as_json)
        return values.close(actual, expected, as_json, self._within)

    def _close(self, left: Sequence[bytes], right: Sequence[bytes]) -> bool:
        # The lengths come first: zip alone would accept a prefix.
        return len(left) == len(right) and all(
            self._word_close(a, b) for a, b in zip(left, right, strict=True)
        )

    def _word_close(self, left: bytes, right: bytes) -> bool:
        # Equal bytes are equal whatever they spell, "nan" included: otherwise an output could differ from
        # itself.
        if left == right:
            return True
        ours, theirs = _BETWEEN.split(left), _BETWEEN.split(right)  # numbers or names, punctuation in turn
        return len(ours) == len(theirs) and all(
            a == b or self._number_close(a, b) for a, b in zip(ours, theirs, strict=True)
        )

    def _number_close(self, left: bytes, right: bytes) -> bool:
        if not (_NUMBER.fullmatch(left) and _NUMBER.fullmatch(right)):
            return False
        a, b = float(left), float(right)
        if not (math.isfinite(a) and math.isfinite(b)):  # 1e999: too large to measure a distance
            return False
        return self._within(a, b)

    def _within(self, a: float, b: float) -> bool:
        return abs(a - b) <= max(self.absolute, self.relative * max(abs(a), abs(b)))


def lines(output: bytes) -> list[bytes]:
    """The lines that `lines` compares: without trailing white space, without trailing blank lines.

    ``bytes.rstrip`` removes ASCII white space, the CR of a CRLF among it. Splitting is at LF only:
    ``bytes.splitlines`` would also break at a lone CR, which on a terminal overwrites the line instead.
    """
    stripped = [line.rstrip() for line in output.split(b"\n")]
    while stripped and not stripped[-1]:
        stripped.pop()
    return stripped


@lru_cache(maxsize=1024)
def parse_policy(text: str) -> Policy:
    """``"lines"``, ``"float"``, ``"float(1e-9, 0)"``... -> Policy. Raises RewardError on anything else."""
    try:
        return Policy(*parse_comparison(text))
    except ValueError as error:
        raise RewardError(str(error)) from None
