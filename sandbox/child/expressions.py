"""Expressions whose value is plain data, and what is called or used up on the spot.

The second part of `stateless`, which says what it is for. A method `_plain_…` is named after the kind of node
that it allows.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable
from typing import Any

from sandbox.child import harmless
from sandbox.child.names import Names, NotSeen

_FIELD = re.compile(r"\{\w*(![rsa])?(:[^{}]*)?\}")  # of str.format, without attributes and without nesting


class Expressions(Names):
    """The rules for expressions, and for what is assigned to."""

    def _check(self, kind: str, node: ast.AST) -> None:
        rule = getattr(self, f"_{kind}_{type(node).__name__}", None)
        if rule is None:
            raise NotSeen
        rule(node)

    def _target(self, node: ast.expr) -> None:
        """What is assigned to, or deleted: a variable of the program's, or a place in its data."""
        if isinstance(node, (ast.Tuple, ast.List)):
            for part in node.elts:
                self._target(part)
        elif isinstance(node, ast.Starred):
            self._target(node.value)
        elif isinstance(node, ast.Subscript):
            self._plain_all([node.value, node.slice])
        elif not isinstance(node, ast.Name):
            raise NotSeen

    def _exception(self, node: ast.expr) -> None:
        module, name = self._resolve(node)
        if module or name not in harmless.EXCEPTIONS:
            raise NotSeen

    def _type(self, node: ast.expr) -> None:
        module, name = self._resolve(node)
        if module or name not in harmless.TYPES:
            raise NotSeen

    def _arguments(self, arguments: ast.arguments) -> None:
        self._plain_all([*arguments.defaults, *arguments.kw_defaults])
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        for argument in [*named, arguments.vararg, arguments.kwarg]:
            if argument is not None:
                self._annotation(argument.annotation)

    def _annotation(self, node: ast.expr | None) -> None:
        """None, or a built-in type such as int or list[int]."""
        if isinstance(node, ast.Subscript):
            inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            for part in [node.value, *inner]:
                self._annotation(part)
        elif node is not None and not (isinstance(node, ast.Constant) and node.value is None):
            self._type(node)

    # --- expressions whose value is plain data

    def _plain(self, node: ast.AST) -> None:
        self._check("plain", node)

    def _plain_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self._plain(node)

    def _plain_Constant(self, node: ast.Constant) -> None:
        self._floats |= isinstance(node.value, (float, complex))

    def _plain_Name(self, node: ast.Name) -> None:
        # A variable that has the name of a built-in function may still be that: its text shows no address,
        # and no variable is ever called.
        if node.id not in self._variables and node.id != "__name__":
            module, name = self._resolve(node)
            if not module and (name in vars(builtins) or name.startswith("__")):
                raise NotSeen
            self._constant(module, name)

    def _plain_Attribute(self, node: ast.Attribute) -> None:
        self._constant(*self._resolve(node))

    def _constant(self, module: str, name: str) -> None:
        if module and name not in harmless.CONSTANTS.get(module, ()):
            raise NotSeen
        self._floats |= module == "math"

    def _plain_BinOp(self, node: ast.BinOp) -> None:
        self._operator(node.op, node.right)
        self._plain_all([node.left, node.right])

    def _operator(self, operator: ast.operator, right: ast.expr) -> None:
        """Notes what can make floats of integers."""
        power = isinstance(operator, ast.Pow) and not isinstance(right, ast.Constant)
        self._floats |= power or isinstance(operator, ast.Div)

    def _plain_UnaryOp(self, node: ast.UnaryOp) -> None:
        self._plain(node.operand)

    def _plain_BoolOp(self, node: ast.BoolOp) -> None:
        self._plain_all(node.values)

    def _plain_Compare(self, node: ast.Compare) -> None:
        self._plain_all([node.left, *node.comparators])
        for operator, right in zip(node.ops, node.comparators, strict=True):
            one = isinstance(right, ast.Constant) and isinstance(right.value, (bool, type(None)))
            if isinstance(operator, (ast.Is, ast.IsNot)) and not one:
                raise NotSeen  # what is one object, and what is two alike, is the interpreter's to choose

    def _plain_IfExp(self, node: ast.IfExp) -> None:
        self._plain_all([node.test, node.body, node.orelse])

    def _plain_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._target(node.target)
        self._plain(node.value)

    def _plain_Subscript(self, node: ast.Subscript) -> None:
        self._plain_all([node.value, node.slice])

    def _plain_Slice(self, node: ast.Slice) -> None:
        self._plain_all([node.lower, node.upper, node.step])

    def _plain_Tuple(self, node: ast.Tuple | ast.List | ast.Set) -> None:
        self._plain_all(node.elts)

    _plain_List = _plain_Tuple

    def _plain_Set(self, node: ast.Set) -> None:
        self._sets = True
        self._plain_all(node.elts)

    def _plain_Dict(self, node: ast.Dict) -> None:
        self._plain_all([*node.keys, *node.values])

    def _plain_Starred(self, node: ast.Starred) -> None:
        self._iterable(node.value)  # its items are what becomes an argument or an element

    def _plain_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._plain_all(node.values)

    def _plain_FormattedValue(self, node: ast.FormattedValue) -> None:
        self._plain_all([node.value, node.format_spec])

    def _plain_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node.generators)
        self._plain(node.elt)

    def _plain_SetComp(self, node: ast.SetComp) -> None:
        self._sets = True
        self._comprehension(node.generators)
        self._plain(node.elt)

    def _plain_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node.generators)
        self._plain_all([node.key, node.value])

    def _comprehension(self, generators: Iterable[ast.comprehension]) -> None:
        for part in generators:
            if part.is_async:
                raise NotSeen
            self._target(part.target)
            self._iterable(part.iter)
            self._plain_all(part.ifs)

    # --- calls

    def _plain_Call(self, node: ast.Call) -> None:
        callee = node.func
        if isinstance(callee, ast.Name) and callee.id in self._functions:
            self._plain_all([*node.args, *(word.value for word in node.keywords)])
        elif self._is_library(callee):
            self._call_library(node, *self._resolve(callee))
        elif isinstance(callee, ast.Attribute):
            self._call_method(node, callee)
        else:
            raise NotSeen

    def _call_library(self, node: ast.Call, module: str, name: str) -> None:
        self._note(module, name)
        if (module, name) == ("", "isinstance") and len(node.args) == 2 and not node.keywords:
            self._plain(node.args[0])
            kinds = node.args[1].elts if isinstance(node.args[1], ast.Tuple) else [node.args[1]]
            for kind in kinds:
                self._type(kind)
        elif (module, name) == ("functools", "reduce") and len(node.args) > 1 and not node.keywords:
            self._function(node.args[0])
            self._iterable(node.args[1])
            self._plain_all(node.args[2:])
        elif (module, name) == ("collections", "defaultdict"):  # its text shows its factory
            if node.args:
                self._type(node.args[0])
                self._note(*self._resolve(node.args[0]))
            self._given(name, node.args[1:], node.keywords, takes_iterator=True)
        elif name in (harmless.MODULES_PLAIN.get(module, ()) if module else harmless.PLAIN):
            takes = harmless.MODULES_TAKE_ITERATOR.get(module, ()) if module else harmless.TAKE_ITERATOR
            self._given(name, node.args, node.keywords, takes_iterator=name in takes)
        else:
            raise NotSeen

    def _call_method(self, node: ast.Call, callee: ast.Attribute) -> None:
        if self._is_file_method(callee):
            return self._plain_all([*node.args, *(word.value for word in node.keywords)])
        if callee.attr == "format":
            self._format(callee.value)
        elif callee.attr in ("encode", "decode") and not node.args and not node.keywords:
            self._plain(callee.value)
        else:
            self._method(callee)
            self._sets |= callee.attr in harmless.VIEWS
        takes = callee.attr in harmless.METHODS_TAKE_ITERATOR
        self._given(callee.attr, node.args, node.keywords, takes_iterator=takes)

    def _method(self, node: ast.Attribute) -> None:
        """Of plain data, or of one of its types: `x.append`, `str.strip`."""
        if node.attr not in harmless.METHODS:
            raise NotSeen
        if isinstance(node.value, ast.Name) and not self._is_bound(node.value.id):
            self._type(node.value)
        else:
            self._plain(node.value)

    def _format(self, text: ast.expr) -> None:
        """`"{}".format`: a text that is known, for fields can name attributes."""
        if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
            raise NotSeen
        if "{{" in text.value or "{" in _FIELD.sub("", text.value):
            raise NotSeen

    def _given(
        self, name: str, arguments: list[ast.expr], keywords: list[ast.keyword], *, takes_iterator: bool
    ) -> None:
        """The arguments of what is not the program's own."""
        if name in ("max", "min") and len(arguments) > 1:
            takes_iterator = False  # one of them is what they give
        if takes_iterator and arguments:
            self._iterable(arguments[0])
            arguments = arguments[1:]
        self._plain_all(arguments)
        for word in keywords:
            if word.arg == "key" and name in harmless.TAKE_KEY:
                self._function(word.value)
            elif word.arg == "file" and name == "print":
                self._file(word.value, {"stdout", "stderr"})
            else:
                self._plain(word.value)

    def _note(self, module: str, name: str) -> None:
        self._sets |= not module and name in ("set", "frozenset")
        self._floats |= (module == "math" and name not in harmless.INTEGER_MATHS) or (
            not module and name in ("float", "complex", "pow")
        )

    # --- what is used up or called on the spot

    def _iterable(self, node: ast.expr) -> None:
        """What is iterated over at once: plain data, or an iterator over such."""
        if isinstance(node, ast.GeneratorExp):
            self._comprehension(node.generators)
            self._plain(node.elt)
        elif isinstance(node, ast.Call) and self._gives_iterator(node.func):
            self._iterator(node, *self._resolve(node.func))
        elif self._is_view(node):
            self._method(node.func)  # type: ignore[attr-defined]
        elif self._is_file(node, {"stdin"}):
            pass
        else:
            self._plain(node)

    @staticmethod
    def _is_view(node: ast.expr) -> bool:
        call = isinstance(node, ast.Call) and not node.args and not node.keywords
        return call and isinstance(node.func, ast.Attribute) and node.func.attr in harmless.VIEWS  # type: ignore[attr-defined]

    def _gives_iterator(self, callee: ast.expr) -> bool:
        if not self._is_library(callee):
            return False
        module, name = self._resolve(callee)
        gives = harmless.MODULES_GIVE_ITERATOR.get(module, ()) if module else harmless.GIVE_ITERATOR
        return name in gives

    def _iterator(self, node: ast.Call, module: str, name: str) -> None:
        arguments = list(node.args)
        if name in ("map", "filter") and arguments:
            first = arguments.pop(0)
            if not (name == "filter" and isinstance(first, ast.Constant)):
                self._function(first)
        elif name == "accumulate" and len(arguments) == 2:
            self._function(arguments.pop())
        for argument in arguments:
            if name == "repeat":  # it gives what it is given
                self._plain(argument)
            else:
                self._iterable(argument)
        self._plain_all(word.value for word in node.keywords)

    def _function(self, node: ast.expr) -> None:
        """What is called by what it is given to, with plain data, and gives plain data."""
        if isinstance(node, ast.Lambda):
            self._arguments(node.args)
            self._plain(node.body)
        elif isinstance(node, ast.Name) and node.id in self._functions:
            pass
        elif isinstance(node, ast.Constant) and node.value is None:  # key=None
            pass
        elif isinstance(node, ast.Call) and self._is_library(node.func):
            what = self._resolve(node.func)
            if what == ("functools", "cmp_to_key") and len(node.args) == 1 and not node.keywords:
                self._function(node.args[0])
            elif what == ("operator", "itemgetter") and not node.keywords:
                self._plain_all(node.args)
            else:
                raise NotSeen
        elif self._is_library(node):
            self._library_function(*self._resolve(node))
        elif isinstance(node, ast.Attribute):
            if not self._is_file_method(node):
                self._method(node)
                self._sets |= node.attr in harmless.VIEWS
        else:
            raise NotSeen

    def _library_function(self, module: str, name: str) -> None:
        self._note(module, name)
        plain: Any = harmless.MODULES_PLAIN.get(module, ()) if module else harmless.PLAIN
        if name not in plain:
            raise NotSeen
