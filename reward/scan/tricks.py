"""Dangerous calls that Bandit does not see, found in the syntax tree; a signal of its own, off by default.

Bandit resolves names through imports only. What it misses is reached by another route:

    import     a module named at run time: __import__("os"), importlib.import_module(name)
    lookup     an attribute named at run time: getattr(os, "sys" + "tem"), vars(os)["system"]
    alias      a dangerous function or module as a value: e = eval, map(eval, lines), s = os.system, o = os
    builtins   a dangerous builtin by its module: builtins.eval(x)
    ctypes     machine code through ctypes or cffi
    internals  the interpreter's own objects: ().__class__.__base__.__subclasses__(), f.__globals__

Like Bandit's findings these are facts about style, not about intent, and a determined author gets round them:
it is the sandbox that stops programs. Runs in the scan's process; standard library only.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Sequence

KINDS = ("import", "lookup", "alias", "builtins", "ctypes", "internals")

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
    "__subclasses__ __globals__ __code__ __closure__ __builtins__ __bases__ __mro__ f_globals f_locals "
    "f_back".split()
)
_CTYPES = ("ctypes", "_ctypes", "cffi")


def tricks(nodes: Sequence[ast.AST]) -> list[tuple[int, str]]:
    """(line, kind) of every trick among the nodes of a tree, in order, each once per line."""
    parents = {child: node for node in nodes for child in ast.iter_child_nodes(node)}
    names = imported(nodes)
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
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {item.asname or item.name: f"{node.module}.{item.name}" for item in node.names}
    return names


def qualified(node: ast.AST, names: dict[str, str]) -> str:
    """The dotted name an expression stands for, as far as imports tell; "" where it is no such name."""
    attributes = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    known = names.get(node.id) or (node.id if hasattr(builtins, node.id) else "")
    return ".".join([known, *reversed(attributes)]) if known else ""


def _kinds(node: ast.AST, parent: ast.AST, names: dict[str, str]) -> Iterator[str]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [i.name for i in node.names]
        if any(module.partition(".")[0] in _CTYPES for module in modules):
            yield "ctypes"
    elif isinstance(node, ast.Call):
        yield from _call(node, names)
    elif isinstance(node, ast.Subscript):
        if _is_namespace(node.value, names):
            yield "lookup"
    elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
        if isinstance(node, ast.Attribute) and node.attr in _INTERNALS:
            yield "internals"
        name = qualified(node, names)
        called = isinstance(parent, ast.Call) and parent.func is node
        if name in _FUNCTIONS and not called and not isinstance(parent, ast.Attribute):
            yield "alias"
        if name in _MODULES and not isinstance(parent, ast.Attribute):
            yield "alias"


def _call(node: ast.Call, names: dict[str, str]) -> Iterator[str]:
    name = qualified(node.func, names)
    first = node.args[0] if node.args else None
    if name in ("__import__", "builtins.__import__", "importlib.import_module"):
        if not (isinstance(first, ast.Constant) and str(first.value).partition(".")[0] not in _MODULES):
            yield "import"
    elif name in ("getattr", "builtins.getattr") and len(node.args) > 1:
        if _reaches(node.args[0], node.args[1], names):
            yield "lookup"
    elif name == "operator.attrgetter" and _text(first).rpartition(".")[2] in _LAST_NAMES:
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


def _is_builtins(node: ast.expr) -> bool:
    if isinstance(node, ast.Subscript):  # globals()["__builtins__"]
        return _text(node.slice) in ("__builtins__", "builtins")
    return isinstance(node, ast.Name) and node.id == "__builtins__"


def _text(node: ast.AST | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
