"""The tables of benchmarks/hard_problems.py."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from evaluation.paired import paired_difference

BASE = "parses"
"""What arms on easy problems are compared with."""
KINDS = ("syntax error", "silent", "constant", "crash", "quiet", "wrong", "passes")
NOTHING = ("silent", "constant")


def table(runs: list[dict[str, Any]]) -> str:
    """One line per objective, seeds side by side."""
    lines = [
        "| objective | silent or constant %, SFT | at the end | KL, nats | honest: crash, quiet, wrong, "
        "passes % | R of silent, constant, wrong | one program % | holds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm in dict.fromkeys(run["arm"] for run in runs):
        mine = [run for run in runs if run["arm"] == arm]
        holds = [{True: "yes", False: "no", None: "hardly moved"}[run["holds"]] for run in mine]
        honest = [
            f"{100 * np.mean([_of(run, kind, 'share', 0.0) for run in mine]):.0f}" for kind in KINDS[3:]
        ]
        earned = [_mean_reward(mine, kind) for kind in (*NOTHING, "wrong")]
        cells = [
            arm,
            _row(100 * run["start"] for run in mine),
            _row(100 * run["end"]["mean"] for run in mine),
            _row((run["kl_end"] for run in mine), digits=2),
            ", ".join(honest),
            ", ".join(earned),
            _row(100 * run["commonest"]["share"] for run in mine),
            ", ".join(holds),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _of(run: dict[str, Any], kind: str, name: str, default: float | None = None) -> Any:
    return run["kinds_end"].get(kind, {}).get(name, default)


def _mean_reward(runs: list[dict[str, Any]], kind: str) -> str:
    """Over the runs that have such programs, at their end or at their start; a dash where none has."""
    ends = [run[when] for run in runs for when in ("kinds_start", "kinds_end")]
    seen = [kinds[kind]["reward"] for kinds in ends if kind in kinds]
    return f"{np.mean(seen):.2f}" if seen else "-"


def _row(values: Iterable[float], digits: int = 1) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)


def easy_table(runs: list[dict[str, Any]]) -> str:
    """All-P held out, one line per objective; the difference to BASE is paired by problem, over all seeds."""
    lines = [f"| objective | All-P %, seed by seed | mean | minus `{BASE}`, points |", "|---|---|---|---|"]
    base = {run["seed"]: run for run in runs if run["arm"] == BASE}
    for arm in dict.fromkeys(run["arm"] for run in runs):
        mine = [run for run in runs if run["arm"] == arm]
        shares = [100 * run["all_pass"]["mean"] for run in mine]
        gap = "-"
        if arm != BASE and all(run["seed"] in base for run in mine):
            theirs, ours = (_solved(these) for these in ([base[run["seed"]] for run in mine], mine))
            found = paired_difference(theirs, ours, seed=1)
            mean, low, high = (f"{100 * found[key]:+.1f}" for key in ("mean", "low", "high"))
            gap = f"{mean} [{low} to {high}]"
        lines.append(f"| {arm} | {_row(shares)} | {np.mean(shares):.1f} | {gap} |")
    return "\n".join(lines)


def _solved(runs: list[dict[str, Any]]) -> np.ndarray:
    """(problems, seeds): the share of a problem's samples that pass all tests."""
    return np.array([[int(digit) / run["samples"] for digit in run["solved"]] for run in runs]).T
