"""Problems to sampled responses to scores. Ids cross from here to the update, text never does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from data import Answer, Problem, answer_in
from models.batch import TokenBatch, by_length, trim
from models.critic import Reading
from models.errors import LogitsNotFinite
from models.generation import Generation
from models.policy import Policy, TokenStats
from ppo.errors import TrainingError
from ppo.parallel import ALONE, World
from ppo.prompts import EncodedPrompt, pad_left
from ppo.rewards import ended


class Score(Protocol):
    """What a scorer says of one program. `reward.Reward` is one; `PlainScore` is another.

    A Score may also have `parts`, the numbers that its total is made of, and a `record`, JSON values; both by
    name and the same in every run with the same seed. samples.jsonl keeps them. And it may have `tracebacks`,
    from which `ppo.credit` learns where the program failed.
    """

    @property
    def total(self) -> float:
        """The number that PPO maximises in expectation."""

    @property
    def kind(self) -> str:
        """The kind of outcome (a stage, say), by which diagnostics are split."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Numbers whose means over the rollout are logged, under names such as "reward/security"."""


@dataclass(frozen=True)
class PlainScore:
    """A bare number as a Score."""

    total: float
    kind: str = "scored"
    metrics: Mapping[str, float] = field(default_factory=dict)


class Scorer(Protocol):
    """What the loop asks for scores. Called with (problem, program) pairs and the iteration, it returns a
    Score for each, in order, or None where scoring itself failed (which is never a score of 0)."""

    def __call__(self, pairs: Sequence[tuple[Problem, str]], iteration: int) -> Sequence[Score | None]:
        """Score the programs of one rollout."""

    def begin(self, problem: Problem, program: str) -> None:
        """One program of the rollout under way, whose response has ended: run it already, if you can.

        It is among the pairs of the call that follows, which alone tells what a program is worth.
        """

    def objective(self, iteration: int) -> str:
        """The name of what is rewarded in an iteration. When it changes, running scales and prompt means
        start anew: they were measured on scores that meant something else."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the scorer, as JSON values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""


class Decoded(NamedTuple):
    """What decoding knew of the tokens that it sampled, beside their log-probabilities."""

    rows: slice
    """The responses that were sampled here: all, on one process"""
    states: Tensor
    """(N, H) the final states from which the N tokens of those were chosen, row by row"""
    entropy: Tensor
    """(B, T) of the distributions that they were chosen from"""


@dataclass(frozen=True)
class Responses:
    """One sampled response for each prompt, in order."""

    prompts: Sequence[EncodedPrompt]
    tokens: TokenBatch
    """Prompt and response ids with their masks."""
    logprobs: Tensor
    """(B, T) of the sampled tokens, as decoding saw them"""
    completed: Tensor
    """(B,) bool, ended by a stop string"""
    texts: Sequence[str]
    """What the ids say; for scorers and readers only."""
    decoded: Decoded | None = None
    """What else decoding knew of the tokens; where it was kept"""

    @cached_property
    def programs(self) -> list[Answer]:
        """The program in each text, and where it stands there; extracted once."""
        return [answer_in(text, p.problem) for text, p in zip(self.texts, self.prompts, strict=True)]

    @property
    def problem_ids(self) -> list[str]:
        """The problem of every response."""
        return [prompt.problem.id for prompt in self.prompts]

    def pairs(self) -> list[tuple[Problem, str]]:
        """(problem, program) of every response: what a scorer is called with."""
        return [(p.problem, answer.program) for p, answer in zip(self.prompts, self.programs, strict=True)]

    def stopped(self, stop_ids: list[int]) -> Tensor:
        """Whether each response ended by itself, at a stop token or a stop string: (B,) bool."""
        return ended(self.tokens.response_ids, self.tokens.response_mask, stop_ids) | self.completed


def sample_responses(
    policy: Policy,
    prompts: Sequence[EncodedPrompt],
    *,
    max_new_tokens: int,
    temperature: float,
    batch_size: int,
    generator: torch.Generator,
    progress: Callable[[int], None] = lambda done: None,
    keep_states: bool = False,
    on_ended: Callable[[Problem, str], None] | None = None,
    world: World = ALONE,
) -> Responses:
    """Sample one response per prompt, `batch_size` at a time; `progress` hears how many are done.

    `keep_states`: spare `forward_responses` the policy's pass, for H numbers of memory for every token.
    `on_ended`: hears of the program in each response, with its problem, while others are still sampled.
    `world`: a rank samples its share, and hears of those; all have all responses in the end.

    The order of the generator's draws is that of the prompts, so neither `batch_size` nor the number of
    processes changes a response.

    Raises:
        TrainingError: the logits are not numbers, with the problems where they are not.
    """
    device, pad = policy.device, policy.pad_id
    rows = world.rows(len(prompts))
    own = prompts[rows]
    if rows.start:  # what the rows of other ranks draw
        torch.rand((rows.start, max_new_tokens), generator=generator, dtype=torch.float64)
    states: list[Tensor] = []

    def sample() -> list[Generation]:
        parts = []
        for start in range(0, len(own), batch_size):
            batch = own[start : start + batch_size]
            try:
                part = policy.generate(
                    *pad_left([p.ids for p in batch], pad),
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    generator=generator,
                    keep_states=keep_states,
                    on_ended=on_ended and partial(_hand_over, policy, batch, on_ended),
                )
            except LogitsNotFinite as error:
                named = ", ".join(dict.fromkeys(batch[row].problem.id for row in error.rows[:3]))
                raise TrainingError(f"{error} (at problems {named})") from error
            if part.states is not None:
                states.append(part.states)
            parts.append(replace(part, states=None))
            progress((start + len(batch)) * world.size)
        return parts

    parts = [part for of_rank in world.each(sample) for part in of_rank]
    prompt_ids, prompt_mask = pad_left([p.ids for p in prompts], pad)  # (B, P)
    response_ids = _stack([part.response_ids for part in parts], pad).to(device)  # (B, T)
    response_mask = _stack([part.response_mask for part in parts], False).to(device)  # (B, T)
    texts = [policy.text(ids[mask].tolist()) for ids, mask in zip(response_ids, response_mask, strict=True)]
    return Responses(
        prompts=prompts,
        tokens=TokenBatch(prompt_ids.to(device), prompt_mask.to(device), response_ids, response_mask),
        logprobs=_stack([part.logprobs for part in parts], 0.0).to(device),
        completed=torch.cat([part.completed for part in parts]).to(device),
        texts=texts,
        decoded=Decoded(rows, torch.cat(states), _stack([part.entropy for part in parts], 0.0).to(device))
        if keep_states
        else None,
    )


def _hand_over(
    policy: Policy,
    prompts: Sequence[EncodedPrompt],
    on_ended: Callable[[Problem, str], None],
    row: int,
    response_ids: list[int],
) -> None:
    """Tell of the program in the response to one of these prompts."""
    problem = prompts[row].problem
    on_ended(problem, answer_in(policy.text(response_ids), problem).program)


@torch.no_grad()
def forward_responses(
    policy: Policy,
    responses: Responses,
    temperature: float,
    micro_batch_size: int,
    readings: list[Reading] | None = None,
    world: World = ALONE,
) -> tuple[Tensor, Tensor, Tensor]:
    """logprobs, ref_logprobs and values of the sampled tokens, each (B, T), under the policy that sampled: by
    full forward passes, or from the states that decoding has kept; then the logprobs are decoding's own, and
    whether the policy agrees shows in the ratio before the first step (`ppo.checks.check_first_logratio`). In
    reduced precision decoding rounds differently, and nothing is kept: the update's ratio starts from a pass
    like its own.

    `readings`: where to put what the critic reads of each response of this rank's share. `world`: a rank
    reads its share; all have all numbers in the end.
    """
    tokens = responses.tokens
    index = torch.arange(len(tokens.response_mask), device=policy.device)

    def read() -> tuple[Tensor, Tensor, Tensor]:
        own = index[world.rows(len(index))]
        logprobs = torch.zeros(tokens.response_mask.shape, device=policy.device)
        ref_logprobs, values = torch.zeros_like(logprobs), torch.zeros_like(logprobs)
        by_row: dict[int, Reading] = {}
        # What decoding has kept lies in the order of the rows.
        order = by_length(tokens, own) if responses.decoded is None else own
        for rows in order.split(micro_batch_size):
            batch = trim(TokenBatch(*(x[rows] for x in tokens)))
            if responses.decoded is None:
                stats, reading = policy.read(batch, temperature)
            else:
                stats, reading = _recall(policy, responses, responses.decoded, rows)
            if readings is not None:
                by_row |= zip(rows.tolist(), reading.rows(), strict=True)
            width = batch.response_ids.shape[1]
            logprobs[rows, :width], values[rows, :width] = stats.logprobs, stats.values
            ref_logprobs[rows, :width] = policy.ref_logprobs(batch, temperature)
        if readings is not None:
            readings.extend(by_row[row] for row in own.tolist())
        return logprobs[own], ref_logprobs[own], values[own]

    logprobs, ref_logprobs, values = world.stack(read)
    return logprobs, ref_logprobs, values


def _recall(
    policy: Policy, responses: Responses, decoded: Decoded, rows: Tensor
) -> tuple[TokenStats, Reading]:
    """What the policy's pass over neighbouring responses would say, from what decoding knew of them."""
    batch = trim(TokenBatch(*(x[rows] for x in responses.tokens)))
    mask, width = batch.response_mask, batch.response_ids.shape[1]
    counts = responses.tokens.response_mask[decoded.rows].sum(dim=1)  # (b,) of those sampled here
    end = int(counts[: int(rows[-1]) + 1 - decoded.rows.start].sum())
    states = decoded.states[end - int(mask.sum()) : end]
    numbers = (x[rows, :width][mask] for x in (responses.logprobs, decoded.entropy))
    return policy.judge(batch, states, *numbers)


def _stack(parts: list[Tensor], fill: float) -> Tensor:
    """Rows of different widths in one tensor, filled up on the right."""
    width = max(part.shape[1] for part in parts)
    return torch.cat(
        [torch.nn.functional.pad(part, (0, width - part.shape[1]), value=fill) for part in parts]
    )
