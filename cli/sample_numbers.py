"""The numbers of samples, as statistics read them: of what was just measured, and of what was kept of it."""

import json
from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from cli.errors import UsageError
from data.grading import adds_nothing
from evaluation.facts import BLANK, failure, sample_facts
from evaluation.summary import Numbers
from evaluation.weaknesses import findings_of
from reward import Outcome, Reward, RewardConfig, RewardError, Scanned, objective


def sample_numbers(
    reward: Reward | Scanned,
    program: str,
    config: RewardConfig,
    ended: bool,
    public: Sequence[bool],
    security: Sequence[bool] = (),
    given: int = 0,
) -> dict[str, float]:
    """Column name -> value of one sample: what depends on the objective, and the facts (evaluation/facts.py).

    `ended`: the response came to its end. `public`: which tests the problem's text shows; `security`: which
    ask for security. `given`: so many characters of the program are the problem's. Where no test tells
    whether a program does anything, one that says nothing is in no clean rate.
    """
    metrics = reward.metrics
    row = {"length": float(len(program))}
    if isinstance(reward, Reward):
        # The paper's column: k/T in the place of the staged R_func.
        paper = config.alpha * metrics["reward/pass_fraction"] + config.beta * reward.security
        row |= {"reward": reward.total, "reward_pass_fraction": paper, "functional": reward.functional}
    row |= {name: value for name, value in metrics.items() if name.startswith(("stage/", "hack/"))}
    row |= sample_facts(reward.record, ended, public, security)
    if isinstance(reward, Scanned):
        blank = reward.outcome.compiles and adds_nothing(program, program[:given])
        row |= {"blank": float(blank), "clean": nan if blank else row["clean"]}
    return row


def became(row: Mapping[str, float], record: Mapping[str, Any], ended: bool) -> str:
    """What became of one sample, in one word of a few. `row`: its numbers; `record`: its outcome's."""
    return BLANK if row.get("blank") else failure(record, ended)


def tabulated(rows: Sequence[Mapping[str, float] | None], samples: int) -> dict[str, np.ndarray]:
    """Rows problem by problem as columns (problems, samples), NaN where a row does not say, and for None, a
    fault of the sandbox."""
    names = dict.fromkeys(name for row in rows for name in row or ())
    return {
        name: np.array([np.nan if row is None else row.get(name, np.nan) for row in rows]).reshape(
            -1, samples
        )
        for name in names
    }


def kept_numbers(name: str, path: Path, config: RewardConfig) -> tuple[Numbers, list[str]]:
    """What an evaluation_samples.jsonl of one model holds, judged under `config`; and its problems, in order.

    Greedy answers are left out. Raises UsageError where the file is none, or is cut off.
    """
    try:
        rows = [json.loads(line) for line in path.open(encoding="utf-8")]
        rows = [row for row in rows if not row.get("greedy")]
        samples = 1 + max(row["sample"] for row in rows)
        found = [_numbers(row, config) for row in rows]
        words = [
            "" if one is None else became(one, row["verdict"], row["ended"])
            for row, one in zip(rows, found, strict=True)
        ]
        problems = [row["problem"] for row in rows[::samples]]
        findings = findings_of([row["verdict"] for row in rows], samples)
        columns = tabulated(found, samples)
        return Numbers(name, columns, np.array(words).reshape(-1, samples), findings), problems
    except (ValueError, TypeError, KeyError, RewardError) as error:
        raise UsageError(f"{path}: not the samples of an evaluation; remove it, and measure again") from error


def _numbers(row: Mapping[str, Any], config: RewardConfig) -> dict[str, float] | None:
    """Of a kept row under another objective; None for a fault of the sandbox."""
    if row["verdict"] is None:
        return None
    outcome = Outcome.from_dict(row["verdict"])
    reward = objective(outcome, config) if outcome.num_tests else Scanned(outcome)
    tests = range(outcome.num_tests)
    public, security = ([number in row.get(mark, ()) for number in tests] for mark in ("public", "security"))
    ended, given = row["ended"], row.get("given", 0)
    return sample_numbers(reward, row["program"], config, ended, public, security, given)
