"""An answer -> its pieces: what stands between fences, tags and turns, each with what is known of it.

A fence is a run of three or more backticks or tildes, wherever it stands: models open one with code on its
line, close one behind the last statement, indent them and leave them out. So the text is cut at every one,
and whether a piece is a program is for data/extraction.py to find out. Only how pieces pair up (`spans`)
follows Markdown: there a fence must stand first on its line, and its end has no fewer characters.

Everything here is linear in the text. What is cut out holds no mark of its own, so cutting it again gives
nothing new.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

PYTHON = {"python", "python2", "python3", "py", "py2", "py3"}

# A turn of the dialogue begins: what follows answers another question. The study's own template, and the
# marks of common chat templates where a tokenizer left them in the text.
_TURN = re.compile(
    r"###? ?(?:Instruction|Human|User):?|<\|(?:im_end|endoftext|eot_id|end|user)\|>|</s>|\[INST\]"
    r"|<\|im_start\|>(?:user|system)|<end_of_turn>|<start_of_turn>user|<\|start_header_id\|>|\[/INST\]"
)
_MARK = re.compile(
    r"(?P<indent>^[ \t]+)?(?P<fence>`{3,}|~{3,})"
    r"|(?P<tag>\[/?(?:PYTHON|CODE|ANSWER)\]|</?(?:code|pre|answer|python|solution)(?: [^<>\n]{0,80})?>"
    r"|\\(?:begin|end)\{(?:verbatim|lstlisting|minted)\}(?:\[[^\[\]\n]{0,80}\]|\{\w{0,80}\})?)"
    r"|(?P<other></?think(?:ing)?>|### Response:|<\|im_start\|>assistant|<\|assistant\|>"
    r"|<start_of_turn>model)",
    re.MULTILINE,
)
_THOUGHT = re.compile(r"</think(?:ing)?>")

# What may follow an opening fence on its line: python | {.python .numberLines} | python title="x" main.py
_ATTRIBUTE = r"""(?:[\w.-]+=(?:"[^"\n]*"|'[^'\n]*'|[\w./-]+)|\{[^{}\n]*\}|[\w-]+\.\w+)"""
_INFO = re.compile(
    rf"[ \t]*+(?:\{{[ ]?\.?(?P<braced>[\w+#.-]*)[^{{}}\n]*\}}|(?P<language>[\w+#.-]*)(?P<file>[:,][\w./-]+)?)"
    rf"(?:[ \t]++{_ATTRIBUTE})*+[ \t]*+\r?(?:\n|\Z)"
)
_MAX_INFO = 200  # characters: many fences may stand on one line, and each looks no further than this
_FIRST_WORD = re.compile(r"[ \t]*+(?P<word>[\w.]{1,20})(?![\w.(=])")


class Segment(NamedTuple):
    """text[start:end], a piece without fences."""

    start: int
    end: int
    fenced: bool
    language: str = ""  # of the fence, in lower case
    closed: bool = True
    dedent: bool = False  # the code may begin behind white space: its fence was indented, or on its line
    inline: bool = False  # the code, its fence and words are all on one line


class _Cut(NamedTuple):
    """A mark, and what follows it."""

    mark: re.Match[str]
    begin: int  # of the piece
    language: str  # "" where none is named
    on_line: bool  # the piece begins on the mark's line
    info: bool  # nothing but a language and its like stands behind the mark


def turn(text: str) -> tuple[int, int]:
    """Bounds of the first turn that holds anything; the whole text if no other turn begins in it."""
    start = 0
    for mark in _TURN.finditer(text):
        if text[start : mark.start()].strip():
            return start, mark.start()
        start = mark.end()
    return start, len(text)


def thought_until(text: str, start: int, end: int) -> int:
    """Where the last passage of thinking ends; `start` if there is none."""
    return max((mark.end() for mark in _THOUGHT.finditer(text, start, end)), default=start)


def segments(text: str, start: int, end: int) -> list[Segment]:
    """The pieces of text[start:end] between marks, in order; one piece if there is no mark."""
    cuts = _cuts(text, start, end)
    first = cuts[0].mark.start() if cuts else end
    pieces = [Segment(start, first, fenced=False)]
    inside = False
    for number, cut in enumerate(cuts):
        last = number + 1 == len(cuts)
        stop = end if last else cuts[number + 1].mark.start()
        inside = _opens(cut, inside)
        pieces.append(
            Segment(
                min(cut.begin, stop),
                stop,
                inside,
                cut.language if inside else "",
                closed=not last,
                dedent=inside and (cut.on_line or bool(cut.mark["indent"])),
                inline=not last and _among_words(text, cut, cuts[number + 1].mark, start, end),
            )
        )
    return pieces


def spans(text: str, start: int, end: int) -> Iterator[Segment]:
    """Fenced blocks as Markdown pairs them, of those only that have a mark inside, as in a string."""
    opening: tuple[int, _Cut] | None = None
    cuts = _cuts(text, start, end)
    for number, cut in enumerate(cuts):
        if not _first_on_line(text, cut.mark, start):
            continue
        if opening is None:
            opening = (number, cut) if cut.info else None
        elif _closes(cut, opening[1]):
            if number - opening[0] > 1:
                yield Segment(opening[1].begin, cut.mark.start(), True, opening[1].language)
            opening = None
    if opening is not None and opening[0] + 1 < len(cuts):
        yield Segment(opening[1].begin, end, True, opening[1].language, closed=False)


def outermost(text: str, start: int, end: int) -> Segment | None:
    """From the first fence to the last, of which there must be more than two: or None."""
    cuts = [cut for cut in _cuts(text, start, end) if _first_on_line(text, cut.mark, start)]
    if len(cuts) < 3 or not cuts[0].info:
        return None
    return Segment(cuts[0].begin, cuts[-1].mark.start(), True, cuts[0].language)


def _cuts(text: str, start: int, end: int) -> list[_Cut]:
    marks = list(_MARK.finditer(text, start, end))
    stops = [*(mark.start() for mark in marks), end][1:]
    return [_cut(text, mark, stop, end) for mark, stop in zip(marks, stops, strict=True)]


def _cut(text: str, mark: re.Match[str], stop: int, end: int) -> _Cut:
    """Where the piece behind a mark begins; `stop` is the next mark, `end` the end of all."""
    line = text[mark.end() : min(stop, mark.end() + _MAX_INFO)]  # its rest, or more than any name has
    if info := _INFO.match(line):
        begin = mark.end() + info.end()
        language = (info["braced"] or info["language"] or "").lower()
        # Else the line goes on after what was looked at: as code, or to the next mark.
        if (text[begin - 1] == "\n" or begin == end) and (mark["fence"] or not language):
            return _Cut(mark, begin, language or _tag_language(mark), on_line=False, info=True)
    word = _FIRST_WORD.match(line)
    if mark["fence"] and word is not None and word["word"].lower() in PYTHON:
        return _Cut(mark, mark.end() + word.end(), "python", on_line=True, info=False)
    return _Cut(mark, mark.end(), _tag_language(mark), on_line=True, info=False)


def _tag_language(mark: re.Match[str]) -> str:
    return "python" if (mark["tag"] or "") in {"[PYTHON]", "<python>"} else ""


def _opens(cut: _Cut, inside: bool) -> bool:
    """Whether what follows stands in a block. A fence with a language always opens one, a tag says which."""
    if cut.mark["other"]:
        return False
    if tag := cut.mark["tag"]:
        return "/" not in tag[:2] and not tag.startswith("\\end")
    return bool(cut.language) or not inside


def _among_words(text: str, cut: _Cut, closing: re.Match[str], start: int, end: int) -> bool:
    """Whether a piece is a line, and beside its marks, fences or <code>, stands more on that line."""
    if not cut.on_line or "\n" in text[cut.begin : closing.start()]:
        return False
    if not (cut.mark["fence"] or (cut.mark["tag"] or "").startswith("<code")):
        return False
    bare = cut.mark["indent"] is not None or cut.mark.start() == start or text[cut.mark.start() - 1] == "\n"
    behind = text[closing.end() : min(end, closing.end() + _MAX_INFO)].lstrip(" \t\r")
    return not bare or bool(behind and behind[0] != "\n")


def _closes(cut: _Cut, opening: _Cut) -> bool:
    fence, opened = cut.mark["fence"], opening.mark["fence"]
    return cut.info and not cut.language and fence[0] == opened[0] and len(fence) >= len(opened)


def _first_on_line(text: str, mark: re.Match[str], start: int) -> bool:
    """Whether this is a fence with nothing before it but white space."""
    bare = mark["indent"] is not None or mark.start() == start or text[mark.start() - 1] == "\n"
    return bare and mark["fence"] is not None
