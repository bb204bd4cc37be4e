"""What several samples of one problem say together: pass@k, and how often two of them disagree."""

import numpy as np


def pass_at_k(passed: np.ndarray, samples: np.ndarray, k: int) -> np.ndarray:
    """The chance that one of k samples passes, unbiased, for each problem.

        1 - C(n - c, k) / C(n, k) = 1 - Π_{i = n-c+1..n} (1 - k / i)            Chen et al. 2021, section 2.1

    As a product of factors in [0, 1] nothing overflows and nothing cancels.

    Args:
        passed: (problems,) c, how many samples pass.
        samples: (problems,) n, how many there are, each k or more.

    Returns:
        (problems,) in [0, 1].
    """
    passed, samples = np.asarray(passed), np.asarray(samples)
    if k < 1 or (samples < k).any() or (passed < 0).any() or (passed > samples).any():
        raise ValueError(f"pass@{k} needs {k} samples or more of every problem, 0 to all of them passed")
    last = np.arange(1, samples.max(initial=0) + 1)  # i
    counted = (last > (samples - passed)[:, None]) & (last <= samples[:, None])  # (problems, i)
    # Fewer than k samples fail: a factor with i < k would be negative, and one with i = k is 0.
    factors = np.where(counted, np.maximum(1 - k / last, 0.0), 1.0)
    return 1 - factors.prod(axis=1)


def ks(samples: int) -> list[int]:
    """The k to report: 1, 2, 5, 10, 20, ... and the number of samples."""
    return sorted({m * 10**e for e in range(9) for m in (1, 2, 5) if m * 10**e <= samples} | {samples})


def flip_rate(values: np.ndarray) -> np.ndarray:
    """The share of pairs of samples that disagree, for each problem.

    Two passes over the same problems would answer so many of them differently.

    Args:
        values: (problems, samples) of 0 and 1, NaN where there is none.

    Returns:
        (problems,), NaN where a problem has fewer than two values.
    """
    n = (~np.isnan(values)).sum(axis=1)
    ones = np.nansum(values, axis=1)
    pairs = n * (n - 1) / 2
    return np.where(pairs > 0, ones * (n - ones) / np.maximum(pairs, 1), np.nan)
