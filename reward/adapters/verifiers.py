"""verifiers and prime-rl: a reward function for `Rubric(funcs=[coderl_reward])`, by `answer` as ground truth.

Rubrics are the library's older interface and hand arguments over by their names. Its newer one calls
`(task, trace, runtime)`, of which only the user knows where the answer stands: call `score` from there.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from reward.adapters.shared import reward, text_of


async def coderl_reward(completion: str | Sequence[Mapping[str, str]], answer: str, **unused: Any) -> float:
    """R of one completion; others are scored meanwhile.

    Raises:
        RewardError: the ground truth is no problem, or the sandbox failed several times.
    """
    return await score(answer, text_of(completion))


async def score(ground_truth: str, answer: str) -> float:
    """R of one answer to a problem."""
    return (await asyncio.to_thread(reward, ground_truth, answer)).total
