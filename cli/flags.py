"""The flags of a command, read off its settings: the short help, and one line for what is wrong with one."""

import ast
import dataclasses
import difflib
import functools
import inspect
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tyro

WIDTH = 100
_FLAG_WIDTH = 34


@dataclasses.dataclass(frozen=True)
class Flag:
    """One setting as a flag."""

    name: str
    """--learning-rate, --objective.alpha"""
    field: str
    """learning_rate, alpha"""
    section: str
    """Where the field is: "" the command itself, "ppo", "objective", "schedule.auto"."""
    doc: str
    default: Any


# What one needs first, by command: group -> flags. The others are in --help-all.
SHORT: Mapping[str, Mapping[str, str]] = {
    "sft": {
        "in and out": "model problems from-samples validation out overwrite resume config",
        "training": "epochs learning-rate batch-size max-tokens tune lora-rank",
        "prompt": "prompt system instruction",
        "machine": "device dtype micro-batch-size threads seed",
    },
    "ppo": {
        "in and out": "sft problems validation prompt reward out overwrite resume init config",
        "size": "iterations prompts-per-iteration samples-per-prompt max-new-tokens temperature stop",
        "training": "learning-rate kl-coef epochs minibatch-size tune lora-rank",
        "reward": "objective.mode objective.withhold schedule.kind",
        "machine": "device dtype micro-batch-size threads seed",
    },
    "evaluate": {
        "in and out": "names seeds suite problems num-problems out config",
        "sampling": "samples temperature greedy max-new-tokens seed",
        "prompt": "prompt system instruction stop",
        "machine": "device dtype batch-size threads",
    },
    "sample": {
        "in and out": "checkpoint problem test config",
        "sampling": "temperature max-new-tokens seed",
        "prompt": "prompt system instruction stop",
        "machine": "device dtype threads",
    },
}


def short_help(section: str, settings: Any, prog: str) -> str:
    """The few flags that one needs, on one screen; "" for a command that has no more than those."""
    if section not in SHORT:
        return ""
    by_name = {flag.name: flag for flag in flags_of(settings)}
    usage = {"ppo": "--sft DIR", "evaluate": "CHECKPOINT ..."}.get(section, "")
    lines = [" ".join(f"usage: {prog} {usage} [flags]".split()), ""]
    lines += textwrap.wrap((type(settings).__doc__ or "").strip(), WIDTH)
    for group, names in SHORT[section].items():
        lines += [f"{group}:", *(_line(by_name[f"--{name}"]) for name in names.split())]
    lines += ["", f"All {len(by_name)} flags, with everything about each: {prog} --help-all"]
    return "\n".join(lines)


def refusal(printed: str, settings: Any, prog: str) -> str:
    """What tyro drew a box around, as one line that names the flag."""
    rows = _boxed(printed)
    rule = next((number for number, row in enumerate(rows) if _is_rule(row)), len(rows))
    message = " ".join(rows[:rule])
    flags = list(flags_of(settings))
    if unknown := re.match(r"Unrecognized options: ([^\s,]+)", message):
        given = unknown[1].split("=")[0]
        close = difflib.get_close_matches(given, [flag.name for flag in flags], n=1)
        hint = f"did you mean {close[0]}?" if close else f"see {prog} --help-all"
        return f"{given}: no such flag; {hint}"
    where, colon, what = message.removeprefix("Error parsing ").partition(": ")
    if not colon or where == message.partition(": ")[0]:
        return message
    if where.startswith("--"):
        kind = next(
            (row.removeprefix(where).strip() for row in rows if row.startswith(f"{where} ")), "a value"
        )
        given = re.search(r"'[^']*'", what)
        return f"{where}: expected {kind}" + (f", not {given[0]}" if given else f"; {what}")
    section = "" if where == type(settings).__name__ else where.replace("-", "_")
    return _with_flags(what, [flag for flag in flags if flag.section == section])


def _boxed(printed: str) -> list[str]:
    """The rows inside a box: one of lines, or in ASCII a title, a rule, and rows set in by two blanks."""
    rows = [row.strip("│ ") for row in printed.splitlines() if not row.startswith(("╭", "╰"))]
    return rows[2:] if len(rows) > 1 and _is_rule(rows[1]) and not printed.startswith("╭") else rows


def _is_rule(row: str) -> bool:
    return len(row) > 2 and set(row) <= {"─", "-"}


def flags_of(settings: Any, prefix: str = "", section: str = "") -> Iterator[Flag]:
    """Every flag of a settings dataclass, those of nested settings too, in their order."""
    docs = _docs(type(settings))  # type: ignore[arg-type]
    hints = typing.get_type_hints(type(settings), include_extras=True)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            inner = f"{section}.{field.name}".lstrip(".")
            dotted = prefix if is_flat(hints[field.name]) else f"{prefix}{field.name}."
            yield from flags_of(value, dotted, inner)
        else:
            name = f"--{prefix}{field.name}".replace("_", "-")
            yield Flag(name, field.name, section, docs.get(field.name, ""), value)


def is_flat(hint: Any) -> bool:
    """Whether the fields of a nested dataclass are flags of their own, without its name in front."""
    return any(mark is tyro.conf.OmitArgPrefixes for mark in getattr(hint, "__metadata__", ()))


def _with_flags(message: str, flags: Sequence[Flag]) -> str:
    """Names of settings in a message, where they are unmistakably meant, as the flags they are."""
    shown = message
    for flag in flags:
        if "_" in flag.field or re.search(rf"^{flag.field}\b|\b{flag.field} \+|\+ {flag.field}\b", message):
            shown = re.sub(rf"(?<![\w.-]){flag.field}\b(?!-)", flag.name, shown)
    return shown


def _line(flag: Flag) -> str:
    """`--flag default   What it is`: its first sentence, as far as the line goes."""
    first = re.split(r"(?<=[.;]) ", " ".join(flag.doc.split()), maxsplit=1)[0].rstrip(".;")
    value = " ".join(map(str, flag.default)) if isinstance(flag.default, tuple) else flag.default
    head = f"  {flag.name} {'' if value is None or value is False else value}".rstrip()
    head = f"{head} ".ljust(_FLAG_WIDTH)  # a long default pushes the sentence on
    return head + textwrap.shorten(first, WIDTH - len(head), placeholder=" …")


@functools.cache
def _docs(kind: type) -> dict[str, str]:
    """The string under each field of a settings dataclass."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[field.target.id] = str(after.value.value)
    return found
