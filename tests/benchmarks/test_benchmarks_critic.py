"""The figures that the benchmarks of the critic make of runs, on numbers whose answer is known."""

import numpy as np
import pytest

from benchmarks.ceiling import ceiling
from benchmarks.critic import differences, spread, summary


def test_the_ceiling_is_one_where_prefixes_decide_and_zero_where_they_do_not():
    rng = np.random.default_rng(0)
    decided = np.repeat(rng.random((50, 4, 1)), 6, axis=2)
    assert ceiling(decided, 0)["mean"] == pytest.approx(1.0)
    noise = ceiling(rng.random((200, 4, 6)), 0)
    assert noise["low"] < 0 < noise["high"] and abs(noise["mean"]) < 0.05
    half = ceiling(decided + np.std(decided) * rng.standard_normal(decided.shape), 0)
    assert half["low"] < 0.5 < half["high"]


GOALS = (0.60, 0.65, 0.70)


def row(iteration: int, passed: float) -> dict[str, float]:
    explained = {"ppo/explained_var": iteration / 10, "ppo/explained_var_earned": 0.0}
    return {"iteration": iteration, "rollout/samples": 10, "reward/all_pass": passed, **explained}


def test_a_goal_is_reached_when_the_mean_of_five_rollouts_is_there():
    """0.2, 0.3, …: the mean of iterations 4 to 8 is the first of 0.7. Explained: over the second half."""
    rows = [{"iteration": 0, "validation/all_pass": 0.1}, *(row(n, (n + 1) / 10) for n in range(1, 9))]
    found = summary(rows, GOALS)
    assert found["to_goal"] == {"0.60": 70, "0.65": 80, "0.70": 80}
    assert found["explained_var"] == pytest.approx((0.5 + 0.6 + 0.7 + 0.8) / 4)
    assert found["samples"] == 80 and found["validation"] == [(0, 0.1)]
    assert summary(rows[:7], GOALS)["to_goal"]["0.70"] is None


def test_never_is_no_number():
    assert spread([100, None, 300], ".0f") == "never in 1 of 3"
    assert spread([100, 200, 300], ".0f") == "200 [100 to 300]"


def test_differences_are_paired():
    """The critic is ahead by 10 points everywhere: so is the interval, however much both vary."""
    theirs = [0.1, 0.9, 0.3, 0.5]
    runs = [
        {"arm": "critic", "seed": 1, "all_pass": [x + 0.1 for x in theirs]},
        {"arm": "other", "seed": 1, "all_pass": theirs},
        {"arm": "other", "seed": 2, "all_pass": theirs},
    ]
    assert differences(runs) == ["critic - other: +10.0 [+10.0, +10.0] points of All-P, 1 seeds"]
