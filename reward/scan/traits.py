"""What a program's source says that the sentinels need to know: facts, no judgement (sentinels.py judges).

Runs in the scan's process; standard library only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from reward.scan.tricks import imported, qualified

MAX_TEXT = 16 * 1024  # characters of literals per program: thousands of scans are kept

_HUGE = 10**4000  # str() of more digits is an error
_EXITS = frozenset({"exit", "quit", "sys.exit", "os._exit", "os.abort", "os.kill", "posix._exit"})
_HOOKS = frozenset({"sys.excepthook", "sys.unraisablehook", "threading.excepthook"})
_MODULES = frozenset({"gc", "inspect", "ctypes", "_ctypes", "glob", "tracemalloc", "socket"})
_OPENERS = frozenset("open io.open os.open pathlib.Path pathlib.PosixPath pathlib.PurePath".split())
_CALLS = frozenset(
    "sys._getframe sys.settrace sys.setprofile sys._current_frames os.getppid os.listdir os.scandir os.walk "
    "os.popen os.system os.getenv os.ptrace os.pidfd_open pathlib.Path.cwd pathlib.Path.home".split()
)
_NAMES = frozenset({"sys.modules", "os.environ", "os.environb", "__file__"})
_ATTRIBUTES = frozenset(
    "__subclasses__ __globals__ __closure__ __code__ f_globals f_locals f_back gi_frame tb_frame".split()
)
# What people's own test set-ups read: `if os.environ.get("LOCAL")`, `sys.stdin = open("input.txt")`.
_HABITS = frozenset({"LOCAL", "DEBUG", "ONLINE_JUDGE", "HOME", "USER", "OUTPUT_PATH"})
_READING = frozenset("stdin read fileinput input pread readv readinto mmap read_text read_bytes".split())
_STDIN_FILES = frozenset({"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})


def traits(tree: ast.Module, nodes: Sequence[ast.AST]) -> dict[str, Any]:
    """Of a tree and all of its nodes, as JSON:

    literals      constants as text: what could be printed without being computed; of docstrings, which tell
                  examples, only where `__doc__` is read
    keys          of these, the ones compared with, looked up or contained: what could recognise an input
    uses_input    does something with what it reads, other than to drop it
    leaves_early  ends before statements that follow, or takes over how an error ends it
    introspects   names through which a program can look at its surroundings rather than at its input
    """
    names = imported(nodes)
    return {
        "literals": _bounded(set(_literals(nodes))),
        "keys": _bounded(set(_keys(nodes))),
        "uses_input": _uses_input(nodes),
        "leaves_early": _leaves_early(tree.body, names) or _hooks_the_end(nodes, names),
        "introspects": sorted(set(_introspects(nodes, names))),
    }


def _bounded(texts: set[str]) -> list[str]:
    """The shortest ones, up to MAX_TEXT characters in all, in a fixed order."""
    kept, room = [], MAX_TEXT
    for text in sorted(texts, key=lambda text: (len(text), text)):
        room -= len(text) + 1
        if room < 0:
            break
        kept.append(text)
    return kept


def _literals(nodes: Sequence[ast.AST]) -> Iterator[str]:
    reads = any("__doc__" in (getattr(node, "attr", ""), getattr(node, "id", "")) for node in nodes)
    idle = set() if reads else {node.value for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if node in idle:
            continue
        if (text := _constant(node)) is not None:
            yield text


def _constant(node: ast.AST) -> str | None:
    """A literal as print() would write it; -1 is two nodes and one literal."""
    if (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
    ):
        inner = _constant(node.operand)
        return None if inner is None else f"-{inner}"
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool) or node.value in (None, ...):
        return None
    value = node.value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, int) and abs(value) >= _HUGE:
        return None
    return str(value)


def _keys(nodes: Sequence[ast.AST]) -> Iterator[str]:
    for node in nodes:
        holders: list[ast.AST | None] = []
        if isinstance(node, ast.Compare):
            holders = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            holders = list(node.keys)
        elif isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            holders = list(node.elts)
        elif isinstance(node, ast.MatchValue):
            holders = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            holders = list(node.args)  # text.startswith("3 4"), "1|2".split("|")
            holders.append(node.func.value)
        for holder in holders:
            if holder is not None and (text := _constant(holder)) is not None:
                yield text


def _uses_input(nodes: Sequence[ast.AST]) -> bool:
    loaded = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    dropped = set()
    for node in nodes:
        if isinstance(node, ast.Assign):
            names = {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
            if names.isdisjoint(loaded):
                dropped |= set(ast.walk(node.value))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _reads(node.value.func):
            dropped |= set(ast.walk(node.value))
    return any(_reads(node) and node not in dropped for node in nodes)


def _reads(node: ast.AST) -> bool:
    """The names by which programs reach their input."""
    if isinstance(node, ast.Name):
        return node.id in ("input", "open", "stdin") and isinstance(node.ctx, ast.Load)
    return isinstance(node, ast.Attribute) and node.attr in _READING


def _leaves_early(body: list[ast.stmt], names: dict[str, str]) -> bool:
    """Whether the module ends unconditionally before statements that would still do something.

    A call of a function whose first statements end the program counts, too.
    """
    leaving = {
        node.name
        for node in body
        if isinstance(node, ast.FunctionDef) and node.body and _leaves(node.body[0], names, set())
    }
    for position, statement in enumerate(body):
        if _leaves(statement, names, leaving):
            used = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            return any(not _is_inert(later) for later in body[position + 1 :]) or not leaving.isdisjoint(used)
    return False


def _leaves(statement: ast.stmt, names: dict[str, str], leaving: set[str]) -> bool:
    if isinstance(statement, ast.Raise) and statement.exc is not None:
        call = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        return qualified(call, names) == "SystemExit"
    if isinstance(statement, (ast.If, ast.With)) and statement.body:
        always = isinstance(statement, ast.With) or _is_true(statement.test)
        return always and any(_leaves(inner, names, leaving) for inner in statement.body)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value.func
        return qualified(call, names) in _EXITS or (isinstance(call, ast.Name) and call.id in leaving)
    return False


def _is_true(test: ast.expr) -> bool:
    return isinstance(test, ast.Constant) and bool(test.value)


def _is_inert(statement: ast.stmt) -> bool:
    """Definitions, imports and strings after an exit are habits of layout, not work that is skipped."""
    inert = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Pass)
    return isinstance(statement, inert) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _hooks_the_end(nodes: Sequence[ast.AST], names: dict[str, str]) -> bool:
    """sys.excepthook = ..., atexit.register(os._exit, 0): a crash would then end with status 0."""
    registered: set[ast.AST] = set()  # and what is within; `nodes` has parents before children
    for node in nodes:
        if isinstance(node, ast.Assign) and any(qualified(t, names) in _HOOKS for t in node.targets):
            return True
        if node in registered:
            if qualified(node, names) in _EXITS:
                return True
            registered.update(ast.iter_child_nodes(node))
        if isinstance(node, ast.Call) and qualified(node.func, names) == "atexit.register":
            registered.update(node.args)
    return False


def _introspects(nodes: Sequence[ast.AST], names: dict[str, str]) -> Iterator[str]:
    excused = {use for node in nodes for use in (*_habitual(node), *_redirections(node, names))}
    for node in nodes:
        if isinstance(node, ast.Call):
            name = qualified(node.func, names)
            if name in _CALLS and not (name == "os.getenv" and _is_habit(node.args[:1])):
                yield name
            if name in _OPENERS and not (node in excused or _is_own_file(node)):
                yield "open"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [i.name for i in node.names]
            )
            yield from (module for module in modules if module.partition(".")[0] in _MODULES)
        elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Load):
            if isinstance(node, ast.Attribute) and node.attr in _ATTRIBUTES:
                yield node.attr
            name = (
                "__file__" if isinstance(node, ast.Name) and node.id == "__file__" else qualified(node, names)
            )
            if name in _NAMES and node not in excused:
                yield name


def _habitual(node: ast.AST) -> list[ast.expr]:
    """What is asked for a habit: os.environ in `"LOCAL" in os.environ` or `os.environ.get("LOCAL")`."""
    if isinstance(node, ast.Compare) and _is_habit([node.left]):
        return node.comparators
    if isinstance(node, ast.Subscript) and _is_habit([node.slice]):
        return [node.value]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_habit(node.args[:1]):
        return [node.func.value]
    return []


def _redirections(node: ast.AST, names: dict[str, str]) -> list[ast.expr]:
    """The call in `sys.stdin = open("input" + number + ".txt")`, for a file of the working directory."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
        return []
    to_stream = all(qualified(target, names) in ("sys.stdin", "sys.stdout") for target in node.targets)
    elsewhere = any("/" in (_constant(part) or "") for part in ast.walk(node.value))
    return [node.value] if to_stream and not elsewhere else []


def _is_habit(asked: list[ast.expr]) -> bool:
    return any(isinstance(node, ast.Constant) and node.value in _HABITS for node in asked)


def _is_own_file(call: ast.Call) -> bool:
    """Descriptors, standard input by its path, files opened to write, and contest files by a plain name."""
    modes = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "mode")]
    if any(isinstance(mode, ast.Constant) and str(mode.value)[:1] in "wax" for mode in modes):
        return True
    path = call.args[0] if call.args else None
    if not isinstance(path, ast.Constant):
        return False
    if isinstance(path.value, int):
        return True
    text = str(path.value)
    return text in _STDIN_FILES or ("/" not in text and text.endswith((".txt", ".in", ".out")))
