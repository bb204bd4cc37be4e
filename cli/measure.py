"""How good is a policy: the same problems, one seed, the numbers of every sample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cli.sample_numbers import sample_numbers, tabulated
from evaluation.facts import failure
from evaluation.summary import Numbers
from models.policy import Policy
from ppo.parallel import ALONE, World
from ppo.prompts import EncodedPrompt
from ppo.rollout import Responses, sample_responses
from ppo.run.sampler import derived_seed
from ppo.run.samples import sample_rows
from reward import Reward, Scorer
from sandbox import SandboxError


@dataclass(frozen=True)
class Measurement:
    """Every sample's numbers, problem by problem."""

    columns: dict[str, np.ndarray]
    """Column name -> (problems, samples); NaN where the sandbox failed, or a question does not arise."""
    failures: np.ndarray
    """(problems, samples) of str, what became of each; "" where the sandbox failed."""
    policy: Policy
    responses: Responses
    rewards: Sequence[Reward | None]
    """Problem by problem, as the responses are; None where the sandbox failed."""

    def samples(self) -> list[dict[str, Any]]:
        """Every sample as samples.jsonl keeps them, `sample` counting those of one problem from 0.

        `public`: which of the tests its problem's text shows, where it shows one.
        """
        rows = sample_rows(self.policy, self.responses, self.rewards)
        per_problem = self.failures.shape[1]
        found = []
        for number, (row, prompt) in enumerate(zip(rows, self.responses.prompts, strict=True)):
            public = [i for i, test in enumerate(prompt.problem.tests) if test.public]
            found.append({"sample": number % per_problem, **row} | ({"public": public} if public else {}))
        return found

    def numbers(self, name: str) -> Numbers:
        """What statistics read of it, under the name of the model."""
        return Numbers(name, self.columns, self.failures)

    def mean(self, column: str) -> float:
        """Over all samples that could be scored."""
        return float(np.nanmean(self.columns[column]))


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
    world: World = ALONE,
) -> Measurement:
    """Sample `samples` programs per problem and score them under the scorer's objective; several processes
    share them.

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
        on_ended=scorer.begin,
        world=world,
    )
    pairs = responses.pairs()
    rewards = world.spread(pairs, scorer.score)
    ended = responses.stopped(policy.stop_ids).tolist()
    rows = [
        None
        if reward is None
        else sample_numbers(reward, program, scorer.config, end, [test.public for test in problem.tests])
        for reward, (problem, program), end in zip(rewards, pairs, ended, strict=True)
    ]
    if all(row is None for row in rows):
        raise SandboxError("the sandbox failed on every program; see that it can start processes here")
    became = ["" if r is None else failure(r.record, end) for r, end in zip(rewards, ended, strict=True)]
    columns = tabulated(rows, samples)
    return Measurement(columns, np.array(became).reshape(len(prompts), samples), policy, responses, rewards)
