"""The study's prompt: a problem -> the text a model continues.

A model's own chat template, or one from a file, is rendered where its tokenizer is: ppo/prompts.py.
The way back, from a response to the program in it, is data/extraction.py.
"""

from typing import NamedTuple

from data.extraction import extract
from data.problems import Problem

__all__ = [
    "HEAD",
    "INSTRUCTION",
    "TAIL",
    "PromptParts",
    "extract",
    "render",
    "render_parts",
    "study_problem",
    "study_template",
]

HEAD = "### Instruction:\n"
TAIL = "\n### Response:\n"
INSTRUCTION = "Write a Python program.\n{problem}"


class PromptParts(NamedTuple):
    """The prompt in three pieces. To fit a budget, cut `body`, never head or tail.

    The template tells the model that an answer is due.
    """

    head: str
    body: str
    tail: str


def study_template(instruction: str = INSTRUCTION) -> tuple[str, str]:
    """What stands before and behind a problem's text; `instruction` has {problem} in that text's place."""
    before, _, behind = instruction.partition("{problem}")
    return HEAD + before, behind + TAIL


def study_problem(prompt: str) -> str | None:
    """The problem of a prompt that stands in the study's words already; None where it does not.

    The study's own instruction in front of it goes too, with or without it the problem is the same.
    """
    text = prompt.strip()
    head, tail = HEAD.strip(), TAIL.strip()
    if not (text.startswith(head) and text.endswith(tail)) or len(text) < len(head) + len(tail):
        return None
    body = text[len(head) : -len(tail)].strip()
    return body.removeprefix(INSTRUCTION.partition("{problem}")[0]).strip() or None


def render_parts(problem: Problem) -> PromptParts:
    """The pieces of `render`, for callers that must shorten a long problem."""
    head, tail = study_template()
    return PromptParts(head, problem.prompt.strip(), tail)


def render(problem: Problem) -> str:
    """The study's prompt; a response follows its last character."""
    return "".join(render_parts(problem))
