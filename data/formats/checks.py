"""What is said of functions: which one a set's checks call, which calls a text shows, how it is asked for.

Nothing is run here. What a function returns, its reference says, in the sandbox (reward/recording.py).
"""

import ast
import builtins
import re
import warnings
from collections.abc import Iterable, Sequence

from data.fields import RowError
from data.harness import tolerance

NO_FUNCTION = "no one function is called"
EXAMPLE = "Your code should pass this test:"  # what the prompts of MBPP's paper say


def asked(text: str, entry_point: str, *, starter: str = "", example: str = "") -> str:
    """The text of a task, with what tells a reader the function's name: a stub, a test, or else the name."""
    text, name = text.rstrip(), entry_point.rpartition(".")[2]
    if starter.strip() and starter.strip() not in text:
        return f"{text}\n\nBegin with this code:\n{starter.rstrip()}"
    if example:
        return f"{text}\n\n{EXAMPLE}\n{example.strip()}"
    if not re.search(rf"\b{re.escape(name)}\b", text):
        return f"{text}\n\nThe function is to be called {name}."
    return text


def function_called(checks: Sequence[str], references: Sequence[str]) -> str:
    """The one function that every check calls; of several, the outermost that a reference defines.

    RowError if a check does not parse (a defect), or if there is no such function (skippable).
    """
    if not checks:
        raise RowError("there is nothing that calls the function; add a test", NO_FUNCTION)
    called = [_names_called(check) for check in checks]
    shared = [name for name in called[0] if all(name in names for names in called[1:])]
    defined = _defined(references)
    of_reference = [name for name in shared if name in defined]
    foreign = [name for name in shared if not hasattr(builtins, name)]
    if not (found := of_reference or foreign):
        raise RowError(f"no function is called by each of the {len(checks)} checks", NO_FUNCTION)
    return found[0]


def _names_called(check: str) -> list[str]:
    """Names that a check calls, outermost first."""
    calls = (node.func for node in ast.walk(parsed(check)) if isinstance(node, ast.Call))
    return [function.id for function in calls if isinstance(function, ast.Name)]


def _defined(references: Sequence[str]) -> set[str]:
    """Functions that a reference defines; of one that does not parse, the sandbox will say so."""
    names: set[str] = set()
    for reference in references:
        try:
            tree = parsed(reference)
        except RowError:
            continue
        names |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return names


def parsed(source: str) -> ast.Module:
    """The tree of a check. RowError if it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = source.strip().splitlines()[0][:80] if source.strip() else ""
        raise RowError(f"a check is no Python ({error}): {line!r}; correct it") from None


def lines_of(checks: Iterable[str]) -> str:
    """Checks as one program."""
    return "".join(f"{check.rstrip()}\n" for check in checks)


def comparison_of(checks: str) -> str:
    """Results are compared as Python compares them, floats as near as the checks let them be."""
    absolute, relative = tolerance(checks)
    return f"python({absolute:g}, {relative:g})" if absolute or relative else "python"
