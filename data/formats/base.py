"""What a file of this folder says about its public set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from data.calls import FUNCTION_CALL
from data.fields import RowError, kind, list_at
from data.forms import json_at
from data.problem import Problem


class Unrecorded(NamedTuple):
    """A problem without tests yet: what its checks ask its reference, and the answers, will be its tests."""

    problem: Problem
    checks: str
    """Python to run behind a reference: it calls the entry point, and raises what it finds wrong."""


@dataclass(frozen=True)
class Format:
    """One public set: how its rows are known, and how each becomes a problem."""

    name: str
    licence: str
    keys: frozenset[str]
    """A row with all of these is of this set."""
    columns: frozenset[str]
    """All that `read` may look at; of a Parquet file nothing else is read."""
    read: Callable[[dict[str, Any], str], Problem | Unrecorded]
    """(row, id for a row without one) -> problem, or what is to become one. RowError: `skippable` where
    the row is of no use here."""
    as_it_is: bool = False
    """Whether `load_problems` reads such rows too; the others need `prepare`."""


_STDIN = ("stdin_stdout", "stdin", None)
OTHER_LANGUAGE = "a program in another language is asked for"
READS_A_FILE = "reads or writes a named file"


def cases_at(row: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """A field that lists test cases as objects, as it is or as text of JSON."""
    cases = json_at(row, key, list, [])
    for number, case in enumerate(cases):
        if not isinstance(case, dict):
            raise RowError(f"{key}[{number}] is {kind(case)}, not an object; correct it")
    return cases


def function_of(cases: list[dict[str, Any]], metadata: Any = None) -> str | None:
    """The function that cases call, None if they read standard input: their types say which.

    Its name is in a case, in its metadata, or in that of the row. RowError where types are mixed, or a name
    is missing.
    """
    kinds = {case.get("type", case.get("testtype")) in _STDIN and not case.get("fn_name") for case in cases}
    if len(kinds) > 1:
        raise RowError("some tests read standard input and others call a function; make two problems of it")
    if not cases or kinds == {True}:
        return None
    told = [cases[0].get("fn_name")]
    for about in (cases[0].get("metadata"), metadata):
        about = json_at({"metadata": about}, "metadata", dict, {}) if about is not None else {}
        told.append(about.get("func_name"))
    name = next((name for name in told if name), None)
    if name is None:
        raise RowError("the tests call a function, and nothing tells its name", FUNCTION_CALL)
    return str(name)


def columns_of(value: Any, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """A list of structs, or a struct of lists (as `datasets` writes it), as tuples in order of `names`."""
    if value is None:
        return []
    if isinstance(value, list):
        return [tuple(item.get(name) for name in names) for item in value if isinstance(item, dict)]
    if not isinstance(value, dict):
        raise RowError(f"{kind(value)} where lists of {', '.join(names)} were expected; correct it")
    lists = [[] if value.get(name) is None else list_at(value, name) for name in names]
    if len({len(column) for column in lists}) > 1:
        lengths = ", ".join(f"{len(column)} {name}" for column, name in zip(lists, names, strict=True))
        raise RowError(f"{lengths}: lists of one struct must be equally long; correct it")
    return list(zip(*lists, strict=True))
