"""Choosing demonstrations among what a model answered: rejection sampling.

The answers that earned enough become demonstrations of their problems: Dong et al. 2023, RAFT
(arXiv:2304.06767); Gulcehre et al. 2023, ReST (arXiv:2308.08998); with the tests as judge, Singh et al. 2023,
ReST-EM (arXiv:2312.06585), which caps the answers per problem, so that easy problems do not crowd out others.
Rows are those of a run's samples.jsonl and of evaluation_samples.jsonl. No torch.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from data.demonstrations import Demonstrated
from data.fields import RowError, check_encodable
from data.files import DataError, appended_rows
from data.problem import Problem

# How data.preview marks a text that it did not keep whole.
_CUT = re.compile(r"… \(\d+ more bytes\)\Z")


@dataclass(frozen=True)
class SampleConfig:
    """Which of a model's answers to learn from."""

    from_samples: tuple[Path, ...] = ()
    """Learn from what a model answered: samples.jsonl of PPO runs, evaluation_samples.jsonl. Needs
    min_reward, passed_only or both."""
    min_reward: float | None = None
    """Take answers with this reward or more, as the file has it."""
    passed_only: bool = False
    """Take answers whose program passed all tests."""
    per_problem: int = 4
    """Take at most so many different answers of one problem, drawn by the seed; 0: all."""
    target: Literal["answer", "program"] = "answer"
    """What is learnt of an answer: the whole of it as the model wrote it, or the program in it alone."""

    def __post_init__(self) -> None:
        if self.per_problem < 0:
            raise ValueError(f"per_problem must be 0 or more, not {self.per_problem}")
        if self.from_samples and self.min_reward is None and not self.passed_only:
            raise ValueError("from_samples needs a choice: --min-reward X, --passed-only, or both")


@dataclass
class _Choice:
    """What was kept so far, and counts of what was not, by reason."""

    problems: dict[str, Problem] = field(default_factory=dict)
    answers: dict[str, list[str]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    best: float | None = None


def choose_samples(config: SampleConfig, problems: Mapping[str, Problem], seed: int) -> Demonstrated:
    """The answers that qualify, as demonstrations in the order of the files' problems.

    The same text twice for one problem counts once. Where a problem has more than `per_problem`, a hash of
    (seed, problem, answer) draws among them, so the choice does not depend on the order of rows. An answer
    that was cut off at the token limit is never taken: it would teach to end in the middle.

    Args:
        problems: by id, where texts are looked up before those in the samples.

    Raises:
        DataError: a file is no file of samples, a problem's text is nowhere whole, or nothing qualifies.
    """
    choice, total = _Choice(), 0
    for path in config.from_samples:
        for where, row in appended_rows(path):
            _check(where, row)
            total += 1
            reason = _why_not(config, where, row, choice)
            if reason:
                choice.dropped[reason] += 1
                continue
            name = row["problem"]
            if name not in choice.problems:
                choice.problems[name] = _problem(where, row, problems)
            answer = row["response" if config.target == "answer" else "program"]
            kept = choice.answers.setdefault(name, [])
            if answer in kept:
                choice.dropped["the same as another"] += 1
            else:
                kept.append(answer)
    if not choice.answers:
        highest = "" if choice.best is None else f"; the highest reward is {choice.best:g}"
        raise DataError(f"{config.from_samples[0]}: none of the {total} samples qualifies{highest}")
    pairs = []
    for name, answers in choice.answers.items():
        drawn = _drawn(name, answers, config.per_problem, seed)
        if over := len(answers) - len(drawn):
            choice.dropped[f"beyond {config.per_problem} of a problem"] += over
        pairs += [(choice.problems[name], answer) for answer in drawn]
    reasons = "".join(f", {number} {reason}" for reason, number in sorted(choice.dropped.items()))
    return Demonstrated(pairs, f"{len(pairs)} of {total} samples, of {len(choice.answers)} problems{reasons}")


def _check(where: str, row: Any) -> None:
    """Raise DataError where a row has not what every sample has."""
    wanted = {"problem": str, "response": str, "program": str, "ended": bool}
    if not isinstance(row, dict):
        raise DataError(f"{where}: not a sample: the row is no object")
    for key, form in wanted.items():
        if not isinstance(row.get(key), form):
            raise DataError(f"{where}: not a sample of samples.jsonl or evaluation_samples.jsonl: no {key!r}")
        try:
            check_encodable(str(row[key]), repr(key))
        except RowError as error:
            raise DataError(f"{where}: {error}") from None
    score = row.get("score")
    if "score" not in row or isinstance(score, bool) or not isinstance(score, int | float | None):
        raise DataError(f"{where}: not a sample: its 'score' is no number")


def _why_not(config: SampleConfig, where: str, row: Mapping[str, Any], choice: _Choice) -> str:
    """Why a sample does not qualify; empty where it does."""
    score = row["score"]
    if score is None:
        return "not scored"
    choice.best = score if choice.best is None else max(choice.best, score)
    if not row["ended"]:
        return "cut off at the token limit"
    if config.min_reward is not None and score < config.min_reward:
        return f"below a reward of {config.min_reward:g}"
    if config.passed_only and not _passed(where, row):
        return "without all tests passed"
    if not row["program" if config.target == "program" else "response"].strip():
        return "empty"
    return ""


def _passed(where: str, row: Mapping[str, Any]) -> bool:
    """Whether the program passed all tests. Raises DataError where the sample does not say."""
    verdict = row.get("verdict")
    if not isinstance(verdict, dict) or not {"passed", "num_tests"} <= verdict.keys():
        raise DataError(
            f"{where}: does not say which tests passed (it was scored by a function of the user's); "
            "use --min-reward"
        )
    return bool(verdict["passed"] == verdict["num_tests"])


def _problem(where: str, row: Mapping[str, Any], problems: Mapping[str, Problem]) -> Problem:
    """The problem that a sample answers: of those given, or else with the text that the sample holds."""
    name, text = row["problem"], row.get("problem_text")
    if name in problems:
        return replace(problems[name], solutions=())
    if not isinstance(text, str) or not text.strip():
        raise DataError(
            f"{where}: has no text of problem {name!r}; name the file of problems with --problems"
        )
    if _CUT.search(text):
        raise DataError(
            f"{where}: has only the beginning of the text of problem {name!r}; name its file with --problems"
        )
    return Problem(name, text, ())


def _drawn(name: str, answers: Iterable[str], limit: int, seed: int) -> list[str]:
    """At most `limit` of the answers (0: all), the same ones whatever their order."""

    def draw(answer: str) -> bytes:
        return hashlib.sha256(json.dumps([seed, name, answer]).encode()).digest()

    return sorted(answers, key=draw)[: limit or None]
