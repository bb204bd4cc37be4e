"""What a file of this folder says about its public set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data.fields import RowError, kind
from data.forms import json_at
from data.problem import Problem


@dataclass(frozen=True)
class Format:
    """One public set: how its rows are known, and how each becomes a problem."""

    name: str
    licence: str
    keys: frozenset[str]
    """A row with all of these is of this set."""
    columns: frozenset[str]
    """All that `read` may look at; of a Parquet file nothing else is read."""
    read: Callable[[dict[str, Any], str], Problem]
    """(row, id for a row without one) -> problem. RowError: `skippable` where the row is of no use here."""
    as_it_is: bool = False
    """Whether `load_problems` reads such rows too; the others need `prepare`."""


OTHER_LANGUAGE = "a program in another language is asked for"
READS_A_FILE = "reads or writes a named file"


def cases_at(row: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """A field that lists test cases as objects, as it is or as text of JSON."""
    cases = json_at(row, key, list, [])
    for number, case in enumerate(cases):
        if not isinstance(case, dict):
            raise RowError(f"{key}[{number}] is {kind(case)}, not an object; correct it")
    return cases


def columns_of(value: Any, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """A list of structs, or a struct of lists (as `datasets` writes it), as tuples in order of `names`."""
    if value is None:
        return []
    if isinstance(value, list):
        return [tuple(item.get(name) for name in names) for item in value if isinstance(item, dict)]
    if not isinstance(value, dict):
        raise RowError(f"{kind(value)} where lists of {', '.join(names)} were expected; correct it")
    lists = [value.get(name) or [] for name in names]
    if len({len(column) for column in lists}) > 1:
        lengths = ", ".join(f"{len(column)} {name}" for column, name in zip(lists, names, strict=True))
        raise RowError(f"{lengths}: lists of one struct must be equally long; correct it")
    return list(zip(*lists, strict=True))
