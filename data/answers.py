"""A response to a problem -> the program to run, where its parts stand in the response.

An answer to a function-call task may be the body alone of the function that the prompt ended with, its stub.
Such a program begins with the stub, which no token of the response wrote.
"""

import ast
import warnings
from typing import NamedTuple

from data.extraction import extract
from data.grading import tree_of
from data.problem import Problem


class Answer(NamedTuple):
    """A program, of which `program[given:]` stands in the response, from character `offset` on."""

    program: str
    offset: int
    given: int = 0
    """Characters of the stub."""


def answer_in(text: str, problem: Problem) -> Answer:
    """The program in a response, behind the problem's stub where it has one that fits."""
    program, offset = extract(text, problem.stub, problem.entry_point)
    source, given = with_stub(program, problem.stub) if problem.stub else (program, 0)
    return Answer(source, offset, given)


def with_stub(program: str, stub: str) -> tuple[str, int]:
    """An answer to a stub -> (source to run, shift): character i of the program is shift + i of the source.

    The stub goes in front wherever the two parse together, even if the program repeats the `def`: the stub's
    imports may be needed, and a second definition replaces the first. Otherwise the program stands alone; so
    does one that imports from __future__, which must stand first.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = tree_of(program)
        parses = tree_of(stub + program) is not None and not (alone and _is_from_the_future(alone))
    return (stub + program, len(stub)) if parses else (program, 0)


def _is_from_the_future(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
