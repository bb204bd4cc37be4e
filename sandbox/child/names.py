"""What the names of a program stand for: a variable, a function, a module or a member of one, throughout.

The first part of `stateless`, which says what it is for.
"""

from __future__ import annotations

import ast
from typing import Any

from sandbox.child import harmless


class NotSeen(Exception):
    """Something that is not known to be allowed."""


class Names:
    """Of one program. Raises NotSeen for a name with two meanings."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._variables: set[str] = set()
        self._functions: set[str] = set()
        self._modules: dict[str, str] = {}
        self._members: dict[str, tuple[str, str]] = {}
        self._sets = self._floats = False
        for node in ast.walk(tree):
            self._bind(node)

    def _bind(self, node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef):
            self._functions.add(node.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                self._import(self._modules, alias, alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                self._import(self._members, alias, (node.module or "", alias.name))
        elif isinstance(node, ast.arg):
            self._variables.add(node.arg)
        elif isinstance(node, ast.Assign) and self._names_function(node):
            (name,) = node.targets
            assert isinstance(name, ast.Name)
            self._functions.add(name.id)
            name.ctx = ast.Load()  # so that it is no variable too
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            self._variables.add(node.id)

    @staticmethod
    def _import(known: dict[str, Any], alias: ast.alias, what: object) -> None:
        if known.setdefault(alias.asname or alias.name, what) != what:
            raise NotSeen  # one name for two things

    @staticmethod
    def _names_function(node: ast.Assign) -> bool:
        """`f = lambda: …`, `input = sys.stdin.readline`."""
        value = node.value
        named = len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
        return named and (
            isinstance(value, ast.Lambda)
            or (isinstance(value, ast.Attribute) and value.attr in harmless.READ | harmless.WRITE)
        )

    def _is_bound(self, name: str) -> bool:
        return (
            name in self._variables
            or name in self._functions
            or name in self._modules
            or name in self._members
        )

    def _resolve(self, node: ast.expr) -> tuple[str, str]:
        """(module, name) of a library function or constant; ("", name) of a built-in one; else NotSeen."""
        if isinstance(node, ast.Name):
            if node.id in self._members:
                return self._members[node.id]
            if not self._is_bound(node.id):
                return "", node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in self._modules:
                return self._modules[node.value.id], node.attr
        raise NotSeen

    def _is_library(self, node: ast.expr) -> bool:
        try:
            self._resolve(node)
        except NotSeen:
            return False
        return True

    # --- files: standard input and output, whose objects are made anew for every input

    def _is_file_method(self, node: ast.Attribute) -> bool:
        if node.attr in harmless.READ:
            return self._is_file(node.value, {"stdin"})
        return node.attr in harmless.WRITE and self._is_file(node.value, {"stdout", "stderr"})

    def _is_file(self, node: ast.expr, names: set[str]) -> bool:
        """`sys.stdin`, `sys.stdin.buffer`, `open(0)`."""
        if isinstance(node, ast.Attribute) and node.attr == "buffer":
            node = node.value
        if isinstance(node, ast.Call):
            zero = [isinstance(a, ast.Constant) and a.value == 0 for a in node.args] == [True]
            return "stdin" in names and zero and not node.keywords and self._is(node.func, "", "open")
        return any(self._is(node, "sys", name) for name in names)

    def _is(self, node: ast.expr, module: str, name: str) -> bool:
        return self._is_library(node) and self._resolve(node) == (module, name)

    def _file(self, node: ast.expr, names: set[str]) -> None:
        if not self._is_file(node, names):
            raise NotSeen
