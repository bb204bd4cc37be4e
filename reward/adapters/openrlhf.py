"""OpenRLHF: `--reward.remote_url .../reward/adapters/openrlhf.py`, with the data's `label` as ground truth.

Called with one sample at a time, from several threads. A query is the prompt and the response as one text,
special tokens included. What is raised there is logged and swallowed, and the sample then has no reward: so
what is wrong with the data should be found before, by `train.py prepare --to openrlhf`.
"""

from collections.abc import Sequence
from typing import Any

from reward.adapters.shared import numbers, reward
from reward.compare import RewardError


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str], **unused: Any
) -> dict[str, Any]:
    """R of each query as tensors: `rewards` to learn from, `scores` (all tests passed) to filter by.

    Raises:
        RewardError: a query does not begin with its prompt, a label is no problem, or the sandbox failed
            several times.
    """
    import torch  # OpenRLHF has it; this package works without

    found = [
        reward(label, _response(query, prompt))
        for query, prompt, label in zip(queries, prompts, labels, strict=True)
    ]
    logs = [numbers(each) for each in found]
    return {
        "rewards": torch.tensor([each.total for each in found]),
        "scores": torch.tensor([float(each.outcome.all_passed) for each in found]),
        "extra_logs": {name: torch.tensor([log[name] for log in logs]) for name in logs[0]},
    }


def _response(query: str, prompt: str) -> str:
    """What stands behind the prompt; the tokenizer may have put a token for the beginning in front of it."""
    before, found, response = query.partition(prompt)
    if not found or len(before) > 40:
        raise RewardError("a query does not begin with its prompt: was the prompt cut? raise its token limit")
    return response
