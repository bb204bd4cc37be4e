"""Every form that `train.py prepare` reads, and which of them a row has."""

from collections.abc import Collection
from typing import Any

from data.fields import RowError, check_encodable, kind
from data.formats.acecode import ACECODE
from data.formats.apps import APPS, APPS_HUB, TACO
from data.formats.base import Format, Unrecorded
from data.formats.codecontests import CODECONTESTS
from data.formats.cweval import CWEVAL
from data.formats.deepcoder import DEEPCODER
from data.formats.evalplus import EVALPLUS, MBPP_PLUS
from data.formats.humaneval import HUMANEVAL, LEETCODE
from data.formats.kodcode import KODCODE, KODCODE_FIRST
from data.formats.livecodebench import LIVECODEBENCH
from data.formats.mbpp import MBPP, MBPP_SANITIZED
from data.formats.open_r1 import OPEN_R1
from data.formats.seccodeplt import SECCODEPLT
from data.formats.tempting import CYBERSECEVAL, SECURITYEVAL
from data.forms import OWN_KEYS, problem_of
from data.problem import Problem


def _ours(row: dict[str, Any], number: str) -> Problem:
    return problem_of(row)


FORMATS = (
    LEETCODE,
    EVALPLUS,  # its rows may have HumanEval's `test`, too
    HUMANEVAL,
    MBPP_PLUS,
    MBPP,
    MBPP_SANITIZED,
    KODCODE,
    KODCODE_FIRST,
    ACECODE,
    CODECONTESTS,
    OPEN_R1,
    LIVECODEBENCH,
    TACO,
    APPS_HUB,
    APPS,
    DEEPCODER,
    SECURITYEVAL,
    CYBERSECEVAL,
    SECCODEPLT,
    CWEVAL,
    Format(
        "prompt file v2.0",
        "of the source",
        frozenset({"prompt", "test_cases"}),
        frozenset(),
        _ours,
        as_it_is=True,
    ),
    Format("own", "yours", frozenset({"id", "prompt", "tests"}), frozenset(OWN_KEYS), _ours, as_it_is=True),
)


def format_of(keys: Collection[str]) -> Format | None:
    """The first form whose keys are all there."""
    return next((form for form in FORMATS if form.keys <= set(keys)), None)


def read_row(row: Any, number: str) -> tuple[Problem | Unrecorded, Format]:
    """A row as a problem, or what is to become one, and the form it had. Raises RowError."""
    if not isinstance(row, dict):
        raise RowError(f"the row is {kind(row)}, not an object; write {{...}}")
    form = format_of(row)
    if form is None:
        raise RowError(f"a row of no known form: {missing(row)}")
    read = form.read(row, number)
    problem = read.problem if isinstance(read, Unrecorded) else read
    for text in (problem.id, problem.difficulty, problem.source, problem.split, *problem.solutions):
        check_encodable(text or "", "the row")  # tests and prompt are checked where they are read
    return read, form


def missing(keys: Collection[str]) -> str:
    """What is there, and what the nearest form wants beside it; or the known forms, if none is near."""
    there = f"its keys are {', '.join(sorted(keys)) or 'none'}"
    nearest = max(FORMATS, key=lambda form: len(form.keys & set(keys)) / len(form.keys))
    if 2 * len(nearest.keys & set(keys)) < len(nearest.keys):
        return f"{there}; known are {', '.join(form.name for form in FORMATS)}"
    return f"{there}; of {nearest.name} are missing {', '.join(sorted(nearest.keys - set(keys)))}"
