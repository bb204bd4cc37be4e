"""A response -> the program in it.

Extraction cuts and never edits: a program is always `text[offset : offset + len(program)]`, so what was found
in it, down to a column, can be traced to the tokens that were sampled. It never drops a line of a bare
program, right or wrong: a broken program that extraction had repaired would earn a reward it did not deserve.
For the same reason an indented block is not moved to the left: of a block whose fence was indented the white
space at the front is left off, which is enough for one statement, and more is not possible.

What a response is worth should not depend on how its program was set apart from the words around it, so
every piece is looked at, and judged by what it is. The work is linear in the text: whatever stands in it, no
character is parsed more than a few times.
"""

import bisect
import itertools
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from data import prose
from data.grading import BROKEN, CALLS, COMPLETE, DEFINES, Task, grade_of, may_be_complete, tree_of
from data.segments import PYTHON, Segment, outermost, segments, spans, thought_until, turn

_MAX_PIECES = 1_000  # of more pieces the last count: with a stub, each is parsed behind it once more

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_LABEL = re.compile(rf"[ \t]*(?:{'|'.join(sorted(PYTHON))})[ \t]*\r?\n", re.IGNORECASE)  # `python
_BETWEEN_BACKTICKS = re.compile(r"[^`]+")
_BLANK = " \t\r\n"

# What models write where a fence might stand: the language, or the marks of few-shot prompts.
_FIRST_LABELS = re.compile(rf"(?:{_LABEL.pattern}|\[(?:BEGIN|CODE|ANSWER)\][ \t]*\r?\n)+", re.IGNORECASE)
_LAST_LABEL = "[DONE]"


class _Piece(NamedTuple):
    """A candidate: text[start:end]. Of several, the one with the greatest key is the program."""

    start: int
    end: int
    key: tuple[bool, int, int]


class _Found(NamedTuple):
    """A program: text[start:end], and how far it is one."""

    start: int
    end: int
    grade: int
    inline: bool = False  # a line quoted among words


def extract(text: str, stub: str = "", entry_point: str | None = None) -> tuple[str, int]:
    """A response -> (program, char_offset), with program == text[char_offset : char_offset + len(program)].

    What parses as it stands is the program. Else it is, in the first turn of the dialogue, the last piece
    that reads and prints, a line quoted among words only if there is no other; else the last that defines or
    at least calls something; else the longest code of a fence. A piece is what stands between fences or tags,
    or between the sentences of prose there, or in backticks; what follows a passage of thinking wins over
    what is in it, and nothing empty is a piece. Where there is none, the turn is left as it is, byte for
    byte.

    `stub` is the `def` line (and docstring) that the prompt ended with, if it did: then a body alone, which
    parses only behind its stub, counts as a program too. To run such an answer, see data/answers.py.
    `entry_point`: a function or Class.method; "reads and prints" above is then "defines it".
    """
    task = Task(stub, (entry_point or "").partition(".")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on odd escapes; under -W error they would count as broken code
        if tree_of(text) is not None or (stub and tree_of(stub + text) is not None):
            start, end = _without_labels(text)
            return text[start:end], start
        start, end = _choose(text, task)
        return text[start:end], start


def _without_labels(text: str) -> tuple[int, int]:
    """Bounds of a text that parses, without a label that stands alone on its first or last line: it is valid
    Python, and ends in a NameError."""
    first, end = _FIRST_LABELS.match(text), len(text.rstrip())
    labelled = text[:end].endswith(f"\n{_LAST_LABEL}")
    return (first.end() if first else 0), (end - len(_LAST_LABEL) if labelled else len(text))


# --- which piece ---


def _choose(text: str, task: Task) -> tuple[int, int]:
    """Bounds of the program in a text that does not parse as it stands."""
    start, end = turn(text)
    thought = thought_until(text, start, end)
    pieces: list[_Piece] = []
    for segment in _to_judge(text, start, end, task):
        found = list(_programs(text, segment, task))
        pieces += [_program(segment, program, thought) for program in found]
        # What has neither language nor end may as well stand behind the stray end of a fence.
        marked = segment.fenced and (segment.language or segment.closed)
        if marked and not found and text[segment.start : segment.end].strip():
            pieces.append(_fragment(segment))
    best = max(pieces, key=lambda piece: piece.key, default=None)
    return (best.start, best.end) if best else (start, end)


def _to_judge(text: str, start: int, end: int, task: Task) -> Iterator[Segment]:
    """Every piece between two marks, but for the marks that stand inside a program, as in its strings."""

    def is_whole(span: Segment) -> bool:
        return grade_of(text[span.start : span.end], task) >= CALLS

    whole = list(filter(is_whole, spans(text, start, end)))
    if not whole and (all_of_it := outermost(text, start, end)) is not None and is_whole(all_of_it):
        whole = [all_of_it]
    yield from whole
    ends = [span.end for span in whole]
    for segment in segments(text, start, end)[-_MAX_PIECES:]:
        around = bisect.bisect_left(ends, segment.end)  # the first span that ends no earlier
        if around == len(whole) or segment.start < whole[around].start:
            yield segment


def _program(segment: Segment, program: _Found, thought: int) -> _Piece:
    """Where a program is complete, its place decides; else how far it is one, and its fence. What a sentence
    quotes, as "the line `print(int(input()))`", may be complete too, but is said of the program."""
    if program.grade == COMPLETE:
        rank = 7 if program.inline or segment.inline else 8
    elif segment.fenced and segment.language in {*PYTHON, ""}:
        rank = 6 if program.grade == DEFINES else 5
    else:
        rank = 2 if segment.fenced else 3
    return _Piece(program.start, program.end, (program.start >= thought, rank, program.start))


def _fragment(segment: Segment) -> _Piece:
    """Code of a fence that is no program: broken, an example of input, a number."""
    rank = 4 if segment.language in PYTHON else 0 if segment.language else 1
    return _Piece(segment.start, segment.end, (False, rank, segment.end - segment.start))


# --- the programs in a piece ---


def _programs(text: str, segment: Segment, task: Task) -> Iterator[_Found]:
    """What proves itself in a piece: by parsing, and by calling something."""
    start, end = segment.start, segment.end
    if not task.stub and "(" not in text[start:end]:
        return  # nothing is called
    if not segment.fenced:
        start, end = _without_blank_lines(text, start, end)
    found = _found(text, start, end, task)
    if found.grade == BROKEN and segment.dedent:
        found = _found(text, end - len(text[start:end].lstrip(" \t")), end, task)
    if found.grade >= CALLS:
        yield found
    if found.grade == BROKEN:
        yield from _between_prose(text, start, end, task)
        yield from _in_backticks(text, start, end, task)


def _between_prose(text: str, start: int, end: int, task: Task) -> Iterator[_Found]:
    """The text without the prose at both ends, if that is a program; else complete ones between any two."""
    lines = [_Line(text, *match.span()) for match in _LINE.finditer(text, start, end)]
    words = [number for number, line in enumerate(lines) if line.is_words]
    if not words:
        return
    first, last = _leading(lines), len(lines) - _leading(lines[::-1])
    if first < last:
        within = _without_blank_lines(text, lines[first].start, lines[last - 1].end)
        found = _found(text, *within, task)
        if found.grade >= CALLS:
            yield found
            return
    for before, after in itertools.pairwise([-1, *words, len(lines)]):
        if after - before > 1:
            run = _without_blank_lines(text, lines[before + 1].start, lines[after - 1].end)
            yield from _if_complete(text, *run, task)


def _in_backticks(text: str, start: int, end: int, task: Task) -> Iterator[_Found]:
    """Complete programs in single backticks; any program, if nothing stands beside it on its lines."""
    pieces = [match.span() for match in _BETWEEN_BACKTICKS.finditer(text, start, end)]
    pieces = [(begin, stop) for begin, stop in pieces if text[begin:stop].strip(" \t\r")]
    if pieces == [(start, end)]:
        return
    for before, (begin, stop), after in zip([None, *pieces], pieces, [*pieces[1:], None], strict=False):
        alone = (before is None or text[slice(*before)].rstrip(" \t").endswith("\n")) and (
            after is None or text[slice(*after)].lstrip(" \t\r").startswith("\n")
        )
        label = _LABEL.match(text, begin, stop)
        code = label.end() if label else stop - len(text[begin:stop].lstrip(" \t"))
        inline = not alone or "\n" not in text[begin:stop]
        if not alone:
            yield from (found._replace(inline=inline) for found in _if_complete(text, code, stop, task))
        elif (found := _found(text, code, stop, task)).grade >= CALLS:
            yield found._replace(inline=inline)


def _if_complete(text: str, start: int, end: int, task: Task) -> Iterator[_Found]:
    if may_be_complete(text[start:end], task) and (found := _found(text, start, end, task)).grade == COMPLETE:
        yield found


class _Line:
    """One line, with its end, and what it looks like."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self.start, self.end = start, end
        line = text[start:end]
        self.is_blank = prose.is_blank(line)
        self.is_words = not self.is_blank and (prose.is_prose(line) or prose.is_foreign(line))
        self.is_comment = prose.is_comment(line)


def _leading(lines: Sequence[_Line]) -> int:
    """How many lines at the front are words, with nothing but blank lines and comments between them."""
    count = 0
    for number, line in enumerate(lines, 1):
        if line.is_words:
            count = number
        elif not (line.is_blank or line.is_comment):
            break
    return count


def _without_blank_lines(text: str, start: int, end: int) -> tuple[int, int]:
    """Bounds without the blank lines at both ends; the first line keeps its indentation."""
    code = text[start:end].strip(_BLANK)
    if not code:
        return start, start
    code_start = end - len(text[start:end].lstrip(_BLANK))
    line_start = max(text.rfind("\n", start, code_start) + 1, start)
    newline = text.find("\n", code_start + len(code), end)
    return line_start, end if newline == -1 else newline + 1


def _found(text: str, start: int, end: int, task: Task) -> _Found:
    return _Found(start, end, grade_of(text[start:end], task))
