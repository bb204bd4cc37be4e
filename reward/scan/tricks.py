"""Dangerous calls that Bandit does not see, found in the syntax tree: each costs as much as `eval` does.

Bandit resolves names through imports only. What it misses is reached by another route:

    import     a module named at run time: __import__("os"), importlib.import_module(name)
    lookup     an attribute named at run time: getattr(os, "sys" + "tem"), vars(os)["system"]
    alias      a dangerous function or module as a value: e = eval, map(eval, lines), s = os.system, o = os
    builtins   a dangerous builtin by its module, or as an attribute: builtins.eval(x), print.__self__.eval(x)
    code       text or code objects run by another name: timeit.timeit(x), runpy, types.FunctionType(...)
    ctypes     machine code through ctypes or cffi
    internals  the interpreter's own objects: ().__class__.__base__.__subclasses__(), f.__globals__

Like Bandit's findings these are facts about style, not about intent, and a determined author gets round them:
it is the sandbox that stops programs. Runs in the scan's process; standard library only.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Sequence

KINDS = ("import", "lookup", "alias", "builtins", "code", "ctypes", "internals")

_MODULES = frozenset(
    "os posix subprocess pty shutil ctypes _ctypes cffi pickle marshal builtins importlib runpy code "
    "socket".split()
)
_BUILTINS = frozenset({"eval", "exec", "compile", "__import__"})
_FUNCTIONS = _BUILTINS | {f"builtins.{name}" for name in _BUILTINS}
_FUNCTIONS |= {
    f"os.{name}" for name in ("system", "popen", "execv", "execve", "execvp", "spawnv", "posix_spawn")
}
_FUNCTIONS |= {
    f"subprocess.{name}" for name in ("Popen", "run", "call", "check_call", "check_output", "getoutput")
}
_FUNCTIONS |= {"pickle.loads", "pickle.load", "marshal.loads", "marshal.load", "importlib.import_module"}
_LAST_NAMES = {name.rpartition(".")[2] for name in _FUNCTIONS} - {"run", "call", "load", "loads", "compile"}
_INTERNALS = frozenset(
    "__subclasses__ __globals__ __code__ __closure__ __builtins__ __bases__ __base__ __mro__ mro __self__ "
    "__func__ __loader__ __spec__ __reduce__ __reduce_ex__ f_globals f_locals f_builtins f_back f_code "
    "tb_frame gi_frame gi_code cr_frame cr_code ag_frame ag_code".split()
)
_OWN_NAMES = frozenset({"__builtins__", "__loader__", "__spec__"})  # that every module has
# Methods are called so too, so a program's own do not count: `def eval(self)`.
_BY_ATTRIBUTE = frozenset({"eval", "exec", "__import__", "builtins", "__builtins__"})
_NAMESPACES = frozenset({"globals", "locals", "vars"})
# Other modules have imported these too: shutil.os, enum.bltns, collections._sys.
_CARRIED = frozenset("os posix subprocess pty builtins bltns importlib ctypes marshal pickle runpy".split())
# Modules that are there to run code, and functions of others that do. A program has no honest use for these.
_RUNNING_MODULES = frozenset(
    "code codeop runpy pdb bdb cProfile profile trace doctest pydoc imp _imp _frozen_importlib zipimport "
    "_frozen_importlib_external marshal _pickle dill posix nt pty _posixsubprocess".split()
)
_RUNNERS = frozenset(
    "breakpoint compile builtins.breakpoint builtins.compile types.FunctionType types.LambdaType "
    "types.CodeType timeit.timeit timeit.repeat timeit.Timer timeit.main typing.get_type_hints "
    "typing.ForwardRef typing._eval_type unittest.mock pkgutil.resolve_name inspect.currentframe "
    "inspect.stack inspect.getattr_static inspect.get_annotations asyncio.create_subprocess_shell "
    "asyncio.create_subprocess_exec sys._getframe sys._current_frames gc.get_objects "
    "gc.get_referrers gc.get_referents logging.config".split()
)
_GETATTR = frozenset({"getattr", "builtins.getattr"})
_LOOKUPS = frozenset({"operator.attrgetter", "operator.methodcaller"})
_CTYPES = ("ctypes", "_ctypes", "cffi")


def tricks(nodes: Sequence[ast.AST]) -> list[tuple[int, str]]:
    """(line, kind) of every trick among the nodes of a tree, in order, each once per line."""
    parents = {child: node for node in nodes for child in ast.iter_child_nodes(node)}
    names = imported(nodes) | _defined(nodes)
    found = {
        (node.lineno, kind)
        for node in parents
        if isinstance(node, (ast.expr, ast.stmt))
        for kind in _kinds(node, parents[node], names)
    }
    return sorted(found)


def imported(nodes: Sequence[ast.AST]) -> dict[str, str]:
    """What the names bound by imports stand for: {"sp": "subprocess", "run": "subprocess.run"}."""
    names: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for item in node.names:
                bound = item.asname or item.name.partition(".")[0]
                names[bound] = item.name if item.asname else bound
        elif isinstance(node, ast.ImportFrom) and node.module and node.names[0].name == "*":
            functions = (name for name in _FUNCTIONS if name.startswith(f"{node.module}."))
            names |= {f"*.{name.rpartition('.')[2]}": name for name in functions}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {item.asname or item.name: f"{node.module}.{item.name}" for item in node.names}
    return names


def qualified(node: ast.AST, names: dict[str, str]) -> str:
    """The dotted name an expression stands for, as far as imports tell; "" where it is no such name."""
    attributes = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    if isinstance(node, ast.Call) and attributes and node.args and isinstance(node.func, ast.Name):
        # __import__("sys").modules
        known = _text(node.args[0]).partition(".")[0] if node.func.id == "__import__" else ""
        return ".".join([known, *reversed(attributes)]) if known else ""
    if not isinstance(node, ast.Name):
        return ""
    known = names.get(node.id) or (node.id if hasattr(builtins, node.id) else "")
    return ".".join([known, *reversed(attributes)]) if known else ""


def _kinds(node: ast.AST, parent: ast.AST, names: dict[str, str]) -> Iterator[str]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [i.name for i in node.names]
        if any(module.partition(".")[0] in _CTYPES for module in modules):
            yield "ctypes"
        if any(module.partition(".")[0] in _RUNNING_MODULES or module in _RUNNERS for module in modules):
            yield "code"
        if isinstance(node, ast.ImportFrom) and any(i.name.strip("_") in _CARRIED for i in node.names):
            yield "alias"
    elif isinstance(node, ast.Call):
        yield from _call(node, names)
    elif isinstance(node, ast.Subscript):
        if _is_namespace(node.value, names) or _is_unknown_key(node.value, node.slice, names):
            yield "lookup"
    elif isinstance(node, ast.Constant):
        if _text(node) in _OWN_NAMES:
            yield "lookup"
    elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
        yield from _part(node, names)
        yield from _whole(node, parent, names)


def _part(node: ast.Name | ast.Attribute, names: dict[str, str]) -> Iterator[str]:
    """What the last part of a dotted name says, whatever stands in front of it."""
    if isinstance(node, ast.Name):
        if node.id in _OWN_NAMES:
            yield "internals"
        if f"*.{node.id}" in names:
            yield "alias"
    elif node.attr in _INTERNALS:
        yield "internals"
    elif node.attr in _BY_ATTRIBUTE and f".{node.attr}" not in names:
        yield "builtins"


def _whole(node: ast.Name | ast.Attribute, parent: ast.AST, names: dict[str, str]) -> Iterator[str]:
    """What a dotted name stands for."""
    name = qualified(node, names)
    called = isinstance(parent, ast.Call) and parent.func is node
    if name in _RUNNERS:
        yield "code"
    if name.lstrip("_").endswith("sys.modules") and not isinstance(parent, ast.Compare):
        yield "lookup"
    if isinstance(node, ast.Attribute) and (module := qualified(node.value, names)):
        if node.attr == "__dict__" and module in _MODULES:
            yield "lookup"
        if node.attr.strip("_") in _CARRIED:
            yield "alias"
    if (name in _FUNCTIONS or name in _GETATTR) and not called:  # called, it is Bandit's business
        yield "alias"
    if name in _MODULES and not isinstance(parent, ast.Attribute):
        yield "alias"


def _call(node: ast.Call, names: dict[str, str]) -> Iterator[str]:
    name = qualified(node.func, names)
    first = node.args[0] if node.args else None
    if name in ("__import__", "builtins.__import__", "importlib.import_module"):
        if not (isinstance(first, ast.Constant) and str(first.value).partition(".")[0] not in _MODULES):
            yield "import"
    elif name in _GETATTR and len(node.args) > 1:
        if _reaches(node.args[0], node.args[1], names):
            yield "lookup"
    elif name in _LOOKUPS and _text(first).rpartition(".")[2] in _LAST_NAMES | _INTERNALS:
        yield "lookup"
    elif name.startswith("importlib."):
        yield "import"
    elif isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop", "setdefault") and first:
        if _is_unknown_key(node.func.value, first, names):
            yield "lookup"
    elif isinstance(node.func, ast.Attribute) and node.func.attr == "__getattribute__":
        yield "lookup"
    if name.startswith("builtins.") and name in _FUNCTIONS:
        yield "builtins"


def _reaches(target: ast.expr, attribute: ast.expr, names: dict[str, str]) -> bool:
    """Whether getattr(target, attribute) may reach a dangerous function, by its name or its place."""
    text = _text(attribute)
    if text in _LAST_NAMES or text in _INTERNALS:
        return True
    risky = qualified(target, names) in _MODULES or _is_builtins(target) or isinstance(target, ast.Call)
    return risky and (
        not text or (isinstance(target, ast.Call) and qualified(target.func, names) == "__import__")
    )


def _is_namespace(node: ast.expr, names: dict[str, str]) -> bool:
    """A dictionary of a module's or the builtins' names: vars(os), os.__dict__, __builtins__, sys.modules."""
    if isinstance(node, ast.Attribute) and node.attr == "__dict__":
        return qualified(node.value, names) in _MODULES or _is_builtins(node.value)
    if isinstance(node, ast.Call) and qualified(node.func, names) == "vars" and node.args:
        return qualified(node.args[0], names) in _MODULES or _is_builtins(node.args[0])
    return _is_builtins(node) or qualified(node, names) == "sys.modules"


def _is_unknown_key(namespace: ast.expr, key: ast.expr, names: dict[str, str]) -> bool:
    """A name of the program's own is asked for as `globals()["f"]`; what is put together can be any."""
    called = isinstance(namespace, ast.Call) and qualified(namespace.func, names) in _NAMESPACES
    return called and not _text(key)


def _defined(nodes: Sequence[ast.AST]) -> dict[str, str]:
    """What a program calls its own: its variables stand for themselves; a method m for ".m"."""
    own = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    own |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    defined = [n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]
    hidden = own & {"compile", "breakpoint"} | {name for name in defined if name in ("compile", "breakpoint")}
    return {name: f"own.{name}" for name in hidden} | {f".{name}": "" for name in defined}


def _is_builtins(node: ast.expr) -> bool:
    if isinstance(node, ast.Subscript):  # globals()["__builtins__"]
        return _text(node.slice) in ("__builtins__", "builtins")
    return isinstance(node, ast.Name) and node.id == "__builtins__"


def _text(node: ast.AST | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
