"""Baselines that need no critic: what a response's score is compared with.

With V constant within a response and lambda 1, `advantages.gae` turns a baseline into what the response
earned from here on, minus the baseline: so the loop hands them over in the place of the critic's values.
"""

from collections.abc import Mapping, Sequence
from typing import assert_never

import torch
from torch import Tensor

from ppo.config import PPOConfig
from ppo.prompts import EncodedPrompt


def baseline_values(
    config: PPOConfig,
    values: Tensor,
    prompts: Sequence[EncodedPrompt],
    scores: Tensor,
    scored: Tensor,
    means: "PromptMeans",
) -> tuple[Tensor, Tensor]:
    """The critic's values, or in their place the baseline of each response at all of its tokens: (B, T); and
    what the advantages of each response are divided by: (B, 1).

    Args:
        values: (B, T) of the critic. `prompts`: B, one per response.
        scores: (B,), as PPO maximises them. `scored`: (B,) bool, whether there is one.
        means: takes the rollout in, after its baselines were taken.
    """
    spread = torch.ones_like(scores)
    match config.baseline:
        case "critic":
            return values, spread[:, None]
        case "prompt-mean":
            problems = [prompt.problem.id for prompt in prompts]
            baseline = means.baseline(problems, scores, scored)
            means.update(problems, scores, scored)
        case "leave-one-out":
            baseline = leave_one_out(scores, scored, config.samples_per_prompt)
        case "group-relative":
            baseline, spread = group_relative(scores, scored, config.samples_per_prompt)
        case _:
            assert_never(config.baseline)
    return baseline[:, None].expand_as(values), spread[:, None]


def group_relative(scores: Tensor, scored: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the scores of each prompt's samples: (B,), (B,)

        Âᵢ = (Rᵢ − mean(R)) / std(R)

    Source: Shao et al., "DeepSeekMath" (arXiv 2402.03300), section 4.1: GRPO. Unlike the other baselines the
    mean holds the response's own score, and problems that are nearly always (or never) solved weigh the most.

    Args:
        scores, scored: as in `leave_one_out`. Where all samples scored the same the deviation given is 1:
            there is nothing to divide.
    """
    groups, known = _by_prompt(scores, scored, samples)
    count = known.sum(dim=1, keepdim=True).clamp(min=1)
    kept = torch.where(known, groups, 0.0)
    mean = kept.sum(dim=1, keepdim=True) / count
    deviation = (torch.where(known, groups - mean, 0.0).square().sum(dim=1, keepdim=True) / count).sqrt()
    same = deviation <= 1e-6 * kept.abs().amax(dim=1, keepdim=True)
    spread = torch.where(same, 1.0, deviation)
    return tuple(x.expand_as(groups).reshape(-1).to(scores.dtype) for x in (mean, spread))  # type: ignore[return-value]


def leave_one_out(scores: Tensor, scored: Tensor, samples: int) -> Tensor:
    """The mean score of the other responses to the same prompt: (B,)

        bᵢ = Σ_{j≠i} Rⱼ / (k − 1)

    Source: Ahmadian et al., "Back to Basics" (arXiv 2402.14740): RLOO.

    Args:
        scores: (B,), the `samples` responses of a prompt next to each other.
        scored: (B,) bool; what was not scored is in no mean. A response without a scored sibling has nothing
            to be compared with: its baseline is its own score, and its advantage 0 but for the KL.
    """
    groups, known = _by_prompt(scores, scored, samples)
    kept = torch.where(known, groups, 0.0)
    others = known.sum(dim=1, keepdim=True) - known.to(torch.long)  # (B/k, k)
    mean = (kept.sum(dim=1, keepdim=True) - kept) / others.clamp(min=1)
    return torch.where(others > 0, mean, groups).reshape(-1).to(scores.dtype)


def _by_prompt(scores: Tensor, scored: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Scores and whether they are known, a row for each prompt: (B/k, k). In float64, where the mean of equal
    scores is that score."""
    if samples < 2 or len(scores) % samples:
        raise ValueError(f"samples of a prompt are compared with each other: 2 or more, not {samples}")
    return scores.double().view(-1, samples), scored.view(-1, samples)


class PromptMeans:
    """Running mean score of every problem over the visits so far.

        mₙ = mₙ₋₁ + (R − mₙ₋₁) / min(n, memory)

    an ordinary mean over the first `memory` visits, then an exponential one: the policy changes, and old
    scores say less and less about it. A problem that was never visited is compared with the mean of the
    rollout's other responses. Source: the per-prompt statistics of Black et al., "Training Diffusion Models
    with Reinforcement Learning" (arXiv 2305.13301).
    """

    def __init__(self, memory: int) -> None:
        if memory < 1:
            raise ValueError(f"a running mean remembers 1 or more visits, not {memory}")
        self.memory = memory
        self.means: dict[str, tuple[int, float]] = {}
        """Problem id -> scores seen, their running mean."""

    def baseline(self, problems: Sequence[str], scores: Tensor, scored: Tensor) -> Tensor:
        """What each response is compared with: (B,). Only earlier visits count.

        Args:
            problems: B problem ids. `scores`, `scored`: (B,), as in `leave_one_out`.
        """
        rollout = leave_one_out(scores, scored, len(scores)) if len(scores) > 1 else scores
        known = [self.means.get(problem) for problem in problems]
        seen = torch.tensor([mean is not None for mean in known], device=scores.device)
        means = scores.new_tensor([0.0 if mean is None else mean[1] for mean in known])
        return torch.where(seen, means, rollout)

    def update(self, problems: Sequence[str], scores: Tensor, scored: Tensor) -> None:
        """Take in a rollout, after its baselines were taken."""
        for problem, score, known in zip(problems, scores.tolist(), scored.tolist(), strict=True):
            if known:
                count, mean = self.means.get(problem, (0, 0.0))
                count += 1
                self.means[problem] = (count, mean + (score - mean) / min(count, self.memory))

    def clear(self) -> None:
        """Forget everything: scores mean something else from now on."""
        self.means.clear()

    def state_dict(self) -> dict[str, list[float]]:
        """What a checkpoint keeps."""
        return {problem: [count, mean] for problem, (count, mean) in self.means.items()}

    def load_state_dict(self, state: Mapping[str, Sequence[float]]) -> None:
        """Go on from a checkpoint."""
        self.means = {problem: (int(count), mean) for problem, (count, mean) in state.items()}
