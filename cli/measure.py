"""How good is a policy: the same problems, one seed, shares with bootstrap intervals over problems."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.policy import Policy
from ppo.prompts import EncodedPrompt
from ppo.rollout import Responses, sample_responses
from ppo.run.sampler import derived_seed
from ppo.run.samples import sample_rows
from reward import Reward, RewardConfig, Scorer, Stage
from sandbox import SandboxError

BOOTSTRAP_DRAWS = 2000

# Column -> the metric of a Reward that it averages. Length, and the R of the paper, are added below.
METRICS = {"syntax": "reward/parses", "any_pass": "reward/any_pass", "all_pass": "reward/all_pass"}


@dataclass(frozen=True)
class Measurement:
    """Every sample's numbers, problem by problem."""

    columns: dict[str, np.ndarray]
    """Column name -> (problems, samples); NaN where the sandbox failed."""
    faults: int
    """Samples that could not be scored; they are in no mean."""
    policy: Policy
    responses: Responses
    rewards: Sequence[Reward | None]
    """Problem by problem, as the responses are; None where the sandbox failed."""

    def samples(self) -> list[dict[str, Any]]:
        """Every sample as samples.jsonl keeps them, `sample` counting those of one problem from 0."""
        rows = sample_rows(self.policy, self.responses, self.rewards)
        per_problem = next(iter(self.columns.values())).shape[1]
        return [{"sample": number % per_problem, **row} for number, row in enumerate(rows)]

    def summary(self, seed: int) -> dict[str, Any]:
        """Mean and 95 % interval of every column, and the share of every stage."""
        stages = {s.label: float(np.nanmean(self.columns[f"stage/{s.label}"])) for s in Stage}
        shown = {name: values for name, values in self.columns.items() if not name.startswith("stage/")}
        intervals = {name: bootstrap_interval(values, seed) for name, values in shown.items()}
        return {**intervals, "stages": stages, "faults": self.faults}


def measure(
    policy: Policy,
    prompts: Sequence[EncodedPrompt],
    scorer: Scorer,
    *,
    samples: int,
    temperature: float,
    max_new_tokens: int,
    batch_size: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Measurement:
    """Sample `samples` programs per problem and score them under the scorer's objective.

    The random numbers depend on the seed alone, so policies measured with one seed answer the same problems
    with the same luck.
    """
    repeated = [prompt for prompt in prompts for _ in range(samples)]
    responses = sample_responses(
        policy,
        repeated,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        batch_size=batch_size,
        generator=torch.Generator().manual_seed(derived_seed(seed, 0, "evaluation")),
        progress=progress,
    )
    pairs = responses.pairs()
    rewards = scorer.score(pairs)
    rows = [
        None if reward is None else _row(reward, program, scorer.config)
        for reward, (_, program) in zip(rewards, pairs, strict=True)
    ]
    scored = [row for row in rows if row is not None]
    if not scored:
        raise SandboxError("the sandbox failed on every program; see that it can start processes here")
    columns = {
        name: np.array([np.nan if row is None else row[name] for row in rows]).reshape(len(prompts), samples)
        for name in scored[0]
    }
    return Measurement(columns, len(rows) - len(scored), policy, responses, rewards)


def bootstrap_interval(values: np.ndarray, seed: int) -> dict[str, float]:
    """Mean, and the 95 % percentile interval of the mean when problems are drawn again with replacement.

    Problems are the unit: samples of one problem are not independent of each other.

    Args:
        values: (problems, samples), NaN where there is none.
    """
    valid = ~np.isnan(values)
    sums, counts = np.where(valid, values, 0.0).sum(axis=1), valid.sum(axis=1)
    draws = np.random.default_rng(seed).integers(len(values), size=(BOOTSTRAP_DRAWS, len(values)))
    means = sums[draws].sum(axis=1) / np.maximum(counts[draws].sum(axis=1), 1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(sums.sum() / counts.sum()), "low": float(low), "high": float(high)}


def _row(reward: Reward, program: str, config: RewardConfig) -> dict[str, float]:
    row = {column: reward.metrics[metric] for column, metric in METRICS.items()}
    row["reward"] = reward.total
    # The paper's column: k/T in the place of the staged R_func.
    row["reward_pass_fraction"] = (
        config.alpha * reward.metrics["reward/pass_fraction"] + config.beta * reward.security
    )
    row["length"] = float(len(program))
    return row | {name: value for name, value in reward.metrics.items() if name.startswith("stage/")}
