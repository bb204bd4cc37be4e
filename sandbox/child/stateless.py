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
import builtins
import re
from collections.abc import Iterable
from typing import Any

from sandbox.child import harmless

_FIELD = re.compile(r"\{\w*(![rsa])?(:[^{}]*)?\}")  # of str.format, without attributes and without nesting


def keeps_nothing(source: str | bytes) -> bool:
    """Whether it can be seen that no run of a program changes the next. `source` compiles."""
    try:
        return _Program(ast.parse(source)).is_stateless()
    except (_NotSeen, SyntaxError, ValueError, RecursionError, MemoryError):
        return False  # also what is too deep or too large for a look


class _NotSeen(Exception):
    """Something that is not known to be allowed."""


class _Program:
    """What its names stand for, and the rules. The `_…_` methods named after a kind of node check one."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._variables: set[str] = set()
        self._functions: set[str] = set()
        self._modules: dict[str, str] = {}
        self._members: dict[str, tuple[str, str]] = {}
        self._sets = self._floats = False
        for node in ast.walk(tree):
            self._bind(node)

    def is_stateless(self) -> bool:
        """Raises _NotSeen for what breaks a rule."""
        kinds = (self._variables, self._functions, {*self._modules}, {*self._members})
        names = set().union(*kinds)
        if sum(map(len, kinds)) != len(names) or any(name.startswith("__") for name in names):
            return False  # a name of two kinds, or one that means something to the interpreter
        self._statements(self._tree.body)
        return not (self._sets and self._floats)

    # --- names

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
            raise _NotSeen  # one name for two things

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
        """(module, name) of a library function or constant; ("", name) of a built-in one; else _NotSeen."""
        if isinstance(node, ast.Name):
            if node.id in self._members:
                return self._members[node.id]
            if not self._is_bound(node.id):
                return "", node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in self._modules:
                return self._modules[node.value.id], node.attr
        raise _NotSeen

    def _is_library(self, node: ast.expr) -> bool:
        try:
            self._resolve(node)
        except _NotSeen:
            return False
        return True

    # --- statements

    def _statements(self, body: Iterable[ast.stmt]) -> None:
        for node in body:
            self._check("statement", node)

    def _check(self, kind: str, node: ast.AST) -> None:
        rule = getattr(self, f"_{kind}_{type(node).__name__}", None)
        if rule is None:
            raise _NotSeen
        rule(node)

    def _statement_FunctionDef(self, node: ast.FunctionDef) -> None:
        if getattr(node, "type_params", None):  # 3.12
            raise _NotSeen
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call):
                self._plain_all([*decorator.args, *(word.value for word in decorator.keywords)])
                decorator = decorator.func
            if self._resolve(decorator) not in {("functools", "lru_cache"), ("functools", "cache")}:
                raise _NotSeen
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
            raise _NotSeen

    def _statement_Try(self, node: ast.Try) -> None:
        if node.finalbody:  # by `return` or exit() it can end what is not caught, a MemoryError say
            raise _NotSeen
        for handler in node.handlers:
            if handler.name is not None or handler.type is None:
                raise _NotSeen
            kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
            for kind in kinds:
                self._exception(kind)
            self._statements(handler.body)
        self._statements([*node.body, *node.orelse])

    def _statement_Assert(self, node: ast.Assert) -> None:
        self._plain_all([node.test, node.msg])

    def _statement_Import(self, node: ast.Import) -> None:
        if not all(alias.name in harmless.MODULES for alias in node.names):
            raise _NotSeen

    def _statement_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or node.module not in harmless.MODULES or any(a.name == "*" for a in node.names):
            raise _NotSeen

    def _statement_Expr(self, node: ast.Expr) -> None:
        self._plain(node.value)

    def _statement_Pass(self, node: ast.stmt) -> None:
        """Nothing to see."""

    _statement_Break = _statement_Continue = _statement_Pass
    _statement_Global = _statement_Nonlocal = _statement_Pass

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
            raise _NotSeen

    def _exception(self, node: ast.expr) -> None:
        module, name = self._resolve(node)
        if module or name not in harmless.EXCEPTIONS:
            raise _NotSeen

    def _type(self, node: ast.expr) -> None:
        module, name = self._resolve(node)
        if module or name not in harmless.TYPES:
            raise _NotSeen

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
                raise _NotSeen
            self._constant(module, name)

    def _plain_Attribute(self, node: ast.Attribute) -> None:
        self._constant(*self._resolve(node))

    def _constant(self, module: str, name: str) -> None:
        if module and name not in harmless.CONSTANTS.get(module, ()):
            raise _NotSeen
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
                raise _NotSeen  # what is one object, and what is two alike, is the interpreter's to choose

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
                raise _NotSeen
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
            raise _NotSeen

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
            raise _NotSeen

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
            raise _NotSeen
        if isinstance(node.value, ast.Name) and not self._is_bound(node.value.id):
            self._type(node.value)
        else:
            self._plain(node.value)

    def _format(self, text: ast.expr) -> None:
        """`"{}".format`: a text that is known, for fields can name attributes."""
        if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
            raise _NotSeen
        if "{{" in text.value or "{" in _FIELD.sub("", text.value):
            raise _NotSeen

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
                raise _NotSeen
        elif self._is_library(node):
            self._library_function(*self._resolve(node))
        elif isinstance(node, ast.Attribute):
            if not self._is_file_method(node):
                self._method(node)
                self._sets |= node.attr in harmless.VIEWS
        else:
            raise _NotSeen

    def _library_function(self, module: str, name: str) -> None:
        self._note(module, name)
        plain: Any = harmless.MODULES_PLAIN.get(module, ()) if module else harmless.PLAIN
        if name not in plain:
            raise _NotSeen

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
            raise _NotSeen
