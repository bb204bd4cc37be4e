"""The study's prompt: a problem -> the text a model continues.

One template serves SFT, PPO and evaluation, so that a warm start and what follows it read the same words.
The way back, from a response to the program in it, is data/extraction.py.
"""

from typing import NamedTuple

from data.extraction import extract, with_stub
from data.problems import Problem

__all__ = ["HEAD", "TAIL", "PromptParts", "extract", "render", "render_parts", "with_stub"]

HEAD = "### Instruction:\nWrite a Python program.\n"
TAIL = "\n### Response:\n"


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
