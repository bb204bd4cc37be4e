"""Several checkpoints of one recipe: what training seeds change, apart from what sampling does.

    y_si = μ + a_s + b_i + e_si        seed s, problem i: both are drawn, and so is what is left

e holds what sampling an answer adds, and what a seed changes on single problems, which averages out. The
mean squares of seeds, problems and rest give the three variances (Searle, Casella and McCulloch 1992, 4.7).
"""

import math
from typing import NamedTuple

import numpy as np

from evaluation.intervals import problem_means


class Squares(NamedTuple):
    """Mean squares of a table of seeds and problems."""

    seeds: float
    problems: float
    rest: float


def recipe(values: np.ndarray) -> dict[str, float]:
    """The mean of a recipe, for new seeds and new problems.

    Args:
        values: (seeds, problems, samples), NaN where there is none.

    Returns:
        mean, low, high: 95 % interval by Satterthwaite's degrees of freedom. p: two-sided, of a mean of 0.
        spread: standard deviation between the means of the seeds. sampling: how much of it answers and single
        problems explain. training: what is left for the training seed itself, 0 where nothing is.

    Raises:
        ValueError: fewer than two seeds, or fewer than two problems with a value under every seed.
    """
    table = np.stack([problem_means(seed) for seed in values])  # (seeds, problems)
    table = table[:, ~np.isnan(table).any(axis=0)]
    seeds, problems = table.shape
    if seeds < 2 or problems < 2:
        raise ValueError(f"{seeds} seeds on {problems} problems: at least two of each are needed")
    squares = mean_squares(table)
    mean = float(table.mean())
    half, p = _half_width(squares, seeds, problems, mean)
    return {
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "p": p,
        "spread": float(table.mean(axis=1).std(ddof=1)),
        "sampling": math.sqrt(squares.rest / problems),
        "training": math.sqrt(max(squares.seeds - squares.rest, 0.0) / problems),
        "seeds": seeds,
        "problems": problems,
    }


def mean_squares(table: np.ndarray) -> Squares:
    """Of (seeds, problems); the mean squares of a two-way table with one value in each cell."""
    seeds, problems = table.shape
    mean, by_seed, by_problem = table.mean(), table.mean(axis=1), table.mean(axis=0)
    rest = table - by_seed[:, None] - by_problem[None, :] + mean
    return Squares(
        problems * float(((by_seed - mean) ** 2).sum()) / (seeds - 1),
        seeds * float(((by_problem - mean) ** 2).sum()) / (problems - 1),
        float((rest**2).sum()) / ((seeds - 1) * (problems - 1)),
    )


def _half_width(squares: Squares, seeds: int, problems: int, mean: float) -> tuple[float, float]:
    """Half of the interval of the mean, and p of a mean of 0.

    The variance of the mean is (MS_seeds + MS_problems - MS_rest) / (seeds * problems). Where seeds differ
    less than chance would have it, theirs is taken to be the rest's: a table is not worth more than its
    problems.
    """
    among_seeds = max(squares.seeds, squares.rest)
    total = among_seeds + squares.problems - squares.rest
    if total <= 0:
        return 0.0, 1.0 if mean == 0 else 0.0
    parts = (
        (among_seeds, seeds - 1),
        (squares.problems, problems - 1),
        (squares.rest, (seeds - 1) * (problems - 1)),
    )
    freedom = max(1.0, total**2 / sum(part**2 / n for part, n in parts))
    error = math.sqrt(total / (seeds * problems))
    return t_quantile(0.975, freedom) * error, 2 * (1 - t_cdf(abs(mean) / error, freedom))


def t_cdf(t: float, freedom: float) -> float:
    """Student's distribution function, for t >= 0, to about 1e-6.

    With t = √ν tan θ its density becomes c cos^{ν-1} θ, which is smooth and bounded on [0, π/2].
    """
    c = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    theta, step = np.linspace(0.0, math.atan(t / math.sqrt(freedom)), 1001, retstep=True)
    density = np.cos(theta) ** (freedom - 1)
    area = step * float(density.sum() - (density[0] + density[-1]) / 2)  # trapezoids
    return min(1.0, 0.5 + c * area)


def t_quantile(p: float, freedom: float) -> float:
    """Where Student's distribution function is p >= 0.5."""
    low, high = 0.0, 1.0
    while t_cdf(high, freedom) < p:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, freedom) < p else (low, middle)
    return high
