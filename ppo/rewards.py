"""From one score per response to one reward per token."""

import math

import torch
from torch import Tensor

from ppo.advantages import ROUNDING
from ppo.config import PPOConfig
from ppo.masked import check_shapes, keep, last_index


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """rₜ = −kl_coef·klₜ at every token, plus the score once, at the last token of the response. (B, T)

    Args:
        scores: (B,). `kl`: (B, T) per-token estimate. `mask`: (B, T); a row without a True gets nothing.
    """
    check_shapes(mask, kl=kl)
    rewards = keep(-kl_coef * kl, mask)
    rows = mask.any(dim=1).nonzero(as_tuple=True)[0]
    rewards[rows, last_index(mask)[rows]] += scores[rows].to(rewards.dtype)
    return rewards


def first_opinion(scores: Tensor, *, at_mean: bool) -> tuple[float, float]:
    """Where a critic starts, and what it counts in: the mean of the first scores (or 0), and their spread.

    Scores that are all the same have none: then their size, or 1, stands for it.

    Args:
        scores: (N,), those that there are.
    """
    known = scores.double()  # here the mean of equal numbers is that number
    mean, spread = known.mean().item(), known.std(correction=0).item()
    if spread <= 1e-6 * abs(mean):
        spread = abs(mean) or 1.0
    return (mean if at_mean else 0.0), spread


def reward_rounding(scores: Tensor, logprobs: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """What differences between rewards and values are off by through rounding alone: a scalar.

    Both are float32: scores, and differences of log-probabilities as the KL penalty weighs them.

    Args:
        scores: (B,). `logprobs`, `mask`: (B, T); what a fault has left outside the mask, or as the score of a
            row without one, has no say.
    """
    known = torch.where(mask.any(dim=1), scores, 0.0)
    size = torch.maximum(known.abs().max(), kl_coef * keep(logprobs, mask).abs().max())
    return ROUNDING * torch.finfo(torch.float32).eps * size


def ended(response_ids: Tensor, mask: Tensor, stop_ids: list[int]) -> Tensor:
    """Whether the last token of each response is a stop token: (B,) bool. The prompt is never looked at."""
    last = response_ids.gather(1, last_index(mask)[:, None])  # (B, 1)
    stops = torch.tensor(stop_ids, device=response_ids.device)
    return (last == stops).any(dim=1) & mask.any(dim=1)


def shape_scores(
    raw: Tensor, scored: Tensor, stopped: Tensor, config: PPOConfig, scale: "RunningScale"
) -> Tensor:
    """Scores as PPO maximises them: cut responses penalised, then scaled, then clipped, as configured. (B,)

    Args:
        raw: (B,) from the scorer. `scored`, `stopped`: (B,) bool, whether there is a score, and whether the
            response ended by itself.
        scale: running statistics; they take in this rollout's scores first.
    """
    scores = raw - config.missing_eos_penalty * (~stopped).to(raw.dtype)
    if config.scale_rewards:
        scale.update(scores[scored].tolist())
        scores = scores / scale.std
    if config.reward_clip is not None:
        scores = scores.clamp(-config.reward_clip, config.reward_clip)
    return scores


class RunningScale:
    """Standard deviation of all scores so far, by Welford's method.

    Scores are divided by it and their mean is left alone. This keeps the critic's targets near 1 where a
    scorer of a user's own has another scale; shifting the mean would change which responses are worth having.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything: scores mean something else from now on."""
        self.count = 0
        self.mean = 0.0
        self.sum_squares = 0.0

    def update(self, scores: list[float]) -> None:
        """Take scores into the statistics."""
        for score in scores:
            self.count += 1
            delta = score - self.mean
            self.mean += delta / self.count
            self.sum_squares += delta * (score - self.mean)

    @property
    def std(self) -> float:
        """Population standard deviation so far; 1 while it is unknown or zero."""
        if self.count < 2 or self.sum_squares <= 0.0:
            return 1.0
        return math.sqrt(self.sum_squares / self.count)

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return {"count": self.count, "mean": self.mean, "sum_squares": self.sum_squares}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a checkpoint."""
        self.count = int(state["count"])
        self.mean = state["mean"]
        self.sum_squares = state["sum_squares"]
