"""How good is a policy: the same problems, one seed, the numbers of every sample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cli.sample_numbers import became, sample_numbers, tabulated
from evaluation.summary import Numbers
from evaluation.weaknesses import findings_of
from models.policy import Policy
from ppo.parallel import ALONE, World
from ppo.prompts import EncodedPrompt
from ppo.rollout import Responses, sample_responses
from ppo.run.sampler import derived_seed
from ppo.run.samples import sample_rows
from reward import Reward, Scanned, Scorer
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
    rewards: Sequence[Reward | Scanned | None]
    """Problem by problem, as the responses are; None where the sandbox failed."""

    def samples(self) -> list[dict[str, Any]]:
        """Every sample as samples.jsonl keeps them, `sample` counting those of one problem from 0.

        `public`: which of the tests its problem's text shows, where it shows one; `security`: which ask for
        security, where one does.
        """
        rows = sample_rows(self.policy, self.responses, self.rewards)
        per_problem = self.failures.shape[1]
        found = []
        for number, (row, prompt) in enumerate(zip(rows, self.responses.prompts, strict=True)):
            tests = prompt.problem.tests
            marks = {
                "public": [i for i, test in enumerate(tests) if test.public],
                "security": [i for i, test in enumerate(tests) if test.security],
            }
            told = {mark: numbers for mark, numbers in marks.items() if numbers}
            found.append({"sample": number % per_problem, **row, **told})
        return found

    def numbers(self, name: str) -> Numbers:
        """What statistics read of it, under the name of the model."""
        records = [None if reward is None else reward.record for reward in self.rewards]
        return Numbers(name, self.columns, self.failures, findings_of(records, self.failures.shape[1]))

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
    rewards = world.spread(pairs, scorer.judge)
    ended = responses.stopped(policy.stop_ids).tolist()
    given = [answer.given for answer in responses.programs]
    rows = [
        None
        if reward is None
        else sample_numbers(
            reward,
            program,
            scorer.config,
            end,
            [test.public for test in problem.tests],
            [test.security for test in problem.tests],
            of_problem,
        )
        for reward, (problem, program), end, of_problem in zip(rewards, pairs, ended, given, strict=True)
    ]
    if all(row is None for row in rows):
        raise SandboxError("the sandbox failed on every program; see that it can start processes here")
    words = [
        "" if reward is None or row is None else became(row, reward.record, end)
        for reward, row, end in zip(rewards, rows, ended, strict=True)
    ]
    columns = tabulated(rows, samples)
    return Measurement(columns, np.array(words).reshape(len(prompts), samples), policy, responses, rewards)
