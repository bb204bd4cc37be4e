"""Presets and flags: a YAML file fills the settings dataclass of a command, flags win over it.

A preset has one section per command, and the keys of a section are the command's flags:

    ppo:
      iterations: 32
      objective: {alpha: 0.6}      # --objective.alpha 0.6
"""

import contextlib
import dataclasses
import difflib
import io
import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro
import yaml
from pydantic import TypeAdapter, ValidationError

from cli.errors import UsageError
from cli.flags import is_flat, refusal, short_help

SECTIONS = ("sft", "ppo", "evaluate", "demo", "study", "sample", "prepare", "plan")

T = TypeVar("T")

_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def parse(
    section: str,
    kind: type[T],
    argv: Sequence[str],
    *,
    prog: str,
    start: T | None = None,
    beneath: Mapping[str, Any] | None = None,
) -> T:
    """Settings from `argv`, which win over `start`, or over the preset that `--config FILE` names.

    `beneath`: plain values that preset and flags win over. `--help` prints the few flags one needs,
    `--help-all` all of them.

    Raises:
        UsageError: a flag is wrong; or the preset is missing, malformed, has an unknown key or a value of
            another type.
        SystemExit: help was asked for (status 0).
    """
    preset = flag(argv, "config")
    default = start or load_preset(Path(preset) if preset else None, section, kind, beneath)
    if ("--help" in argv or "-h" in argv) and (text := short_help(section, default, prog)):
        print(text)
        raise SystemExit(0)
    args = ["--help" if argument == "--help-all" else argument for argument in argv]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, prog=prog, args=args, default=default, description=kind.__doc__)
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
        raise UsageError(refusal(said.getvalue(), default, prog)) from None


def load_preset(
    path: Path | None, section: str, kind: type[T], beneath: Mapping[str, Any] | None = None
) -> T:
    """The settings that one section of a preset describes; what it leaves out is as in `beneath`, or default.

    Without a preset: those of `beneath`.
    """
    content = {} if path is None else read_yaml(path)
    if unknown := [key for key in content if key not in SECTIONS]:
        raise UsageError(f"{path}: unknown section {unknown[0]!r}; the sections are {', '.join(SECTIONS)}")
    values = content.get(section) or {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: section {section} must hold keys and values")
    return build(kind, _over(values, beneath or {}), f"{path or 'settings'}: {section}")


def sections(path: Path) -> list[str]:
    """The sections that a preset has. Raises UsageError where it cannot be read."""
    return list(read_yaml(path))


def build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """A settings dataclass from plain values, every type checked. Raises UsageError, naming the key."""
    nested = _nest(kind, values, where)
    try:
        # JSON's strict mode is what a preset needs: "1e-6" is no number, 3 is a float too, a list is a tuple.
        return _adapter(kind).validate_json(json.dumps(nested, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        flat = {f.name for f in dataclasses.fields(kind) if _is_flat(kind, f.name)}  # type: ignore[arg-type]
        key = ".".join(str(part) for part in first["loc"] if part not in flat)
        hint = ""
        if first["type"] == "float_type" and _is_number(first["input"]):
            hint = f" (YAML reads {first['input']} as text: write it with a point, 1.0e-6)"
        shown = "" if first["type"] == "value_error" else f", not {first['input']!r}"
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{where}{'.' + key if key else ''}: {message}{shown}{hint}") from error


def _adapter(kind: type) -> TypeAdapter[Any]:
    """Kept: to build one takes longer than all that is done with it."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def dump(settings: Any, section: str) -> str:
    """The settings as a preset that gives them back."""
    return yaml.safe_dump({section: plain(settings)}, sort_keys=False)


def plain(settings: Any) -> dict[str, Any]:
    """The settings as plain values under the keys of a preset."""
    values = _adapter(type(settings)).dump_python(settings, mode="json")
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(value if _is_flat(type(settings), name) else {name: value})
    return flat


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted keys: objective.alpha."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return found


def _over(values: Mapping[str, Any], beneath: Mapping[str, Any]) -> dict[str, Any]:
    """Both together; where both have a key, that of `values`, and sections key by key."""
    merged = {**beneath, **values}
    for key in beneath.keys() & values.keys():
        if isinstance(beneath[key], Mapping) and isinstance(values[key], Mapping):
            merged[key] = _over(values[key], beneath[key])
    return merged


def _nest(kind: Any, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Flat keys under the fields that they belong to; unknown ones are errors."""
    home: dict[str, tuple[str, ...]] = {}
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if _is_flat(kind, field.name):
            home |= {inner.name: (field.name,) for inner in dataclasses.fields(hints[field.name])}
        else:
            home[field.name] = ()
    nested: dict[str, Any] = {}
    for key, value in values.items():
        if key not in home:
            close = difflib.get_close_matches(str(key), home, n=1)
            raise UsageError(
                f"{where}: unknown key {key!r}" + (f"; did you mean {close[0]}?" if close else "")
            )
        if dataclasses.is_dataclass(hints.get(key)) and not home[key]:
            if not isinstance(value, dict):
                raise UsageError(f"{where}.{key}: must hold keys and values, not {value!r}")
            value = _nest(hints[key], value, f"{where}.{key}")
        target = nested.setdefault(home[key][0], {}) if home[key] else nested
        target[key] = value
    return nested


def _is_flat(kind: Any, name: str) -> bool:
    return is_flat(typing.get_type_hints(kind, include_extras=True)[name])


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a file. Raises UsageError where it is missing, or holds something else."""
    if not path.is_file():
        raise UsageError(f"{path}: no such preset")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{line}: not YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: a preset holds sections ({', '.join(SECTIONS)})")
    return content


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def flag(argv: Sequence[str], name: str) -> str | None:
    """The value of one flag, before the rest is parsed."""
    for number, argument in enumerate(argv):
        if argument == f"--{name}" and number + 1 < len(argv):
            return argv[number + 1]
        if argument.startswith(f"--{name}="):
            return argument.split("=", 1)[1]
    return None
