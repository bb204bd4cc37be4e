"""The imports that LeetCode makes for every program: code written for it counts on them."""

import ast
import warnings

_NAMES = {
    "typing": "Any Callable DefaultDict Deque Dict FrozenSet Iterable Iterator List Optional Set Tuple Union",
    "collections": "Counter OrderedDict defaultdict deque namedtuple",
    "functools": "cache cmp_to_key lru_cache reduce",
    "itertools": "accumulate chain combinations groupby pairwise permutations product zip_longest",
    "heapq": "heapify heappop heappush heappushpop heapreplace nlargest nsmallest",
    "bisect": "bisect bisect_left bisect_right insort",
    "math": "ceil comb factorial floor gcd inf isqrt lcm log log2 sqrt",
    "string": "ascii_lowercase ascii_uppercase",
}
_MODULES = {*_NAMES, "operator", "random", "re", "sys"} - {"typing"}


def with_imports(code: str) -> str:
    """The code, behind the imports that it lacks; as it is if it lacks none or is no Python.

    The last head of a stub may be without a body.
    """
    tree = _tree(code) or _tree(f"{code} pass") or _tree(f"{code}pass")
    if tree is None:
        return code
    nodes = list(ast.walk(tree))
    known = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    known |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    known |= {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            known |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            if any(alias.name == "*" for alias in node.names):
                known |= set(_NAMES.get(getattr(node, "module", None) or "", "").split())
    used = {node.id for node in nodes if isinstance(node, ast.Name)} - known
    behind = {
        node.value.id
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    lines = [f"import {module}" for module in sorted(used & behind & _MODULES)]
    for module, names in _NAMES.items():
        if lacking := [name for name in names.split() if name in used and f"import {name}" not in lines]:
            lines.append(f"from {module} import {', '.join(lacking)}")
    return "".join(f"{line}\n" for line in lines) + ("\n" if lines else "") + code


def _tree(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
