"""Two of Bandit's checks, which take time by the cube of a text, or without end, so that they end.

    B608  SQL put together of texts. For each literal of a sum Bandit makes a text of all the others, and
          searches it with patterns that take time by the square of its length: 5 s for 9 KB. Here each is
          read once, and the findings are the same.
    B703  mark_safe. Bandit follows what is assigned to a name, again for each time it is mentioned: 2^n for n
          lines. Here what it has found is remembered, and the statements that it looks at are counted: a
          program that takes too many is unscannable.

Imported when Bandit is; runs in the scan's process.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

import bandit
from bandit.core import issue, test_properties, utils
from bandit.plugins import django_xss

# Statements looked at, 0.2 s. Bandit looks at none unless `django.utils.safestring` is imported.
MAX_LOOKS = 200_000

# Bandit's pattern, `select\s.*from\s|delete\s+from\s|...`, as what comes first and what comes behind it.
# No first part lies within another match of itself, so the leftmost leaves the most for what is behind it.
_FLAGS = re.IGNORECASE | re.DOTALL
_SQL = tuple(
    (re.compile(first, _FLAGS), re.compile(behind, _FLAGS))
    for first, behind in (
        (r"select\s", r"from\s"),
        (r"delete\s+from\s", ""),
        (r"insert\s+into\s", r"values[\s(]"),
        (r"update\s", r"set\s"),
    )
)
_VERB = re.compile("select|delete|insert|update", re.IGNORECASE)

# What of a statement can have begun in the texts before, as the shortest text that begins it, and how it is
# seen. Texts are joined by a space: no word goes through two of them, and nothing else is carried on.
_BEGUN = ("", "select ", "update ", "delete ", "insert ", "insert into ")
_BEGINS = tuple(
    re.compile(pattern, _FLAGS)
    for pattern in ("", r"select\s", r"update\s", r"delete\s+\Z", r"insert\s+\Z", r"insert\s+into\s")
)
_MATCHED = 1 << len(_BEGUN)

# A set of what has begun is a number, bit i for _BEGUN[i]. What a text makes of each of them, the last being
# that it has matched already, is a table of sets.
_Table = tuple[int, ...]
_SAME: _Table = tuple(1 << i for i in range(len(_BEGUN) + 1))


class TooManyAssignmentsError(Exception):
    """What is given to mark_safe has gone through too many of them."""


class _Counted(django_xss.DeepAssignation):
    left = MAX_LOOKS

    def is_assigned(self, node: ast.AST) -> Any:
        _Counted.left -= 1
        if _Counted.left < 0:
            raise TooManyAssignmentsError
        return super().is_assigned(node)


_known: dict[tuple[object, ...], bool] = {}


def _once(evaluate: Callable[..., bool]) -> Callable[..., bool]:
    """The answer to the same question, asked by a name or a call, where, and up to which line."""

    @wraps(evaluate)
    def remembered(asked: ast.AST, *where: object) -> bool:
        key = (getattr(asked, "id", asked), *where)
        if key not in _known:
            _known[key] = evaluate(asked, *where)
        return _known[key]

    return remembered


_OWN = {name: _once(getattr(django_xss, name)) for name in ("evaluate_var", "evaluate_call")}
_OWN["DeepAssignation"] = _Counted


def install(tests: dict[str, list[Any]]) -> None:
    """Put them in the place of Bandit's, in its checks by kind of node."""
    tests["Str"] = [sql_expressions if test._test_id == "B608" else test for test in tests["Str"]]
    for name, ours in _OWN.items():
        setattr(django_xss, name, ours)


def begin() -> None:
    """The next program: count from nothing."""
    _Counted.left = MAX_LOOKS
    _known.clear()


@test_properties.checks("Str")
@test_properties.test_id("B608")
def sql_expressions(context: Any) -> Any:
    """What Bandit's `hardcoded_sql_expressions` says of a literal."""
    node: Any = context.node
    parent = node._bandit_parent
    replaces = False
    if isinstance(parent, ast.BinOp):
        top: Any = parent
        while isinstance(top._bandit_parent, ast.BinOp):
            top = top._bandit_parent
        if not hasattr(top, "_sum"):
            top._sum = _Sum(top)
        matches, wrapper = top._sum.matches(node), top._bandit_parent
    elif isinstance(parent, ast.Attribute) and parent.attr in ("format", "replace"):
        matches, wrapper = is_sql(node.value), node._bandit_parent._bandit_parent._bandit_parent
        replaces = parent.attr == "replace"
    elif isinstance(parent, ast.JoinedStr):
        # The first of its texts stands for all of them.
        parts: list[Any] = parent.values
        first = next(part for part in parts if _is_text(part)) is node
        matches = first and is_sql("".join(part.value for part in parts if _is_text(part)))
        wrapper = node._bandit_parent._bandit_parent
    else:
        return None
    if not matches:
        return None
    runs = isinstance(wrapper, ast.Call) and utils.get_called_name(wrapper) in ("execute", "executemany")
    return bandit.Issue(
        severity=bandit.MEDIUM,
        confidence=bandit.MEDIUM if runs and not replaces else bandit.LOW,
        cwe=issue.Cwe.SQL_INJECTION,
        text="Possible SQL injection vector through string-based query construction.",
    )


def is_sql(text: str) -> bool:
    """Whether Bandit's pattern is found in a text, in time by its length."""
    return any(
        (found := first.search(text)) is not None and behind.search(text, found.end()) is not None
        for first, behind in _SQL
    )


class _Sum:
    """The texts of a tree of operators, in order.

    What Bandit searches for a literal is the literal itself, then all texts of the tree but those of the
    operator that it is an operand of. So a literal is judged in a few steps, once it is known what the texts
    up to each place, and those from each place on, make of what had begun.
    """

    def __init__(self, top: ast.BinOp) -> None:
        self._texts: list[str] = []
        self._spans: dict[ast.AST, tuple[int, int]] = {}  # the texts of each operator
        ahead: list[ast.expr | tuple[ast.BinOp, int]] = [top]
        while ahead:
            node = ahead.pop()
            if isinstance(node, tuple):
                self._spans[node[0]] = (node[1], len(self._texts))
            elif isinstance(node, ast.BinOp):
                ahead += [(node, len(self._texts)), node.right, node.left]
            elif _is_text(node):
                self._texts.append(node.value)  # type: ignore[attr-defined]
        self._some = any(map(_VERB.search, self._texts))  # nearly always not
        if self._some:
            self._fill()

    def _fill(self) -> None:
        tables = {text: (_table(text, " "), _table(text, "")) for text in set(self._texts)}
        self._ends = [tables[text][1] for text in self._texts]
        self._up_to = [_SAME]
        for text in self._texts:
            self._up_to.append(_then(self._up_to[-1], tables[text][0]))
        self._from = self._ends[-1:]  # the last has no space behind it
        for text in self._texts[-2::-1]:
            self._from.append(_then(tables[text][0], self._from[-1]))
        self._from.reverse()

    def matches(self, node: ast.Constant) -> bool:
        """Whether what Bandit searches for this literal looks like SQL."""
        if not self._some:
            return False
        start, stop = self._spans[node._bandit_parent]  # type: ignore[attr-defined]
        if not start and stop == len(self._texts):
            return is_sql(node.value)  # type: ignore[arg-type]
        begun = _table(node.value, " ")[0]  # type: ignore[arg-type]
        if stop < len(self._texts):
            reached = _apply(_apply(begun, self._up_to[start]), self._from[stop])
        else:
            reached = _apply(_apply(begun, self._up_to[start - 1]), self._ends[start - 1])
        return bool(reached & _MATCHED)


def _table(text: str, behind: str) -> _Table:
    """What a text, with `behind` behind it, makes of each thing that has begun."""
    made = []
    for begun in _BEGUN:
        whole = begun + text + behind
        seen = sum(1 << i for i, pattern in enumerate(_BEGINS) if pattern.search(whole))
        made.append(_MATCHED if is_sql(whole) else seen)
    return (*made, _MATCHED)


def _then(first: _Table, second: _Table) -> _Table:
    return tuple(_apply(begun, second) for begun in first)


def _apply(begun: int, table: _Table) -> int:
    made = 0
    for i, reached in enumerate(table):
        if begun >> i & 1:
            made |= reached
    return made


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
