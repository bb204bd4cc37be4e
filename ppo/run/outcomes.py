"""What an iteration did by kind of outcome: by the `kind` that a score names (its stage)."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from torch import Tensor

from ppo.masked import masked_mean
from ppo.rollout import Responses, Score

UNSCORED = ""
"""In the place of an outcome where scoring failed."""


def outcomes_of(verdicts: Sequence[Score | None]) -> list[str]:
    """The outcome of every response."""
    return [UNSCORED if verdict is None else verdict.kind for verdict in verdicts]


def outcome_metrics(
    responses: Responses, verdicts: Sequence[Score | None], advantages: Tensor, kl: Tensor, mask: Tensor
) -> dict[str, float]:
    """`outcome/<name>/…` for each kind of outcome that occurred.

    `share` of the scored responses, mean `reward`, `program_length` in characters, `advantage` per token as
    the update sees it, and `ref_kl` in nats per response. `update` adds ratio, approx_kl and clip_frac.

    Args:
        advantages, kl, mask: (B, T).
    """
    metrics: dict[str, float] = {}
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, outcome in enumerate(outcomes_of(verdicts)):
        if outcome != UNSCORED:
            rows[outcome].append(row)
    scored = sum(map(len, rows.values()))
    for outcome, mine in sorted(rows.items()):
        totals = [verdict.total for row in mine if (verdict := verdicts[row]) is not None]
        values = {
            "share": len(mine) / scored,
            "reward": sum(totals) / len(mine),
            "program_length": sum(len(responses.programs[row].program) for row in mine) / len(mine),
            "advantage": masked_mean(advantages[mine], mask[mine]).item(),
            "ref_kl": kl[mine].sum(dim=1).mean().item(),
        }
        metrics |= {f"outcome/{outcome}/{name}": value for name, value in values.items()}
    return metrics


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
    """The way of each problem from outcome to outcome, over its visits."""

    def __init__(self) -> None:
        self.last: dict[str, str] = {}
        """Problem id -> outcome of its best response at the last visit."""

    def update(self, problem_ids: Sequence[str], verdicts: Sequence[Score | None]) -> dict[str, float]:
        """Take in a rollout; `transition/<from>-><to>`: how many problems that were seen before went so."""
        best: dict[str, Score] = {}
        for problem, verdict in zip(problem_ids, verdicts, strict=True):
            if verdict is not None and (problem not in best or verdict.total > best[problem].total):
                best[problem] = verdict
        moves = Counter(
            f"transition/{self.last[problem]}->{verdict.kind}"
            for problem, verdict in best.items()
            if problem in self.last
        )
        self.last |= {problem: verdict.kind for problem, verdict in best.items()}
        return dict(sorted(moves.items()))

    def state_dict(self) -> dict[str, str]:
        """What a checkpoint keeps."""
        return dict(self.last)

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        """Go on from a checkpoint."""
        self.last = dict(state)
