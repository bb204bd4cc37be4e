"""Can the intervals and differences of evaluate.py be believed? Pairs of models that are alike, simulated.

    python benchmarks/intervals.py --json benchmarks/results/intervals.json

Each problem has a chance of its own to be solved (a beta distribution around p), the same for both models of
a pair. Told are: how often the two are called different, though they are not (5 % is meant); how often the
intervals of rate, mean and difference hold the truth (95 %); and how often a difference as large as the one
that these problems are said to show is found (80 %). About two minutes on one core.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its reward.py would be imported

from benchmarks.runs import write  # noqa: E402
from evaluation.intervals import bootstrap_interval, rate_interval  # noqa: E402
from evaluation.paired import is_different, paired_difference  # noqa: E402

PROBLEMS = 300
RATES = (0.05, 0.4)
SAMPLES = (1, 2)
FLOOR = 0.6  # what a program earns that fails, in the simulated R: a mean that is no rate


def main() -> None:
    """Simulate, print a Markdown table, write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file to write the results to")
    given = parser.parse_args()
    rows = [simulate(p, k, given.pairs, given.seed) for p in RATES for k in SAMPLES]
    print(table(rows))
    if given.json:
        write(given.json, {"problems": PROBLEMS, "pairs": given.pairs, "rows": rows})


def simulate(p: float, samples: int, pairs: int, seed: int) -> dict[str, Any]:
    """Shares over `pairs` pairs of models that solve a problem with chance `p` on average."""
    rng = np.random.default_rng([seed, round(1000 * p), samples])
    seen: dict[str, list[bool]] = {key: [] for key in ("different", "difference", "rate", "mean", "power")}
    for pair in range(pairs):
        # Few problems are between easy and hard: so it is with real ones.
        chance = rng.beta(p, 1 - p, size=(PROBLEMS, 1))
        a, b = ((rng.random((PROBLEMS, samples)) < chance).astype(float) for _ in range(2))
        found = paired_difference(a, b, seed)
        seen["different"].append(is_different(found))
        seen["difference"].append(found["low"] <= 0 <= found["high"])
        rate, mean = rate_interval(a), bootstrap_interval(FLOOR + (1 - FLOOR) * a, seed)
        seen["rate"].append(rate["low"] <= p <= rate["high"])
        seen["mean"].append(mean["low"] <= FLOOR + (1 - FLOOR) * p <= mean["high"])
        if pair % 4 == 0 and "smallest" in found:
            better = np.minimum(1.0, chance + found["smallest"] * _room(chance))
            c = (rng.random((PROBLEMS, samples)) < better).astype(float)
            seen["power"].append(is_different(paired_difference(a, c, seed)))
    return {"p": p, "samples": samples} | {key: float(np.mean(values)) for key, values in seen.items()}


def _room(chance: np.ndarray) -> np.ndarray:
    """How a gain is spread over problems: by how much each has left, one on average."""
    return (1 - chance) / (1 - chance).mean()


def table(rows: list[dict[str, Any]]) -> str:
    """One line for each rate and number of samples."""
    lines = [
        "| p | samples | called different % | difference held % | rate held % | mean held % | found % |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shares = [f"{100 * row[key]:.1f}" for key in ("different", "difference", "rate", "mean", "power")]
        lines.append("| " + " | ".join([str(row["p"]), str(row["samples"]), *shares]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
