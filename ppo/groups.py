"""What an iteration did by kind of outcome: by what a scorer calls the `group` of a program (its stage)."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ppo.buffer import RolloutBuffer
from ppo.config import PPOConfig
from ppo.losses import policy_loss
from ppo.masked import masked_mean
from ppo.rollout import Responses, Score

UNSCORED = ""
"""In the place of a group where scoring failed."""


def groups_of(verdicts: Sequence[Score | None]) -> list[str]:
    """The group of every response."""
    return [UNSCORED if verdict is None else verdict.group for verdict in verdicts]


def group_metrics(
    responses: Responses, verdicts: Sequence[Score | None], advantages: Tensor, kl: Tensor, mask: Tensor
) -> dict[str, float]:
    """`group/<name>/…` for each group that occurred.

    `share` of the scored responses, mean `reward`, `program_length` in characters, `advantage` per token as
    the update sees it, and `ref_kl` in nats per response. `update` adds ratio, approx_kl and clip_frac.

    Args:
        advantages, kl, mask: (B, T).
    """
    metrics: dict[str, float] = {}
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups_of(verdicts)):
        if group != UNSCORED:
            rows[group].append(row)
    scored = sum(map(len, rows.values()))
    for group, mine in sorted(rows.items()):
        totals = [verdict.total for row in mine if (verdict := verdicts[row]) is not None]
        values = {
            "share": len(mine) / scored,
            "reward": sum(totals) / len(mine),
            "program_length": sum(len(responses.programs[row][0]) for row in mine) / len(mine),
            "advantage": masked_mean(advantages[mine], mask[mine]).item(),
            "ref_kl": kl[mine].sum(dim=1).mean().item(),
        }
        metrics |= {f"group/{group}/{name}": value for name, value in values.items()}
    return metrics


@torch.no_grad()
def group_sums(logprobs: Tensor, batch: RolloutBuffer, config: PPOConfig) -> dict[str, float]:
    """The policy's sums over the tokens of each group of outcomes, by group/name."""
    sums: dict[str, float] = {}
    for group, rows in batch.by_group().items():
        mask = batch.response_mask & rows
        _, stats = policy_loss(
            logprobs,
            batch.old_logprobs,
            batch.advantages,
            mask,
            config.clip_range,
            clip_high=config.clip_range_high,
        )
        sums |= {
            f"{group}/{name}": stats[name].item() for name in ("approx_kl", "clipped", "ratio", "tokens")
        }
    return sums


def group_means(totals: Mapping[str, float]) -> dict[str, float]:
    """Those sums over all minibatches to `group/<name>/ratio`, `approx_kl` and `clip_frac`."""
    means = {}
    for group in (name.removesuffix("/tokens") for name in totals if name.endswith("/tokens")):
        tokens = max(totals[f"{group}/tokens"], 1)
        means[f"group/{group}/approx_kl"] = totals[f"{group}/approx_kl"] / tokens
        means[f"group/{group}/ratio"] = totals[f"{group}/ratio"] / tokens
        means[f"group/{group}/clip_frac"] = totals[f"{group}/clipped"] / tokens
    return means


def share_with_signal(problem_ids: Sequence[str], verdicts: Sequence[Score | None]) -> float:
    """The share of problems whose scores tell one response from another.

    Several samples of a problem: they did not all score the same. A single one: it scored otherwise than most
    of the rollout did. Where this is near 0 there is nothing to learn from, as under a reward that is hardly
    ever earned.
    """
    totals: defaultdict[str, list[float]] = defaultdict(list)
    for problem, verdict in zip(problem_ids, verdicts, strict=True):
        if verdict is not None:
            totals[problem].append(verdict.total)
    usual = Counter(total for mine in totals.values() for total in mine).most_common(1)
    told = [len(set(mine)) > 1 if len(mine) > 1 else mine[0] != usual[0][0] for mine in totals.values()]
    return sum(told) / max(1, len(told))


class Transitions:
    """The way of each problem from group to group, over its visits."""

    def __init__(self) -> None:
        self.last: dict[str, str] = {}
        """Problem id -> group of its best response at the last visit."""

    def update(self, problem_ids: Sequence[str], verdicts: Sequence[Score | None]) -> dict[str, float]:
        """Take in a rollout; `transition/<from>-><to>`: how many problems that were seen before went so."""
        best: dict[str, Score] = {}
        for problem, verdict in zip(problem_ids, verdicts, strict=True):
            if verdict is not None and (problem not in best or verdict.total > best[problem].total):
                best[problem] = verdict
        moves = Counter(
            f"transition/{self.last[problem]}->{verdict.group}"
            for problem, verdict in best.items()
            if problem in self.last
        )
        self.last |= {problem: verdict.group for problem, verdict in best.items()}
        return dict(sorted(moves.items()))

    def state_dict(self) -> dict[str, str]:
        """What a checkpoint keeps."""
        return dict(self.last)

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        """Go on from a checkpoint."""
        self.last = dict(state)
