"""How far a text is a program: by parsing alone, nothing of it is run or compiled."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

_MAX_PARSED = 262_144  # characters; no program this long passes the sandbox's source limit, so none is parsed

# Names by which programs read, and by which they print; as variables or behind a dot.
_READS = {"input", "stdin", "open", "fileinput", "read", "readline", "readlines"}
_PRINTS = {"print", "stdout", "write", "writelines"}
_DEFINITIONS = {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef}

BROKEN, PARSES, CALLS, DEFINES, COMPLETE = range(5)
"""The grades, each more than the one before."""


class Task(NamedTuple):
    """What is looked for, if not a program that reads and prints."""

    stub: str = ""
    name: str = ""


def may_be_complete(text: str, task: Task) -> bool:
    """A look at the words of a text, before it is parsed."""
    if task.stub:
        return True
    if task.name:
        return task.name in text
    return any(name in text for name in _READS) and any(name in text for name in _PRINTS)


def grade_of(text: str, task: Task) -> int:
    """How far the text, alone or behind the stub, is a program.

    Of a function no output is asked for: complete is what defines it, or returns something behind the stub.
    """
    tree = tree_of(text)
    alone = tree is not None
    if tree is None and task.stub:
        tree = tree_of(task.stub + text)
    if tree is None:
        return BROKEN
    if alone and task.name in _defined(tree):
        return COMPLETE
    kinds: set[type] = set()
    names: set[str] = set()
    for node in ast.walk(tree):
        kinds.add(type(node))
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
    if not kinds & {ast.Call, ast.Return}:
        return PARSES  # a lone word is valid Python too, but without a call nothing is printed
    defines = alone and bool(kinds & _DEFINITIONS)
    if alone and task.name:
        return DEFINES if defines else CALLS
    if task.stub:
        return COMPLETE if defines or ast.Return in kinds else CALLS
    if names & _READS and names & _PRINTS:
        return COMPLETE
    return DEFINES if defines else CALLS


def _defined(tree: ast.Module) -> Iterator[str]:
    """The names that a module's own statements define."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def adds_nothing(program: str, given: str) -> bool:
    """Whether a program that parses says nothing that `given` does not: imports, heads, docstrings, comments
    and `pass` are nothing. Statements are compared as they are written."""
    return tree_of(program) is not None and not _statements(program) - _statements(given)


def _statements(text: str) -> set[str]:
    """The lines of every statement that does something by itself; none of what does not parse."""
    tree, lines = tree_of(text), text.splitlines()
    return {
        "\n".join(line.strip() for line in lines[node.lineno - 1 : node.end_lineno])
        for node in (ast.walk(tree) if tree else ())
        if isinstance(node, ast.stmt) and not isinstance(node, _NOTHING) and not _holds_statements(node)
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    }


_NOTHING = (ast.Import, ast.ImportFrom, ast.Pass)


def _holds_statements(node: ast.stmt) -> bool:
    return hasattr(node, "body") or hasattr(node, "cases")


def tree_of(text: str) -> ast.Module | None:
    """The syntax tree, or None. Parsing only: nothing of the text is run or even compiled here."""
    if len(text) > _MAX_PARSED:
        return None
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # ValueError: null bytes, surrogates
        return None
