"""A reward of your own: the project's, with a price on long programs.

    train.py ppo --sft runs/sft --reward examples/reward.py:score --out runs/short

A reward function gets the (problem, program) pairs of a rollout and returns as many numbers, Scores, or None
where it could not score: a fault is left out of the batch, a 0 would be learnt from. A Score says more than a
number: `kind` splits the diagnostics, `metrics` are averaged and logged, `tracebacks` serve token credit.
"""

import atexit
from collections.abc import Sequence
from functools import cache

from data import Problem
from ppo.rollout import PlainScore
from reward import Scorer

PRICE = 0.0005
"""Per character: 100 of them cost 0.05, a fifth of the way from printing something to passing everything."""


@cache
def scorer() -> Scorer:
    """The sandbox and the analyser, started once and closed when the run ends."""
    started = Scorer()
    atexit.register(started.close)
    return started


def score(pairs: Sequence[tuple[Problem, str]]) -> list[PlainScore | None]:
    """R − PRICE · length, never below 0."""
    rewards = scorer().score(pairs)
    return [
        None
        if reward is None
        else PlainScore(
            total=max(0.0, reward.total - PRICE * len(program)),
            kind=reward.kind,
            metrics={**reward.metrics, "reward/price": PRICE * len(program)},
        )
        for reward, (_, program) in zip(rewards, pairs, strict=True)
    ]
