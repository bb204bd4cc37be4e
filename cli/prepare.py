"""`train.py prepare`: a public data set in, a checked file of problems out.

1 read     every row by the form it has; what cannot be a problem here is left out, and counted by cause
2 choose   one copy of each text, nothing held out in training, at most so many tests
3 record   where a set has asserts: the calls they make of the reference, in the sandbox, are the tests
4 check    every reference solution in the sandbox: what fails its own tests is left out, or tagged
5 write    the problems, one file for each split, and what was done as JSON
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from cli.console import Console
from cli.errors import UsageError
from cli.other_trainers import Trainer, path_for
from cli.prepared import SPLIT_FILES, Reading, paths, report_of, summary, write
from cli.settings import plain
from data import DataError, Problem, load_problems
from data.fields import RowError
from data.formats.base import Unrecorded
from data.formats.known import read_row
from data.formats.source import SPLITS, Row, source_rows
from data.forms import NO_RESULT, with_result
from data.selection import (
    text_hash,
    with_max_tests,
    with_public,
    with_split,
    without_copies,
    without_large_tests,
)
from models.ranges import Count, NotNegativeInt, Seed, Share, check_ranges
from reward import RewardConfig, RewardError, Scorer
from reward.compare import parse_policy
from reward.contradictions import contradiction
from reward.recording import record, recording_limits
from reward.references import NO_REFERENCE, Checked, check_references
from sandbox import Limits, Sandbox

COPY, OVERLAP, CONTRADICTORY, MALFORMED, ID_TWICE, TOO_LARGE = (
    "copy of another text",
    "held out, and in training too",
    "contradictory tests",
    "malformed row",
    "id used twice",
    "tests over the limits",
)
_TEXT = 60  # characters of a prompt in a message
_NO_TESTS_HERE = "no tests that can be run here"
UNVERIFIED = "unverified"  # the split of problems that are kept though their reference fails


@dataclass(frozen=True)
class PrepareCommand:
    """Make checked files of problems of a public data set: APPS, TACO, CodeContests, MBPP and others."""

    source: Annotated[Path | None, tyro.conf.Positional] = None
    """A file (JSON, JSON lines, either gzipped, Parquet), a folder of them, or a folder of APPS tasks."""
    out: Path = Path("problems.jsonl")
    """The file of problems; those held out go to OUT.heldout.jsonl, those for choosing settings to
    OUT.validation.jsonl, what was done to OUT.prepare.json."""
    config: Path | None = None
    """YAML preset; flags win over it."""
    overwrite: bool = False
    """Replace files that are there."""
    limit: NotNegativeInt = 0
    """Stop after so many rows; 0 reads all."""
    max_tests: NotNegativeInt = 15
    """Tests kept of a problem: those its text shows first, the rest drawn; 0 keeps all."""
    max_input_kb: Count = 4096
    """Tests with a longer input are left out; those with an output over limits.output_kb are, too."""
    max_solutions: Count = 3
    """Reference programs of a problem that are run, and kept if they pass."""
    heldout: Share = 0.0
    """Share of problems held out, by text and seed, where the source holds out none itself."""
    against: tuple[Path, ...] = ()
    """Files of problems that are held out elsewhere: what has the text of one of them is left out."""
    compare: str = "lines"
    """How outputs are compared where the source does not say: lines, exact, tokens or float(1e-6, 1e-6)."""
    failed: Literal["drop", "tag"] = "drop"
    """Problems whose references fail: left out, or kept with the split `unverified`."""
    unreferenced: Literal["keep", "drop"] = "keep"
    """Problems without a reference, whose tests nobody has checked."""
    malformed: Literal["stop", "drop"] = "stop"
    """Rows with a defect, such as fewer outputs than inputs: an error, or left out and counted."""
    to: tuple[Trainer, ...] = ()
    """Write the problems as the data of other trainers, too (reward/adapters/): OUT.trl.jsonl and so on."""
    seed: Seed = 1
    """Of the tests drawn and the problems held out."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_ranges(self)


class Prepared(NamedTuple):
    """What a source comes to."""

    read: Reading
    checked: list[Checked]
    kept: list[Problem]
    """Of all splits."""


def run_prepare(settings: PrepareCommand) -> None:
    """Read, choose, check, write. Raises one of cli.errors.USER_ERRORS, before time is spent if it can."""
    source, outs = _checked_paths(settings)
    with Console("prepare", total=5) as console:
        read, checked, kept = prepared(source, settings, console)
        report = report_of(source, plain(settings), read, checked, kept)
        write(outs, kept, report, settings.to)
        for line in summary(outs, report):
            console.say(line)
        console.step(5)


def prepared(
    source: Path,
    settings: PrepareCommand,
    console: Console,
    splits: Collection[str] = (*SPLIT_FILES, "train"),
) -> Prepared:
    """Read, choose, record, check: the first four steps, of the problems of some splits. DataError where
    nothing is left."""
    against = [problem for path in settings.against for problem in load_problems(path, untested=True)]
    console.phase("rows", 0)
    read = _read(source, settings, console)
    console.step(1)
    wanted = (problem for problem in _with_splits(read.problems, settings) if problem.split in splits)
    problems, copies, overlap = without_copies(wanted, {text_hash(problem.prompt) for problem in against})
    for cause, found in ((COPY, copies), (OVERLAP, overlap)):
        for problem in found:
            read.leave_out(cause, f"problem {problem.id!r}", f"{problem.prompt.strip()[:_TEXT]!r}")
    console.step(2)
    problems, unrecorded = _with_recorded_tests(problems, settings, read, console)
    console.step(3)
    console.phase("references", len(problems))
    with Scorer(RewardConfig(withhold=()), limits=settings.limits, look=False) as scorer:
        checked = check_references(scorer, problems, settings.max_solutions, console.advance)
    checked = [*unrecorded, *(_measurable(one, read) for one in checked)]
    console.step(4)
    kept = list(_kept(checked, settings))
    if not kept:
        raise DataError(f"{source}: nothing is left of {read.rows} rows: {told(read, checked)}")
    return Prepared(read, checked, kept)


def _checked_paths(settings: PrepareCommand) -> tuple[Path, dict[str, Path]]:
    if settings.source is None:
        raise UsageError("name the data set: train.py prepare SOURCE --out problems.jsonl")
    if not settings.source.exists():
        raise UsageError(f"{settings.source}: there is no such file or folder; check the path")
    try:
        parse_policy(settings.compare)
    except RewardError as error:
        raise UsageError(f"--compare: {error}") from error
    out = settings.out
    outs = paths(out)
    source = settings.source.resolve()
    if any(path.resolve() == source or source in path.resolve().parents for path in outs.values()):
        raise UsageError(f"{out}: it would be written over or into the source; name another --out")
    beside = [path_for(to, outs[split]) for to in settings.to for split in ("train", *SPLIT_FILES)]
    there = [path for path in (*outs.values(), *beside) if path.exists()]
    if there and not settings.overwrite:
        raise UsageError(f"{there[0]} is there already; name another --out, or --overwrite it")
    out.parent.mkdir(parents=True, exist_ok=True)  # before the work that it is to hold
    return settings.source, outs


# --- reading ---


def _read(source: Path, settings: PrepareCommand, console: Console) -> Reading:
    """Every row as a problem, or counted by the cause why it is none."""
    read = Reading()
    ids: set[str] = set()
    for row in source_rows(source):
        if settings.limit and read.rows == settings.limit:
            break
        read.rows += 1
        console.advance(read.rows)
        drafted = _drafted(row, settings, read)
        if drafted is None:
            continue
        problem, checks = drafted
        if problem.id in ids:
            read.leave_out(ID_TWICE, row.where, f"id {problem.id!r}")
            continue
        ids.add(problem.id)
        read.problems.append(problem)
        if checks is not None:
            read.checks[problem.id] = checks
    return read


def _drafted(row: Row, settings: PrepareCommand, read: Reading) -> tuple[Problem, str | None] | None:
    """(problem, the checks that its tests will come from, if it has none yet); None, and counted, if none."""
    try:
        problem, form = read_row(row.row, str(read.rows))
    except RowError as error:
        if error.skippable is None and settings.malformed == "stop":
            advice = "or leave such rows out with --malformed drop"
            raise DataError(f"{row.where}: {error} ({advice})") from None
        read.leave_out(error.skippable or MALFORMED, row.where, str(error))
        return None
    read.form(form, row.where)
    if not isinstance(problem, Unrecorded) and not problem.tests:
        read.untested[_NO_TESTS_HERE] += 1
    if isinstance(problem, Unrecorded):
        return replace(problem.problem, split=problem.problem.split or row.split), problem.checks
    if problem.compare == "lines" and settings.compare != "lines":
        problem = replace(problem, compare=settings.compare)
    chosen = _with_chosen_tests(problem, row.where, settings, read)
    return None if chosen is None else (replace(chosen, split=chosen.split or row.split), None)


def _with_chosen_tests(
    problem: Problem, where: str, settings: PrepareCommand, read: Reading
) -> Problem | None:
    """The problem with those of its tests that are kept; None, and counted, if it is of no use."""
    if reason := contradiction(problem):
        read.leave_out(CONTRADICTORY, where, f"problem {problem.id!r}: {reason}")
        return None
    fitting = without_large_tests(problem, settings.max_input_kb << 10, settings.limits.output_kb << 10)
    read.large_tests += len(problem.tests) - len(fitting.tests)
    if problem.tests and not fitting.tests:
        read.leave_out(TOO_LARGE, where, f"problem {problem.id!r}: every test is over the limits")
        return None
    chosen = with_max_tests(with_public(fitting), settings.max_tests, settings.seed)
    try:
        return with_result(chosen)
    except RowError as error:  # of those that are left no test expects anything
        read.leave_out(NO_RESULT, where, f"problem {problem.id!r}: {error}")
        return None


def _with_splits(problems: Sequence[Problem], settings: PrepareCommand) -> list[Problem]:
    """Every problem has a split, by the names used here: as the source says, else drawn."""
    named = [replace(p, split=SPLITS.get(p.split or "", p.split)) for p in problems]
    if any(problem.split in SPLIT_FILES for problem in named):
        return [replace(p, split=p.split if p.split in SPLIT_FILES else "train") for p in named]
    return [with_split(problem, settings.heldout, settings.seed) for problem in problems]


# --- recording ---


def _with_recorded_tests(
    problems: Sequence[Problem], settings: PrepareCommand, read: Reading, console: Console
) -> tuple[list[Problem], list[Checked]]:
    """(problems with tests, those that got none). A task that measures security stays without tests: whether
    programs are clean can be said all the same."""
    tasks = [Unrecorded(p, read.checks[p.id]) for p in problems if p.id in read.checks]
    ready = [problem for problem in problems if problem.id not in read.checks]
    if not tasks:
        return ready, []
    console.phase("recording", len(tasks))
    with Sandbox(recording_limits(settings.limits)) as box:
        recorded = record(box, tasks, settings.max_solutions, console.advance)
    for problem, failure, _ in recorded:
        if failure is None:
            chosen = _with_chosen_tests(problem, f"problem {problem.id!r}", settings, read)
            ready += [chosen] if chosen else []
        elif problem.cwe is not None:
            read.untested[failure] += 1
            ready.append(replace(problem, solutions=()))  # nothing says that they are right
    return ready, [each for each in recorded if each.failure is not None and each.problem.cwe is None]


def _measurable(one: Checked, read: Reading) -> Checked:
    """A task that measures security and whose reference fails here is one without tests."""
    if one.failure in (None, NO_REFERENCE) or one.problem.cwe is None:
        return one
    read.untested[one.failure] += 1
    return Checked(replace(one.problem, tests=(), solutions=()), NO_REFERENCE)


# --- what is kept ---


def _kept(checked: Sequence[Checked], settings: PrepareCommand) -> Iterator[Problem]:
    for problem, failure, _ in checked:
        if failure is None or (failure == NO_REFERENCE and settings.unreferenced == "keep"):
            yield problem
        elif failure != NO_REFERENCE and settings.failed == "tag" and problem.tests:
            yield replace(problem, split=UNVERIFIED)


def told(read: Reading, checked: Sequence[Checked]) -> str:
    """What became of the rows that are no problem, in one line."""
    causes = read.left_out + Counter(f"reference: {failure}" for _, failure, _ in checked if failure)
    counts = ", ".join(f"{count} {cause}" for cause, count in causes.most_common()) or "it is empty"
    return counts + "".join(f"; the first: {example}" for example in list(read.examples.values())[:1])
