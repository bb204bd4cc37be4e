"""Suites: a public set and how it is measured, under one name; or several evaluations, described in a file.

    evaluate.py RUN --suite humaneval --problems HumanEval.jsonl.gz
    evaluate.py RUN --suite suites.yaml

A suite's settings stand beneath those that are given. Nothing is fetched: --problems names the set as it was
downloaded, which is prepared in memory as `train.py prepare` would (references run in the sandbox), or a file
that prepare has written, which saves that time.

A file has an evaluation under each name: settings of evaluate.py, and `suite`, where one of these is meant.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.console import Console
from cli.errors import UsageError
from cli.prepare import PrepareCommand, prepared
from cli.settings import read_yaml
from data import Problem, load_problems
from data.fields import RowError
from data.formats.base import Format, Unrecorded
from data.formats.known import read_row
from data.formats.source import source_rows
from reward.references import NO_REFERENCE
from sandbox import Limits


@dataclass(frozen=True)
class Suite:
    """One public set, or sets of one kind."""

    file: str
    """What its file is called, and where it is found, for who has not got it."""
    holds: Callable[[Problem], bool]
    """Whether a problem is of it."""
    settings: Mapping[str, Any]
    """How it is measured, unless something else is asked for."""


# As public tables have it: one answer, of the likeliest tokens.
_ONE_ANSWER = {"temperature": 0.0, "samples": 1, "max_new_tokens": 512}

SUITES = {
    "humaneval": Suite(
        "HumanEval.jsonl.gz (github.com/openai/human-eval), or HumanEvalPlus.jsonl.gz (EvalPlus)",
        lambda problem: problem.id.startswith("HumanEval/"),
        _ONE_ANSWER,
    ),
    "mbpp": Suite(
        "mbpp.jsonl (github.com/google-research/google-research, mbpp), or MbppPlus.jsonl.gz (EvalPlus)",
        lambda problem: problem.id.startswith("Mbpp/"),
        _ONE_ANSWER,
    ),
    "security": Suite(
        "dataset.jsonl (SecurityEval), instruct.json (CyberSecEval), data.json (SecCodePLT), or the folder "
        "benchmark (CWEval)",
        lambda problem: problem.cwe is not None,
        _ONE_ANSWER,
    ),
}


def suites_asked(name: str) -> dict[str, dict[str, Any]]:
    """Evaluations by their titles, each as settings that flags and presets win over.

    Raises UsageError: neither a suite nor a file of them, or a file that says something else.
    """
    if name in SUITES:
        return {name: {"problems": "", **SUITES[name].settings, "suite": name}}
    if not Path(name).is_file():
        close = difflib.get_close_matches(name, SUITES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"--suite {name}: neither {', '.join(SUITES)} nor a file of suites{hint}")
    found = {}
    for title, values in read_yaml(Path(name)).items():
        if not isinstance(values, dict) or not isinstance(values.get("problems"), str):
            raise UsageError(f"{name}: {title}: must hold settings of evaluate.py, problems: FILE among them")
        kind = values.get("suite", "")
        if kind and kind not in SUITES:
            raise UsageError(f"{name}: {title}: suite {kind!r} is none of {', '.join(SUITES)}")
        found[str(title)] = {**(SUITES[kind].settings if kind else {}), **values, "suite": kind}
    if not found:
        raise UsageError(f"{name}: holds no suite; write a name, and below it problems: FILE")
    return found


def suite_problems(name: str, source: str, limits: Limits, *, quiet: bool) -> tuple[list[Problem], str]:
    """The problems of a suite, of a file as it was downloaded or prepared; and in words, what else is in it.

    Raises:
        UsageError: no file is named, or it holds something else.
        DataError: it cannot be used.
    """
    suite, path = SUITES[name], Path(source)
    if not source or not path.exists():
        missing = f"{source}: there is no such file;" if source else "which file?"
        raise UsageError(
            f"--suite {name}: {missing} --problems FILE names the set as it was downloaded: {suite.file}"
        )
    first, form = _first(path)
    if first is None or not suite.holds(first):
        which = "no set that is known" if form is None else f"{form.name}, another set"
        raise UsageError(f"--suite {name}: {source} is {which}; --problems FILE names {suite.file}")
    if form is not None and form.as_it_is:
        problems, told = load_problems(path, untested=True), ""
    else:
        problems, told = _prepared(path, limits, quiet=quiet)
    if strange := [problem.id for problem in problems if not suite.holds(problem)]:
        raise UsageError(f"--suite {name}: {source}: problem {strange[0]!r} is of another; take it out")
    return problems, told


def _first(path: Path) -> tuple[Problem | None, Format | None]:
    """The first problem of a file, whatever form it has: rows that are of no use are passed over."""
    for row in source_rows(path):
        try:
            read, form = read_row(row.row, "1")
        except RowError:
            continue
        return read.problem if isinstance(read, Unrecorded) else read, form
    return None, None


def _prepared(path: Path, limits: Limits, *, quiet: bool) -> tuple[list[Problem], str]:
    """What `train.py prepare` makes of the held-out part of a set, with all of its tests."""
    settings = PrepareCommand(source=path, max_tests=0, limits=limits)
    with Console("prepare", total=4, quiet=quiet) as console:
        read, checked, kept = prepared(path, settings, console, splits=("heldout",))
    causes = read.left_out + Counter(
        one.failure for one in checked if one.failure not in (None, NO_REFERENCE)
    )
    parts = [f"{causes.total()} of {read.rows} rows left out ({_counts(causes)})"] if causes else []
    if read.untested:
        parts.append(f"{read.untested.total()} problems without tests ({_counts(read.untested)})")
    return kept, f"{path}: {'; '.join(parts)}" if parts else ""


def _counts(causes: Counter[str]) -> str:
    return ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
