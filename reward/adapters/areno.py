"""AReno: `reward_fn(record)`, the record's `answer` being the ground truth. One record after another."""

from typing import Any

from reward.adapters.shared import reward, text_of


def reward_fn(record: Any) -> float:
    """R of the record's completion.

    Raises:
        RewardError: the ground truth is no problem, or the sandbox failed several times.
    """
    truth = record.answer[0] if isinstance(record.answer, list) and record.answer else record.answer
    return reward(truth, text_of(record.completion)).total
