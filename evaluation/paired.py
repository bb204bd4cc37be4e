"""Two models on the same problems: their difference, whether it can be chance, what could have been seen.

Paired: what makes a problem hard is in both and cancels. A difference counts as one only if both agree: the
bootstrap interval over problems leaves out 0, and the test's p is below 0.05.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from evaluation.intervals import Interval, bootstrap_interval, problem_means

ALPHA, POWER = 0.05, 0.8
FLIPS = 10_000
"""Of signs, where a test cannot be exact."""


def paired_difference(a: np.ndarray, b: np.ndarray, seed: int) -> dict[str, float]:
    """b minus a, problem by problem.

    Args:
        a, b: (problems, samples) each, NaN where there is none; the problems are the same, in order.

    Returns:
        mean, low, high: of the difference, with its 95 % bootstrap interval over problems. p: of the sign
        test below. higher, lower: problems on which b has more, and less. problems: those with a value on
        both sides. smallest: see `smallest_difference`; left out where that cannot be known.

    Raises:
        ValueError: no problem has a value on both sides.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} problems cannot be paired with {len(b)}")
    gaps = problem_means(b) - problem_means(a)
    gaps = gaps[~np.isnan(gaps)]
    found: Interval = bootstrap_interval(gaps[:, None], seed)
    smallest = smallest_difference(gaps)
    return {
        **found,
        "p": sign_test(gaps, seed),
        "higher": int((gaps > 0).sum()),
        "lower": int((gaps < 0).sum()),
        "problems": len(gaps),
        **({} if smallest is None else {"smallest": smallest}),
    }


def is_different(difference: dict[str, float]) -> bool:
    """Whether chance is an unlikely explanation. Reads p_holm where several pairs were compared, else p."""
    p = difference.get("p_holm", difference["p"])
    return bool(p < ALPHA and not difference["low"] <= 0.0 <= difference["high"])


def sign_test(gaps: np.ndarray, seed: int) -> float:
    """Two-sided p of the hypothesis that the sign of each problem's difference is chance.

    If two models are alike, every difference could as well have had the other sign. Where all differences
    are of one size (one sample each, passed or not) this is McNemar's exact test; else signs are drawn.

    Args:
        gaps: (problems,), no NaN.
    """
    gaps = gaps[gaps != 0]
    sizes = np.abs(gaps)
    if len(gaps) == 0:
        return 1.0
    if np.allclose(sizes, sizes[0]):
        return mcnemar(int((gaps > 0).sum()), int((gaps < 0).sum()))
    rng = np.random.default_rng(seed)
    signs = rng.integers(0, 2, size=(FLIPS, len(gaps)), dtype=np.int8) * 2 - 1
    drawn = np.abs(signs @ gaps)
    # What is equal but for rounding counts as equal, and the draw that was seen is one of them.
    return float((1 + (drawn >= abs(gaps.sum()) * (1 - 1e-9)).sum()) / (1 + FLIPS))


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p: `gained` or `lost` of so many disagreements, each as likely.    McNemar 1947"""
    n, few = int(gained) + int(lost), int(min(gained, lost))
    # Sums of whole numbers, divided once: exact for any n.
    tail = sum(math.comb(n, i) for i in range(few + 1))
    return min(1.0, 2 * tail / 2**n)


def smallest_difference(gaps: np.ndarray) -> float | None:
    """The true difference d that these problems would show with power 0.8 at alpha 0.05.

        d = (z_{0.975} √m + z_{0.8} √(m - d²)) / √n + s / n        Connor 1987, with a step of s for exactness

    m is the mean square of a problem's difference: as seen without its mean, and s * d more, since a gain
    comes as more differences of their usual size s. A smaller difference than d may be there, and would be
    missed more often than once in five times. None where all differences are equal, or there is but one:
    then nothing is known of their variance.
    """
    if len(gaps) < 2 or np.ptp(gaps) == 0:
        return None
    normal = NormalDist()
    alpha, power, n = normal.inv_cdf(1 - ALPHA / 2), normal.inv_cdf(POWER), len(gaps)
    size = float((gaps**2).sum() / np.abs(gaps).sum())
    chance = float(max((gaps**2).mean() - size * abs(gaps.mean()), 0.0))
    d = 0.0
    for _ in range(100):  # a contraction: each step halves what is missing, or better
        m = chance + size * d
        d = (alpha * math.sqrt(m) + power * math.sqrt(max(m - d * d, 0.0))) / math.sqrt(n) + size / n
    return d


def holm(ps: Sequence[float]) -> list[float]:
    """p values of several comparisons, raised so that one in twenty studies, not one in twenty pairs, finds a
    difference where there is none.    Holm 1979"""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    raised, least = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(ps) - rank) * ps[i]))
        raised[i] = least
    return raised
