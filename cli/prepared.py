"""What `train.py prepare` leaves behind: the files, a report as JSON, and its summary for a person."""

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.other_trainers import Trainer, path_for, write_for
from data import DataError, Problem, write_problems
from data.files import write_atomically
from data.formats.base import Format
from reward.references import Checked

_CHUNK = 1 << 20  # bytes hashed at a time
_PATHS = {"source", "out", "config", "overwrite"}  # settings that are not of the result
SPLIT_FILES = (
    "heldout",
    "validation",
    "prompt",
)  # each has one of its own; prompt: a set's few-shot examples


def paths(out: Path) -> dict[str, Path]:
    """The files by what is in them: problems of a split, the others (`train`), and the report."""
    files = {split: out.with_name(f"{out.stem}.{split}.jsonl") for split in SPLIT_FILES}
    return {"train": out, **files, "report": out.with_name(f"{out.stem}.prepare.json")}


@dataclass
class Reading:
    """What reading found."""

    problems: list[Problem] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """Of each cause, the first row and what was wrong."""
    forms: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Rows of each form and licence."""
    rows: int = 0
    checks: dict[str, str] = field(default_factory=dict)
    """By problem id: of those that have no tests yet, what calls their reference."""
    untested: Counter[str] = field(default_factory=Counter)
    """Tasks that measure security and stay without tests, by the cause."""
    large_tests: int = 0
    """Tests left out because they are over the limits."""

    def form(self, form: Format, where: str) -> None:
        """Count one row of a form. DataError if an earlier row was of another."""
        first = next(iter(self.forms), (form.name, ""))[0]
        if first != form.name:
            raise DataError(
                f"{where}: a row of {form.name}, after rows of {first}; prepare one set at a time"
            )
        self.forms[form.name, form.licence] += 1

    def leave_out(self, cause: str, where: str, reason: str) -> None:
        """Count one row that is no problem."""
        self.left_out[cause] += 1
        self.examples.setdefault(cause, f"{where}: {reason}")


def report_of(
    source: Path,
    settings: dict[str, Any],
    read: Reading,
    checked: Sequence[Checked],
    kept: Sequence[Problem],
) -> dict[str, Any]:
    """What was done, as plain values: the same source and settings give the same report."""
    failures = Counter(failure for _, failure, _ in checked if failure)
    return {
        "source": str(source),
        "source_sha256": _hash(source),
        "forms": [
            {"name": name, "licence": licence, "rows": count} for (name, licence), count in read.forms.items()
        ],
        "rows": read.rows,
        "left_out": dict(read.left_out.most_common()),
        "first_left_out": read.examples,
        "without_tests": dict(read.untested.most_common()),
        "references": {
            "passed": sum(f is None for _, f, _ in checked),
            "failed": dict(failures.most_common()),
        },
        "failed_problems": {
            cause: {problem.id: detail for problem, failure, detail in checked if failure == cause}
            for cause in failures
        },
        "written": dict(Counter(problem.split for problem in kept)),
        "tests": _spread([len(problem.tests) for problem in kept]),
        "large_tests_left_out": read.large_tests,
        "public_tests": sum(test.public for problem in kept for test in problem.tests),
        "settings": {name: value for name, value in settings.items() if name not in _PATHS},
    }


def _spread(counts: Sequence[int]) -> dict[str, float]:
    return {
        "all": sum(counts),
        "least": min(counts),
        "median": statistics.median(counts),
        "most": max(counts),
    }


def _tests(report: dict[str, Any]) -> str:
    tests, untested = report["tests"], report["without_tests"]
    if not tests["all"]:
        return "none: whether programs are clean can be measured, and nothing be trained"
    told = f"{tests['all']}: {tests['least']} to {tests['most']} a problem, median {tests['median']:g}"
    causes = ", ".join(f"{count} {cause}" for cause, count in untested.items())
    return f"{told}; {sum(untested.values())} problems have none ({causes})" if untested else told


def _hash(source: Path) -> str:
    """SHA-256 of a file, or of a folder: of its files' paths and hashes."""
    if source.is_dir():
        files = [path for path in sorted(source.rglob("*")) if path.is_file()]
        lines = "".join(f"{_hash(path)}  {path.relative_to(source)}\n" for path in files)
        return hashlib.sha256(lines.encode()).hexdigest()
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write(
    outs: dict[str, Path], kept: Sequence[Problem], report: dict[str, Any], trainers: Sequence[Trainer] = ()
) -> None:
    """Write the problems, a file for each split and for each of the other trainers beside it, and the report,
    to which the files' hashes are added."""
    report["files"] = {}
    for name in ("train", *SPLIT_FILES):
        problems = [p for p in kept if (p.split if p.split in SPLIT_FILES else "train") == name]
        files = {path_for(trainer, outs[name]): trainer for trainer in trainers}
        if problems:
            write_problems(outs[name], problems)
            for path, trainer in files.items():
                write_for(trainer, path, problems)
        for path in (outs[name], *files):
            if problems:
                report["files"][path.name] = {"problems": len(problems), "sha256": _hash(path)}
            else:
                path.unlink(missing_ok=True)  # of an earlier time: it would seem to belong to this
    write_atomically(outs["report"], (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())


def summary(outs: dict[str, Path], report: dict[str, Any]) -> Iterator[str]:
    """The report for a person, on one screen."""
    forms = ", ".join(f"{form['rows']} {form['name']} ({form['licence']})" for form in report["forms"])
    yield f"{report['source']}: {report['rows']} rows; {forms}"
    if left_out := report["left_out"]:
        yield "left out    " + " · ".join(f"{count} {cause}" for cause, count in left_out.items())
        for cause in left_out:
            if cause in report["first_left_out"]:
                yield f"            {cause}, the first: {report['first_left_out'][cause]}"
    failed = report["references"]["failed"]
    yield f"references  {report['references']['passed']} problems have one that passes" + "".join(
        f" · {count} {cause}" for cause, count in failed.items()
    )
    yield f"tests       {_tests(report)}"
    for name, file in report["files"].items():
        yield f"written     {file['problems']:>6} problems  {outs['train'].with_name(name)}"
    if outs["train"].name not in report["files"]:
        yield f"            {outs['train'].name} is not written: all of this set is for measuring"
    yield f"            what was done, with hashes and licences: {outs['report']}"
