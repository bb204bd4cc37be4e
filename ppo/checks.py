"""What stops a run that trains on something wrong, or on numbers that are none."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.policy import Policy
from models.precision import too_many_skipped
from ppo.errors import TrainingError
from ppo.masked import keep, masked_mean
from ppo.rollout import Responses

# Rounding to 16 bits moves a log-probability by about 0.001 on average. A mean beyond
# this is another distribution (scored without a temperature of 0.7, it is about 0.4).
MAX_ROLLOUT_GAP = 0.05

# Before the first step the update scores the very tokens that were sampled, with the same weights. In
# float32 the two agree up to rounding: 1e-6 (root mean square) for a model of two layers, 3e-5 for sixteen.
# More means that they are not the same distribution. It is not the largest difference that is held to this:
# that of a thousand tokens is ten times as far out by rounding alone.
MAX_FIRST_LOGRATIO = 1e-4


def check_finite(problem_ids: Sequence[str], mask: Tensor, **tensors: Tensor) -> None:
    """Raise TrainingError, naming tensor and problems, where a (B, T) tensor is not finite within the mask.

    Nothing is put in the place of a NaN: whatever number that were, the run would train on it.
    """
    for name, tensor in tensors.items():
        rows = (mask & ~torch.isfinite(tensor)).any(dim=1).nonzero(as_tuple=True)[0].tolist()
        if rows:
            named = ", ".join(dict.fromkeys(problem_ids[row] for row in rows[:3]))
            more = ", …" if len(rows) > 3 else ""
            raise TrainingError(
                f"{name} are not finite in {len(rows)} of {len(mask)} responses (problems {named}{more}): "
                "lower the learning rate; with float16, use bfloat16 or float32"
            )


def check_first_logratio(policy: Policy, logratio: float) -> None:
    """Raise TrainingError where the ratio before the first step is not 1; `logratio`: root mean square."""
    if policy.precision.exact and logratio > MAX_FIRST_LOGRATIO:
        raise TrainingError(
            f"the log-ratio before the first step is {logratio:.1e} (root mean square), more than "
            f"{MAX_FIRST_LOGRATIO:.0e}: the update does not score tokens the way the rollout sampled them"
        )


def check_skipped(in_a_row: int) -> None:
    """Raise TrainingError where too many optimizer steps in a row were skipped by the loss scaler."""
    if message := too_many_skipped(in_a_row):
        raise TrainingError(message)


def check_rollout_gap(policy: Policy, responses: Responses, logprobs: Tensor) -> dict[str, float]:
    """Mean absolute difference between decoding's log-probabilities and those of a forward pass, (B, T), in
    nats: as a metric. No metric where decoding's own states served for the pass: there the first ratio tells.

    The mean, not the largest: with bfloat16 single tokens are off by 0.1 through rounding alone.

    Raises:
        TrainingError: it is more than rounding can explain.
    """
    if responses.decoded is not None:
        return {}
    gap = masked_mean((responses.logprobs - logprobs).abs(), responses.tokens.response_mask).item()
    if not gap <= MAX_ROLLOUT_GAP:  # not "gap >": a NaN must stop the run too
        raise TrainingError(
            f"decoding and the forward pass disagree by {gap:.3g} nats per sampled token (limit "
            f"{MAX_ROLLOUT_GAP}): they run different distributions, or {policy.precision.dtype} overflows"
        )
    return {"ppo/rollout_gap": gap}


def check_moved(trained: dict[str, float], advantages: Tensor, mask: Tensor) -> None:
    """Raise TrainingError when there was something to learn and the weights stayed where they were."""
    stepped = trained["ppo/optimizer_steps"] > trained["ppo/skipped_steps"]
    if stepped and trained["ppo/update_norm"] == 0.0 and keep(advantages, mask).abs().max() > 0:
        raise TrainingError(
            "the weights did not move although there are advantages: learning_rate is too small for their "
            "numbers, temperature so low that every token is certain, or the forward pass does not use what "
            "is trained"
        )
