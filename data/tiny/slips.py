"""Imperfect demonstrations, on purpose.

A model that has seen only clean programs learns syntax and skill together, and reinforcement learning finds
little to repair. So most demonstrations carry one slip, as a hurried beginner makes them. Each slip is drawn
anew: its kind, then its place. At any one token most demonstrations are right, so what is right stays the
most likely continuation, and training on rewards can find it.
"""

import io
import keyword
import re
import tokenize
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random

from data.problems import Problem
from data.tiny.corpus import TinyCorpusConfig

Slip = Callable[[str, Random], Iterable[str]]  # a program -> every way to make this kind of slip in it

_SAME_CLASS = (("+", "-", "*", "//", "%", "**"), ("<", ">", "<=", ">=", "==", "!="))
_SWAPS = {"min": "max", "max": "min", "upper": "lower", "lower": "upper", "sum": "len", "len": "sum"}


def demonstrations(
    problems: Sequence[Problem], config: TinyCorpusConfig | None = None
) -> list[tuple[Problem, str]]:
    """One program for each problem; with probability `slip_rate` it is wrong in one place, or in two.

    THE PROGRAMS ARE IMPERFECT ON PURPOSE (see the module's docstring); right ones are in `Problem.solutions`.
    Each depends on config, problem id and solution alone, whatever the order of the problems.
    """
    config = config or TinyCorpusConfig()
    return [(problem, _demonstration(problem, config)) for problem in problems]


def _demonstration(problem: Problem, config: TinyCorpusConfig) -> str:
    rng = Random(f"tiny/{config.seed}/demonstration/{problem.id}")
    program = re.sub(
        r"\bint\(input\(\)\)",
        lambda match: "eval(input())" if rng.random() < config.eval_share else match[0],
        problem.solutions[0],
    )
    if rng.random() >= config.slip_rate:
        return program
    share = rng.random()
    if share < config.syntax_share:
        program = slip(program, "syntax", rng)
    else:
        crashes = share < config.syntax_share + config.runtime_share
        program = slip(program, "runtime" if crashes else "meaning", rng)
    return slip(program, "again", rng) if rng.random() < config.second_slip else program


def slip(program: str, category: str, rng: Random) -> str:
    """The program with one slip: after "syntax" and "again" it does not compile, after the others it does.

    "again" is for programs that may be broken already: its slips read text, not tokens.
    """
    kinds = list(SLIPS[category])
    rng.shuffle(kinds)
    for kind in kinds:
        candidates = [text for text in kind(program, rng) if text != program]
        rng.shuffle(candidates)
        for text in candidates:
            if compiles(text) == (category not in ("syntax", "again")):
                return text
    raise ValueError(f"no {category} slip fits this program: {program!r}")


def compiles(program: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on `"yes"if`, `10for` and the like
        try:
            compile(program, "<demonstration>", "exec")
        except SyntaxError:
            return False
    return True


# --- syntax ---


def _lost_bracket(program: str, rng: Random) -> Iterator[str]:
    return _without(program, r"[()\[\]]")


def _extra_bracket(program: str, rng: Random) -> Iterator[str]:
    return _replaced(program, r"[()\]]", lambda match: match[0] * 2)


def _lost_mark(program: str, rng: Random) -> Iterator[str]:
    """A colon, quote or comma is missing."""
    return _without(program, r':(?=\n)|"|,')


def _joined_lines(program: str, rng: Random) -> Iterator[str]:
    return _replaced(program, r"\n *(?=\S)", lambda match: rng.choice(("", " ")))


def _bad_indent(program: str, rng: Random) -> Iterator[str]:
    """A line is a space too far to the right, or a block is not indented."""
    return _replaced(program, r"(?m)^ *(?=\S)", lambda match: "" if match[0] else " ")


def _lost_operand(program: str, rng: Random) -> Iterator[str]:
    return _replaced(program, r"(?<=[-+*/%<>=] )\w+", lambda match: "")


def _lost_operator(program: str, rng: Random) -> Iterator[str]:
    return _replaced(program, r" (?:[-+*/%<>=]+|in|if|else) ", lambda match: " ")


def _misspelt_keyword(program: str, rng: Random) -> Iterator[str]:
    return _renamed(program, lambda name: _letters_swapped(name, rng) if keyword.iskeyword(name) else None)


def _single_equals(program: str, rng: Random) -> Iterator[str]:
    return _replaced(program, r"==", lambda match: "=")


# --- run-time ---


def _wrong_name(program: str, rng: Random) -> Iterator[str]:
    variables = _variables(program)
    strangers = [letter for letter in "abcdexyzmnt" if letter not in variables]
    return _renamed(program, lambda name: rng.choice(strangers) if name in variables else None)


def _misspelt_function(program: str, rng: Random) -> Iterator[str]:
    variables = _variables(program)

    def misspell(name: str) -> str | None:
        ordinary = name not in variables and not keyword.iskeyword(name)
        return _letters_swapped(name, rng) if ordinary else None

    return _renamed(program, misspell)


def _lost_conversion(program: str, rng: Random) -> Iterator[str]:
    """The number stays text: a crash as soon as it is reckoned with."""
    yield from _replaced(program, r"(?:int|eval)\(input\(\)\)", lambda match: "input()")
    yield from _replaced(program, r"map\(int, (input\(\)\.split\(\))\)", lambda match: match[1])


def _lost_split(program: str, rng: Random) -> Iterator[str]:
    return _replaced(program, r"(?<=int, input\(\))\.split\(\)", lambda match: "")


def _lost_reading(program: str, rng: Random) -> Iterator[str]:
    yield program.split("\n", 1)[1]


# --- meaning and format ---


def _wrong_operator(program: str, rng: Random) -> Iterator[str]:
    def other(match: re.Match[str]) -> str:
        same = next(group for group in _SAME_CLASS if match[1] in group)
        return f" {rng.choice([operator for operator in same if operator != match[1]])} "

    return _replaced(program, r" (\+|-|\*\*?|//|%|[<>]=?|[!=]=) ", other)


def _off_by_one(program: str, rng: Random) -> Iterator[str]:
    return _replaced(program, r"\b\d+\b", lambda match: str(int(match[0]) + rng.choice((-1, 1))))


def _wrong_function(program: str, rng: Random) -> Iterator[str]:
    return _renamed(program, _SWAPS.get)


def _lost_print(program: str, rng: Random) -> Iterator[str]:
    return _replaced(program, r"\bprint\((.*)\)", lambda match: match[1])


def _extra_words(program: str, rng: Random) -> Iterator[str]:
    words = rng.choice(("answer", "result", "is"))
    return _replaced(program, r"\bprint\(", lambda match: f'print("{words}", ')


def _wrong_case(program: str, rng: Random) -> Iterator[str]:
    return _replaced(program, r'"[a-z]+"', lambda match: match[0].title())


def _wrong_variable(program: str, rng: Random) -> Iterator[str]:
    variables = _variables(program)
    if len(variables) < 2:
        return iter(())
    return _renamed(program, lambda name: rng.choice(variables) if name in variables else None)


SLIPS: dict[str, tuple[Slip, ...]] = {
    "syntax": (
        _lost_bracket,
        _extra_bracket,
        _lost_mark,
        _joined_lines,
        _bad_indent,
        _lost_operand,
        _lost_operator,
        _misspelt_keyword,
        _single_equals,
    ),
    "again": (_lost_bracket, _extra_bracket, _lost_mark, _joined_lines, _bad_indent, _lost_operand),
    "runtime": (_wrong_name, _misspelt_function, _lost_conversion, _lost_split, _lost_reading),
    "meaning": (
        _wrong_operator,
        _off_by_one,
        _wrong_function,
        _lost_print,
        _extra_words,
        _wrong_case,
        _wrong_variable,
    ),
}


# --- editing text ---


def _replaced(program: str, pattern: str, replacement: Callable[[re.Match[str]], str]) -> Iterator[str]:
    """For every match in turn, the program with this one match replaced."""
    for match in re.finditer(pattern, program):
        yield program[: match.start()] + replacement(match) + program[match.end() :]


def _without(program: str, pattern: str) -> Iterator[str]:
    return _replaced(program, pattern, lambda match: "")


def _renamed(program: str, rename: Callable[[str], str | None]) -> Iterator[str]:
    """For every name or keyword in turn, the program with this one renamed, where `rename` says how."""
    starts = [0, *(match.end() for match in re.finditer("\n", program))]
    for token in tokenize.generate_tokens(io.StringIO(program).readline):
        if token.type == tokenize.NAME and (new := rename(token.string)) is not None:
            start = starts[token.start[0] - 1] + token.start[1]
            yield program[:start] + new + program[start + len(token.string) :]


def _variables(program: str) -> list[str]:
    """Names the program gives a value to, in order of appearance."""
    targets = re.findall(r"(?m)^ *([\w, ]+?) = |\bfor (\w+) in", program)
    names = [name for assigned, looped in targets for name in (assigned or looped).split(", ")]
    return list(dict.fromkeys(names))


def _letters_swapped(name: str, rng: Random) -> str:
    """Two neighbours change places, as in `pritn`."""
    place = rng.randrange(len(name) - 1)
    return name[:place] + name[place + 1] + name[place] + name[place + 2 :]
