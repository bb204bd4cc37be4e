"""Does a program keep nothing from one run to the next? Then its inputs may share a child.

The answer is yes only for programs written in a small part of the language, in which it can be seen that

    nothing outlives a run    no attribute is set, no module or class is held in a variable, and of functions
                              that are not the program's own only those of `harmless` are called; so all that
                              changes is the program's own data, and that dies with its namespace
    nothing tells runs apart  a used child has other addresses and a little less memory than a fresh one.
                              Functions and iterators, whose texts show addresses, are only called and used
                              up on the spot, never held, so every variable is plain data; MemoryError is not
                              caught; and no set can hold a NaN, which is hashed by its address

The rules know no types: a name is a variable, a function, or a module throughout the program, and what is not
known to be allowed is not. Programs with classes, generators, `with`, `re`, `random` and so on run in fresh
children. That costs time and no score.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from sandbox.child import harmless
from sandbox.child.expressions import Expressions
from sandbox.child.names import NotSeen


def keeps_nothing(source: str | bytes) -> bool:
    """Whether it can be seen that no run of a program changes the next. `source` compiles."""
    try:
        return _Program(ast.parse(source)).is_stateless()
    except (NotSeen, SyntaxError, ValueError, RecursionError, MemoryError):
        return False  # also what is too deep or too large for a look


class _Program(Expressions):
    """All rules. A method `_statement_…` is named after the kind of node that it allows."""

    def is_stateless(self) -> bool:
        """Raises NotSeen for what breaks a rule."""
        kinds = (self._variables, self._functions, {*self._modules}, {*self._members})
        names = set().union(*kinds)
        if sum(map(len, kinds)) != len(names) or any(name.startswith("__") for name in names):
            return False  # a name of two kinds, or one that means something to the interpreter
        self._statements(self._tree.body)
        return not (self._sets and self._floats)

    def _statements(self, body: Iterable[ast.stmt]) -> None:
        for node in body:
            self._check("statement", node)

    def _statement_FunctionDef(self, node: ast.FunctionDef) -> None:
        if getattr(node, "type_params", None):  # 3.12
            raise NotSeen
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call):
                self._plain_all([*decorator.args, *(word.value for word in decorator.keywords)])
                decorator = decorator.func
            if self._resolve(decorator) not in {("functools", "lru_cache"), ("functools", "cache")}:
                raise NotSeen
        self._arguments(node.args)
        self._annotation(node.returns)
        self._statements(node.body)

    def _statement_Return(self, node: ast.Return) -> None:
        self._plain_all([node.value])

    def _statement_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._target(target)

    def _statement_Assign(self, node: ast.Assign) -> None:
        if self._names_function(node):
            return self._function(node.value)
        several = len(node.targets) == 1 and isinstance(node.targets[0], (ast.Tuple, ast.List))
        (self._iterable if several else self._plain)(node.value)
        for target in node.targets:
            self._target(target)

    def _statement_AugAssign(self, node: ast.AugAssign) -> None:
        self._operator(node.op, node.value)
        self._target(node.target)
        self._plain(node.value)

    def _statement_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        self._target(node.target)
        self._plain_all([node.value])

    def _statement_For(self, node: ast.For) -> None:
        self._target(node.target)
        self._iterable(node.iter)
        self._statements([*node.body, *node.orelse])

    def _statement_While(self, node: ast.While) -> None:
        self._plain(node.test)
        self._statements([*node.body, *node.orelse])

    _statement_If = _statement_While

    def _statement_Raise(self, node: ast.Raise) -> None:
        error = node.exc
        if isinstance(error, ast.Call) and not error.keywords:
            self._plain_all(error.args)
            error = error.func
        if error is not None:
            self._exception(error)
        if node.cause is not None:
            raise NotSeen

    def _statement_Try(self, node: ast.Try) -> None:
        if node.finalbody:  # by `return` or exit() it can end what is not caught, a MemoryError say
            raise NotSeen
        for handler in node.handlers:
            if handler.name is not None or handler.type is None:
                raise NotSeen
            kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
            for kind in kinds:
                self._exception(kind)
            self._statements(handler.body)
        self._statements([*node.body, *node.orelse])

    def _statement_Assert(self, node: ast.Assert) -> None:
        self._plain_all([node.test, node.msg])

    def _statement_Import(self, node: ast.Import) -> None:
        if not all(alias.name in harmless.MODULES for alias in node.names):
            raise NotSeen

    def _statement_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or node.module not in harmless.MODULES or any(a.name == "*" for a in node.names):
            raise NotSeen

    def _statement_Expr(self, node: ast.Expr) -> None:
        self._plain(node.value)

    def _statement_Pass(self, node: ast.stmt) -> None:
        """Nothing to see."""

    _statement_Break = _statement_Continue = _statement_Pass
    _statement_Global = _statement_Nonlocal = _statement_Pass
