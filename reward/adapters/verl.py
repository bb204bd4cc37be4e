"""verl: `reward.custom_reward_function.path=.../reward/adapters/verl.py`, `.name=compute_score`.

It is asked for one response at a time and has no word for a fault, and what is raised ends the run: a fault
is tried again, and ends the run if it stays.
"""

from typing import Any

from reward.adapters.shared import numbers, reward


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **unused: Any
) -> dict[str, float]:
    """R as `score`, and its parts beside it.

    Raises:
        RewardError: the ground truth is no problem, or the sandbox failed several times.
    """
    found = reward(ground_truth, solution_str)
    return {"score": found.total, **numbers(found)}
