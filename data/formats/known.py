"""Every form that `train.py prepare` reads, and which of them a row has."""

from collections.abc import Collection
from typing import Any

from data.fields import RowError, kind
from data.formats.apps import APPS, APPS_HUB, TACO
from data.formats.base import Format
from data.formats.codecontests import CODECONTESTS
from data.formats.deepcoder import DEEPCODER
from data.formats.livecodebench import LIVECODEBENCH
from data.formats.open_r1 import OPEN_R1
from data.forms import FUNCTION_SETS, problem_of
from data.problem import Problem


def _ours(row: dict[str, Any], number: str) -> Problem:
    return problem_of(row)


_OWN_COLUMNS = frozenset("id prompt tests solutions difficulty source split compare entry_point stub".split())

FORMATS = (
    # Function-call sets first: problem_of refuses their rows by name.
    *(
        Format(name, "of the source", frozenset(keys), frozenset(keys), _ours)
        for name, keys in FUNCTION_SETS.items()
    ),
    CODECONTESTS,
    OPEN_R1,
    LIVECODEBENCH,
    TACO,
    APPS_HUB,
    APPS,
    DEEPCODER,
    Format(
        "prompt file v2.0",
        "of the source",
        frozenset({"prompt", "test_cases"}),
        frozenset(),
        _ours,
        as_it_is=True,
    ),
    Format("own", "yours", frozenset({"id", "prompt", "tests"}), _OWN_COLUMNS, _ours, as_it_is=True),
)


def format_of(keys: Collection[str]) -> Format | None:
    """The first form whose keys are all there."""
    return next((form for form in FORMATS if form.keys <= set(keys)), None)


def read_row(row: Any, number: str) -> tuple[Problem, Format]:
    """A row as a problem, and the form it had. Raises RowError."""
    if not isinstance(row, dict):
        raise RowError(f"the row is {kind(row)}, not an object; write {{...}}")
    form = format_of(row)
    if form is None:
        names = ", ".join(dict.fromkeys(known.name for known in FORMATS))
        raise RowError(
            f"a row of no known form (keys: {', '.join(sorted(row)) or 'none'}); known are {names}"
        )
    return form.read(row, number), form
