"""What an iteration says of itself, and the checks that stop a run which trains on something wrong."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.policy import Policy
from ppo.errors import TrainingError
from ppo.masked import keep, masked_mean
from ppo.rollout import Responses, Score

# Rounding to 16 bits moves a log-probability by about 0.001 on average. A mean beyond
# this is another distribution (scored without a temperature of 0.7, it is about 0.4).
MAX_ROLLOUT_GAP = 0.05


def rollout_metrics(responses: Responses, verdicts: Sequence[Score | None]) -> dict[str, float]:
    """Means over the scored responses of a rollout, and counts.

    Raises:
        TrainingError: not one response could be scored, or a score is not a finite number.
    """
    scored = [v for v in verdicts if v is not None]
    if not scored:
        raise TrainingError("no response of this iteration could be scored; see the scorer's messages")
    for prompt, verdict in zip(responses.prompts, verdicts, strict=True):
        if verdict is not None and not math.isfinite(verdict.total):
            raise TrainingError(f"the scorer gave {verdict.total} for problem {prompt.problem.id!r}")
    totals = torch.tensor([v.total for v in scored], dtype=torch.float64)
    lengths = responses.tokens.response_mask.sum(dim=1).double()  # (B,)
    characters = [len(program) for program, _ in responses.programs]
    metrics = {
        "reward/mean": totals.mean().item(),
        "reward/std": totals.std(correction=0).item(),
        "rollout/samples": len(verdicts),
        "rollout/faults": len(verdicts) - len(scored),
        "rollout/tokens": int(lengths.sum()),
        "rollout/length": lengths.mean().item(),
        "rollout/program_length": sum(characters) / len(characters),
        "rollout/truncated_prompts": sum(p.truncated for p in responses.prompts),
    }
    sums: defaultdict[str, float] = defaultdict(float)
    for score in scored:
        for name, value in score.metrics.items():
            sums[name] += value
    return metrics | {name: value / len(scored) for name, value in sorted(sums.items())}


def sample_rows(
    responses: Responses, verdicts: Sequence[Score | None], stopped: Tensor
) -> list[dict[str, Any]]:
    """What samples.jsonl keeps of every response: text, program, verdict and reward."""
    rows = []
    for prompt, text, (program, offset), verdict, stop in zip(
        responses.prompts, responses.texts, responses.programs, verdicts, stopped.tolist(), strict=True
    ):
        rows.append(
            {
                "problem": prompt.problem.id,
                "response": text,
                "program": program,
                "offset": offset,
                "ended": stop,
                "score": None if verdict is None else float(verdict.total),
                "group": None if verdict is None else verdict.group,
                "verdict": None if verdict is None else dict(getattr(verdict, "record", {})),
            }
        )
    return rows


def check_rollout_gap(policy: Policy, sampled: Tensor, scored: Tensor, mask: Tensor) -> float:
    """Mean absolute difference between decoding's log-probabilities and the forward pass's, in nats.

    The mean, not the largest: with bfloat16 single tokens are off by 0.1 through rounding alone.

    Raises:
        TrainingError: it is more than rounding can explain.
    """
    gap = masked_mean((sampled - scored).abs(), mask).item()
    if not gap <= MAX_ROLLOUT_GAP:  # not "gap >": a NaN must stop the run too
        raise TrainingError(
            f"decoding and the forward pass disagree by {gap:.3g} nats per sampled token (limit "
            f"{MAX_ROLLOUT_GAP}): they run different distributions, or {policy.precision.dtype} overflows"
        )
    return gap


def check_moved(trained: dict[str, float], advantages: Tensor, mask: Tensor) -> None:
    """Raise TrainingError when there was something to learn and the weights stayed where they were."""
    stepped = trained["ppo/optimizer_steps"] > trained["ppo/skipped_steps"]
    if stepped and trained["ppo/update_norm"] == 0.0 and keep(advantages, mask).abs().max() > 0:
        raise TrainingError(
            "the weights did not move although there are advantages: the trained parameters are not the "
            "ones the forward pass uses, or the learning rate is 0"
        )
