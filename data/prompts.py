"""Text in, text out: a problem -> its prompt; a response -> the program in it.

One template serves SFT, PPO and evaluation, so that a warm start and what follows it read the same words.
Extraction cuts and never edits: a program is always `text[offset : offset + len(program)]`, so what was found
in it, down to a column, can be traced to the tokens that were sampled. It never drops a line of a bare
program, right or wrong: a broken program that extraction had repaired would earn a reward it did not deserve.
"""

import ast
import builtins
import keyword
import re
import warnings
from typing import NamedTuple

from data.problems import Problem

HEAD = "### Instruction:\nWrite a Python program.\n"
TAIL = "\n### Response:\n"

# A fence stands alone on its line, but for the language after an opening one.
_FENCE = re.compile(r"^ {0,3}`{3,}[ \t]*(?P<language>[\w+#.-]*)[ \t]*\r?$\n?", re.MULTILINE)
_PYTHON = {"python", "python3", "py", "py3"}

# A sentence: "Here is the program:". No brackets and no equals sign, so that hardly any code looks like one.
_SENTENCE = re.compile(r"[A-Z][a-z']*[,!]?(?: [\w'’`,;/+-]+){2,}[.:!]")
# A line that begins like code is no sentence: "For i in items:" is a slip.
_NOT_PROSE = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins)}

_MAX_PARSED = 262_144  # characters; no program this long passes the sandbox's source limit, so none is parsed


class PromptParts(NamedTuple):
    """The prompt in three pieces. To fit a budget, cut tokens off the front of `body`, never head or tail.

    The end of a problem's text holds its input and output format and its examples; the template tells the
    model that an answer is due.
    """

    head: str
    body: str
    tail: str


def render_parts(problem: Problem) -> PromptParts:
    """The pieces of `render`, for callers that must shorten a long problem."""
    return PromptParts(HEAD, problem.prompt.strip(), TAIL)


def render(problem: Problem) -> str:
    """The one prompt of SFT, PPO and evaluation; a response follows its last character."""
    return "".join(render_parts(problem))


def extract(text: str, stub: str = "") -> tuple[str, int]:
    """A response -> (program, char_offset), with program == text[char_offset : char_offset + len(program)].

    In this order: what parses as it stands is the program; else the code of a fence; else the lines between
    sentences of prose, if they parse; else the whole text, byte for byte. `stub` is the `def` line (and
    docstring) that the prompt ended with, if it did: then a body alone, which parses only behind its stub,
    counts as a program too. To run such an answer, see `with_stub`.
    """
    offset = 0
    while (bounds := _cut(text, stub)) is not None:  # to the end: extracting twice changes nothing
        start, end = bounds
        text, offset = text[start:end], offset + start
    return text, offset


def with_stub(program: str, stub: str) -> tuple[str, int]:
    """An answer to a stub -> (source to run, shift): character i of the program is shift + i of the source.

    The stub goes in front wherever the two parse together, even if the program repeats the `def`: the stub's
    imports may be needed, and a second definition replaces the first. Otherwise the program stands alone.
    """
    return (stub + program, len(stub)) if _parses(stub + program) else (program, 0)


def _cut(text: str, stub: str) -> tuple[int, int] | None:
    """Bounds of a program strictly inside the text, or None if the text is to be left as it is."""
    if _parses(text) or (stub and _parses(stub + text)):
        return None
    bounds = _fenced(text, stub) or _between_sentences(text, stub)
    return bounds if bounds != (0, len(text)) else None


def _fenced(text: str, stub: str) -> tuple[int, int] | None:
    fences = list(_FENCE.finditer(text))
    if not fences:
        return None
    first = fences[0]
    if not first["language"] and _is_program(text[: first.start()], stub):
        return 0, first.start()  # a fence closed that was never opened: the response began inside it
    blocks = [block for block in _blocks(text, fences) if _is_candidate(block, text, stub)]
    if not blocks:
        return None

    def rank(block: _Block) -> tuple[bool, ...]:
        # Examples of input and output often stand in fences of their own, without a language.
        body = text[block.start : block.end]
        example = not block.language and not _is_program(body, stub)
        return block.language not in _PYTHON, block.language != "", example, not body.strip()

    best = min(blocks, key=rank)  # the first of equals
    return best.start, best.end


class _Block(NamedTuple):
    language: str
    start: int
    end: int
    closed: bool


def _blocks(text: str, fences: list[re.Match[str]]) -> list[_Block]:
    """Every fenced block. A fence with a language always opens one, so no block has a fence inside."""
    blocks = []
    opening: re.Match[str] | None = None
    for fence in [*fences, None]:
        if opening is not None:
            end = fence.start() if fence else len(text)
            blocks.append(_Block(opening["language"].lower(), opening.end(), end, closed=fence is not None))
        opening = fence if fence and (fence["language"] or opening is None) else None
    return blocks


def _is_candidate(block: _Block, text: str, stub: str) -> bool:
    """A fence without language or end may as well be the stray end of a fence: then it must prove itself."""
    return bool(block.language) or block.closed or _is_program(text[block.start : block.end], stub)


def _between_sentences(text: str, stub: str) -> tuple[int, int] | None:
    """Bounds of what is left without the sentences and blank lines at both ends, if that is a program."""
    lines = re.findall(r"[^\n]*\n|[^\n]+$", text)
    first, last = 0, len(lines)
    while first < last and (_is_blank(lines[first]) or _is_sentence(lines[first])):
        first += 1
    while last > first and (_is_blank(lines[last - 1]) or _is_sentence(lines[last - 1])):
        last -= 1
    if all(map(_is_blank, lines[:first] + lines[last:])):
        return None  # there was no prose to cut
    start = sum(map(len, lines[:first]))
    end = start + sum(map(len, lines[first:last]))
    return (start, end) if _is_program(text[start:end], stub) else None


def _is_blank(line: str) -> bool:
    return not line.strip(" \t\r\n")


def _is_sentence(line: str) -> bool:
    first_word = re.split(r"\W", line, maxsplit=1)[0]
    return (
        _SENTENCE.fullmatch(line.rstrip()) is not None and not {first_word, first_word.lower()} & _NOT_PROSE
    )


def _is_program(text: str, stub: str) -> bool:
    """Parses and calls something: a lone word is valid Python too, but without a call nothing is printed."""
    tree = _tree(text) or (_tree(stub + text) if stub else None)
    return tree is not None and any(isinstance(node, ast.Call | ast.Return) for node in ast.walk(tree))


def _parses(text: str) -> bool:
    return _tree(text) is not None


def _tree(text: str) -> ast.Module | None:
    """The syntax tree, or None. Parsing only: nothing of the text is run or even compiled here."""
    if len(text) > _MAX_PARSED:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on odd escapes; under -W error they would count as broken code
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # ValueError: null bytes, surrogates
        return None
