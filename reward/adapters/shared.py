"""The same reward in other trainers: what the small file that each of them is given has in common.

One scorer in a process, problems from ground truths, programs from answers. The problem travels in the
trainer's field for ground truths, as a line of this project's JSON (`train.py prepare --to` writes it), so
nothing has to be looked up.

Trainers that ask for one answer at a time pay what a batch pays: the scorer hands every program to its own
worker threads, whoever calls it, so calls that wait at the same time are one batch without being collected
(benchmarks/one_sample.py). A caller that waits for each answer before it asks for the next has one worker.

Settings come from the environment, since trainers import the file and call a function by its name:
CODERL_CONFIG is a preset, of which the section `ppo` says objective and limits, as in training here.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from data.answers import answer_in
from data.fields import RowError
from data.forms import problem_of
from data.problem import Problem
from reward.compare import RewardError
from reward.objective import Reward
from reward.scorer import Scorer
from reward.stored import build, read_objective
from sandbox import Limits

ENVIRONMENT = "CODERL_CONFIG"
ATTEMPTS = 3  # of a program whose scoring failed through no fault of its own

# What engines leave at the end of an answer that they decode with special tokens: one of them, and its most.
_SPECIAL = re.compile(r"(?:<\|[^|<>\s]{1,40}\|>|<｜[^｜<>]{1,40}｜>|</s>|<eos>|<end_of_turn>)\Z")
_LONGEST = 44

_lock = threading.Lock()
_scorers: dict[int, Scorer] = {}


def scorer() -> Scorer:
    """The scorer of this process, started at the first call; a fork of the process has its own.

    Raises:
        RewardError: the preset that CODERL_CONFIG names cannot be read, or Bandit is not there.
    """
    with _lock:
        if os.getpid() not in _scorers:
            _scorers.clear()  # the parent's, whose processes are not ours
            _scorers[os.getpid()] = _from_environment()
            atexit.register(_close, os.getpid())
        return _scorers[os.getpid()]


def _close(pid: int) -> None:
    """End what this process started; a fork of it, at its own end, leaves its parent's alone."""
    if os.getpid() == pid and pid in _scorers:
        _scorers.pop(pid).close()


def _from_environment() -> Scorer:
    named = os.environ.get(ENVIRONMENT)
    if not named:
        return Scorer()
    path = Path(named)
    try:
        stored = read_objective(path)
    except OSError as error:
        raise RewardError(f"{ENVIRONMENT}={path}: cannot be read ({error.strerror})") from None
    if stored.schedule.follows:
        raise RewardError(f"{path}: a schedule follows this project's own iterations; leave it out here")
    limits = stored.facts.get("limits")
    return Scorer(stored.config, limits=build(Limits, limits or {}, f"{path}: ppo.limits"))


def problem(ground_truth: str) -> Problem:
    """The problem of a ground truth.

    Raises:
        RewardError: it is missing, no JSON, or no problem with tests.
    """
    if not isinstance(ground_truth, str) or not ground_truth:
        raise RewardError(
            "a ground truth is missing, or no text of JSON; `train.py prepare --to` writes data that has one"
        )
    return _parsed(ground_truth)


@lru_cache(maxsize=4096)
def _parsed(ground_truth: str) -> Problem:
    try:
        return problem_of(json.loads(ground_truth))
    except (ValueError, RecursionError):
        start = ground_truth[:60]
        raise RewardError(
            f"a ground truth is not JSON: {start!r}; write it by `train.py prepare --to`"
        ) from None
    except RowError as error:
        raise RewardError(f"a ground truth is no problem: {error}") from None


def rewards(ground_truths: Sequence[str], answers: Sequence[str]) -> list[Reward | None]:
    """One reward for each answer; None where it could not be scored, which is never worth a number.

    Raises:
        RewardError: a ground truth cannot be used, or their number is not that of the answers.
    """
    if len(ground_truths) != len(answers):
        raise RewardError(
            f"{len(answers)} answers and {len(ground_truths)} ground truths: each needs its own"
        )
    pairs = []
    for truth, answer in zip(ground_truths, answers, strict=True):
        task = problem(truth)
        pairs.append((task, answer_in(without_end(answer), task).program))
    return scorer().score(pairs)


def reward(ground_truth: str, answer: str) -> Reward:
    """The reward of one answer, for contracts that know no None.

    Raises:
        RewardError: as `rewards`; or the sandbox failed several times, where a 0 would be learnt from.
    """
    for _ in range(ATTEMPTS):
        found = rewards([ground_truth], [answer])[0]
        if found is not None:
            return found
    raise RewardError(
        f"problem {problem(ground_truth).id!r}: the sandbox failed {ATTEMPTS} times; a 0 would be learnt from"
    )


def numbers(found: Reward) -> dict[str, float]:
    """What a trainer may log beside the score, under this project's names."""
    return {"functional": found.functional, "security": found.security, **found.metrics}


def without_end(answer: str) -> str:
    """An answer without the special tokens behind it, in time that grows with its length alone."""
    end = len(answer)
    while True:
        last = end
        while last and answer[last - 1].isspace():
            last -= 1
        found = _SPECIAL.search(answer, max(0, last - _LONGEST), last)
        if found is None:
            return answer[:end]
        end = found.start()


def text_of(completion: str | Sequence[Mapping[str, str]]) -> str:
    """The answer in a completion: a text, or the last message of a conversation."""
    if isinstance(completion, str):
        return completion
    if completion and isinstance(completion[-1].get("content"), str):
        return completion[-1]["content"]
    raise RewardError("a completion is neither a text nor messages that end with one")
