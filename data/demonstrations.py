"""Files of demonstrations: a problem and the text that answers it.

Three kinds of rows, recognised by their keys:

    problems with solutions   the forms of data/forms.py; the first solution is the answer
    prompt, completion        two texts, as the study's SFT file has them
    messages                  one user's message and one answer [{role, content}, ...], with or without a
                              system message in front

A prompt that already stands in the study's words (`### Instruction:` ... `### Response:`) is taken out of
them: the problem is what stands between, so that SFT, PPO and evaluation put it to the model in the same
words, whichever those are. Completions are taken as they are, code fences included. No torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from data.fields import RowError, kind, list_at, text_at
from data.files import DataError, located_rows
from data.problem import Problem
from data.problems import load_problems
from data.prompts import study_problem

# What only rows of problems have.
_PROBLEM_KEYS = {"tests", "test_cases", "question", "solutions", "solution", "prompts_with_tests"}


@dataclass(frozen=True)
class Demonstrated:
    """What a file of demonstrations holds."""

    pairs: list[tuple[Problem, str]]
    """(problem, answer); several may answer one problem."""
    note: str = ""
    """What happened on the way, for the reader."""


def load_demonstrations(path: Path, system: str = "") -> Demonstrated:
    """Read a file of demonstrations.

    `system`: the system message that the prompt will have; rows with another one are refused.

    Raises:
        DataError: a row has not the keys of its kind, or no problem has a solution; one line that names it.
    """
    rows = located_rows(path)
    first = next(rows, None)
    if first is None or not _is_text_row(first[1]):
        problems = load_problems(path)
        pairs = [(problem, problem.solutions[0]) for problem in problems if problem.solutions]
        if not pairs:
            raise DataError(f"{path}: no problem there has a solution to learn from")
        return Demonstrated(pairs)
    return _texts(chain([first], rows), system)


def _is_text_row(row: Any) -> bool:
    """Whether a row is one of texts, or was meant to be: a prompt with nothing that makes it a problem."""
    if not isinstance(row, dict):
        return False
    return bool({"completion", "messages"} & row.keys()) or (
        "prompt" in row and not _PROBLEM_KEYS & row.keys()
    )


def _texts(rows: Iterator[tuple[str, Any]], system: str) -> Demonstrated:
    pairs, unwrapped = [], 0
    for number, (where, row) in enumerate(rows, 1):
        try:
            prompt, completion = _text_row(row, system)
        except RowError as error:
            raise DataError(f"{where}: {error}") from None
        inner = study_problem(prompt)
        unwrapped += inner is not None
        pairs.append((Problem(str(number), prompt if inner is None else inner, ()), completion))
    note = f"{unwrapped} prompts taken out of the words ### Instruction: and ### Response:"
    return Demonstrated(pairs, note if unwrapped else "")


def _text_row(row: Any, system: str) -> tuple[str, str]:
    """Prompt and completion of a row."""
    if not isinstance(row, dict):
        raise RowError(f"the row is {kind(row)}, not an object; write {{...}}")
    if "messages" not in row:
        return text_at(row, "prompt"), text_at(row, "completion")
    messages = list_at(row, "messages")
    for message in messages:
        if not isinstance(message, dict):
            raise RowError(f"a message is {kind(message)}, not an object; write {{role, content}}")
    said = {text_at(message, "role"): text_at(message, "content") for message in messages}
    roles = [message["role"] for message in messages]
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise RowError(
            f"'messages' has the roles {', '.join(roles) or 'of nobody'}; a demonstration is one "
            "message of the user and one of the assistant, with or without a system message in front"
        )
    if said.get("system", system) != system:
        raise RowError(
            "another system message than --system has; one holds for all demonstrations, and for what follows"
        )
    return said["user"], said["assistant"]
