"""What an iteration says of itself."""

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from ppo.advantages import gae
from ppo.errors import TrainingError
from ppo.losses import explained_variance
from ppo.masked import masked_mean
from ppo.rollout import Responses, Score
from ppo.run.outcomes import share_with_signal


def rollout_metrics(responses: Responses, verdicts: Sequence[Score | None]) -> dict[str, float]:
    """Means over the scored responses of a rollout, and counts.

    Raises:
        TrainingError: not one response could be scored, a score is not a finite number, or a metric of the
            scorer's has the name of one of the run's.
    """
    scored = [v for v in verdicts if v is not None]
    if not scored:
        raise TrainingError("no response of this iteration could be scored; see the scorer's messages")
    for prompt, verdict in zip(responses.prompts, verdicts, strict=True):
        if verdict is not None and not math.isfinite(verdict.total):
            raise TrainingError(f"the scorer gave {verdict.total} for problem {prompt.problem.id!r}")
    totals = torch.tensor([v.total for v in scored], dtype=torch.float64)
    lengths = responses.tokens.response_mask.sum(dim=1).double()  # (B,)
    characters = [len(answer.program) for answer in responses.programs]
    metrics = {
        "reward/mean": totals.mean().item(),
        "reward/std": totals.std(correction=0).item(),
        "rollout/samples": len(verdicts),
        "rollout/faults": len(verdicts) - len(scored),
        "rollout/tokens": int(lengths.sum()),
        "rollout/length": lengths.mean().item(),
        "rollout/program_length": sum(characters) / len(characters),
        "rollout/signal": share_with_signal(responses.problem_ids, verdicts),
        "rollout/truncated_prompts": sum(p.truncated for p in responses.prompts),
    }
    sums: defaultdict[str, float] = defaultdict(float)
    for score in scored:
        for name, value in score.metrics.items():
            sums[name] += value
    if taken := sorted(metrics.keys() & sums.keys()):
        raise TrainingError(f"the scorer's metric {taken[0]!r} is one of the run's own: give it another name")
    return metrics | {name: value / len(scored) for name, value in sorted(sums.items())}


def value_metrics(
    rewards: Tensor, values: Tensor, returns: Tensor, advantages: Tensor, mask: Tensor, gamma: float
) -> dict[str, float]:
    """How good the values were, before the update learns from this rollout. All (B, T).

    `explained_var` is that of the critic's targets, `explained_var_earned` that of what was earned from each
    token on (lambda 1). With lam_value below 1 the targets hold the critic's own opinion, and the first
    is the easier one.
    """
    _, earned = gae(rewards, values, mask, gamma, 1.0)
    return {
        "ppo/advantage_size": masked_mean(advantages.abs(), mask).item(),
        "ppo/explained_var": explained_variance(values, returns, mask),
        "ppo/explained_var_earned": explained_variance(values, earned, mask),
    }
