"""95 % intervals of rates and means. Problems are the unit: samples of one problem are not independent.

Values are (problems, samples) with NaN where there is none (the sandbox failed, or the question does not
arise: whether a program is clean that does not parse). An interval is {"mean", "low", "high"}.
"""

from functools import lru_cache
from statistics import NormalDist

import numpy as np

DRAWS = 2000
"""Of a bootstrap."""
Z = NormalDist().inv_cdf(0.975)

Interval = dict[str, float]


def interval(values: np.ndarray, seed: int, *, rate: bool) -> Interval:
    """Of a rate (every value is 0 or 1) or of a mean; ValueError where there is no value at all."""
    return rate_interval(values) if rate else bootstrap_interval(values, seed)


def bootstrap_interval(values: np.ndarray, seed: int) -> Interval:
    """Mean, and the percentile interval of the mean when problems are drawn again with replacement."""
    sums, counts = sums_and_counts(values)
    drawn = _times_drawn(seed, len(sums))
    means = (drawn @ sums) / (drawn @ counts)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(sums.sum() / counts.sum()), "low": float(low), "high": float(high)}


def rate_interval(values: np.ndarray) -> Interval:
    """Wilson's interval (1927) for as many independent samples as these are worth.

    n samples of one problem are worth between one and n. How many follows from the variance of the rate with
    problems as the unit, p (1 - p) / n_eff. It says something where the bootstrap cannot: 0 of 300 is not
    [0, 0].
    """
    hits, counts = sums_and_counts(values)
    problems, samples = len(hits), counts.sum()
    p = hits.sum() / samples
    # Linearised, since problems may have unequal numbers of valid samples.
    variance = ((hits - p * counts) ** 2).sum() * problems / max(problems - 1, 1) / samples**2
    worth = samples if variance == 0 else p * (1 - p) / variance
    if p in (0.0, 1.0):  # samples that all agree do not tell how much they depend on each other
        worth = problems
    low, high = wilson(p, min(max(worth, problems), samples))
    return {"mean": float(p), "low": low, "high": high}


def wilson(p: float, n: float) -> tuple[float, float]:
    """The rates at which a share p of n independent samples is within 1.96 standard errors."""
    centre, half = p + Z**2 / (2 * n), Z * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    low, high = (centre - half) / (1 + Z**2 / n), (centre + half) / (1 + Z**2 / n)
    # At the ends the formula meets 0 and 1, but for rounding.
    return float(0.0 if p == 0 else max(low, 0.0)), float(1.0 if p == 1 else min(high, 1.0))


def sums_and_counts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each problem that has a value: (problems,) sums, (problems,) numbers of values."""
    valid = ~np.isnan(values)
    counts = valid.sum(axis=1)
    if not counts.any():
        raise ValueError("no problem has a value")
    return np.where(valid, values, 0.0).sum(axis=1)[counts > 0], counts[counts > 0]


def problem_means(values: np.ndarray) -> np.ndarray:
    """(problems,) means over the samples of each; NaN where a problem has no value."""
    valid = ~np.isnan(values)
    counts = valid.sum(axis=1)
    sums = np.where(valid, values, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


@lru_cache(maxsize=2)  # an evaluation asks for dozens of intervals of one size
def _times_drawn(seed: int, problems: int) -> np.ndarray:
    """How often each bootstrap draw has each problem: (DRAWS, problems), rows that add up to `problems`."""
    draws = np.random.default_rng(seed).integers(problems, size=(DRAWS, problems))
    flat = (draws + problems * np.arange(DRAWS)[:, None]).ravel()
    return np.bincount(flat, minlength=DRAWS * problems).reshape(DRAWS, problems).astype(float)
