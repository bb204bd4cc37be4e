"""The sources as the tests read them."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def imported_names(path: Path) -> set[str]:
    """First components of everything a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def imported_modules(path: Path) -> set[str]:
    """Dotted names of the modules a file imports: of `from a import b` a.b where that is a file, else a."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            folder = ROOT / node.module.replace(".", "/")
            inner = {alias.name for alias in node.names if (folder / f"{alias.name}.py").is_file()}
            names |= {f"{node.module}.{name}" for name in inner}
            if len(inner) < len(node.names):
                names.add(node.module)
    return names
