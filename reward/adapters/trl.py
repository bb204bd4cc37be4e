"""TRL's GRPOTrainer: `reward_funcs=[coderl_reward]` (from reward.adapters.trl).

The dataset's column `ground_truth` reaches the function by its name. None says that a completion could not be
scored; TRL takes it for NaN and gives it no weight, which is what a fault is here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reward.adapters.shared import numbers, rewards, text_of


def coderl_reward(
    completions: Sequence[str | Sequence[Mapping[str, str]]],
    ground_truth: Sequence[str],
    log_metric: Callable[[str, float], None] | None = None,
    **columns: Any,
) -> list[float | None]:
    """R of each completion.

    Raises:
        RewardError: a ground truth is missing or is no problem.
    """
    found = rewards(ground_truth, [text_of(completion) for completion in completions])
    scored = [numbers(each) for each in found if each is not None]
    if log_metric is not None and scored:
        for name in scored[0]:
            log_metric(name, sum(each[name] for each in scored) / len(scored))
    return [None if each is None else each.total for each in found]
