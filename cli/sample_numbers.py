"""The numbers of samples, as statistics read them: of what was just measured, and of what was kept of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cli.errors import UsageError
from evaluation.facts import failure, sample_facts
from evaluation.summary import Numbers
from reward import Outcome, Reward, RewardConfig, RewardError, objective


def sample_numbers(
    reward: Reward, program: str, config: RewardConfig, ended: bool, public: Sequence[bool]
) -> dict[str, float]:
    """Column name -> value of one sample: what depends on the objective, and the facts (evaluation/facts.py).

    `ended`: the response came to its end. `public`: which tests the problem's text shows.
    """
    metrics = reward.metrics
    # The paper's column: k/T in the place of the staged R_func.
    paper = config.alpha * metrics["reward/pass_fraction"] + config.beta * reward.security
    row = {"reward": reward.total, "reward_pass_fraction": paper, "functional": reward.functional}
    row["length"] = float(len(program))
    row |= {name: value for name, value in metrics.items() if name.startswith(("stage/", "hack/"))}
    return row | sample_facts(reward.record, ended, public)


def tabulated(rows: Sequence[Mapping[str, float] | None], samples: int) -> dict[str, np.ndarray]:
    """Rows problem by problem as columns (problems, samples), NaN for None, a fault of the sandbox."""
    names = next((list(row) for row in rows if row is not None), [])
    return {
        name: np.array([np.nan if row is None else row[name] for row in rows]).reshape(-1, samples)
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
        numbers = tabulated([_numbers(row, config) for row in rows], samples)
        became = ["" if row["verdict"] is None else failure(row["verdict"], row["ended"]) for row in rows]
        problems = [row["problem"] for row in rows[::samples]]
        return Numbers(name, numbers, np.array(became).reshape(-1, samples)), problems
    except (ValueError, TypeError, KeyError, RewardError) as error:
        raise UsageError(f"{path}: not the samples of an evaluation; remove it, and measure again") from error


def _numbers(row: Mapping[str, Any], config: RewardConfig) -> dict[str, float] | None:
    if row["verdict"] is None:
        return None
    reward = objective(Outcome.from_dict(row["verdict"]), config)
    public = [number in row.get("public", ()) for number in range(reward.outcome.num_tests)]
    return sample_numbers(reward, row["program"], config, row["ended"], public)
