"""A user's Python function as the reward."""

import pytest

from cli.errors import UsageError
from cli.scoring import FunctionScorer
from data import Problem, TestCase

PAIRS = [(Problem(id=str(n), prompt="p", tests=(TestCase("", ""),)), "x" * n) for n in range(3)]


def scorer(tmp_path, source: str) -> FunctionScorer:
    file = tmp_path / "mine.py"
    file.write_text(source)
    return FunctionScorer(f"{file}:score")


def test_it_is_called_with_problems_and_programs(tmp_path):
    mine = scorer(tmp_path, "def score(pairs):\n    return [len(p) + 10 * int(q.id) for q, p in pairs]\n")
    assert [s.total for s in mine(PAIRS, 0)] == [0.0, 11.0, 22.0]


def test_none_stays_none_and_scores_stay_scores(tmp_path):
    source = (
        "from ppo.rollout import PlainScore\n"
        "def score(pairs):\n    return [None, PlainScore(2.0, group='good', metrics={'reward/x': 1.0}), 3]\n"
    )
    first, second, third = scorer(tmp_path, source)(PAIRS, 0)
    assert first is None
    assert (second.total, second.group, second.metrics) == (2.0, "good", {"reward/x": 1.0})
    assert third.total == 3.0


BAD = {
    "def other(pairs): return []": "has no function score",
    "def score(pairs): return [1.0]": "returned 1 scores for 3 programs",
    "def score(pairs): return ['a', 1, 2]": "neither a number nor a Score",
    "def score(pairs): return 1.0": "returned 1.0, not a list",
}


@pytest.mark.parametrize("source", BAD)
def test_a_bad_function_is_one_clear_line(tmp_path, source):
    with pytest.raises(UsageError, match=BAD[source]):
        scorer(tmp_path, source)(PAIRS, 0)


@pytest.mark.parametrize("spec", ["missing.py:score", "nofunction", "a.py:"])
def test_a_bad_spec_is_one_clear_line(spec):
    with pytest.raises(UsageError, match=r"expected file\.py:function"):
        FunctionScorer(spec)


def test_the_file_may_define_dataclasses(tmp_path):
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass, field\n\n"
        "@dataclass\nclass Mine:\n    total: float\n    group: str = 'mine'\n"
        "    metrics: dict = field(default_factory=dict)\n\n"
        "def score(pairs):\n    return [Mine(float(len(p))) for _, p in pairs]\n"
    )
    assert [s.total for s in scorer(tmp_path, source)(PAIRS, 0)] == [0.0, 1.0, 2.0]


def test_an_error_in_the_function_keeps_its_traceback(tmp_path):
    """A bug in a user's reward must not look like a usage error of ours, nor become a score."""
    with pytest.raises(ZeroDivisionError):
        scorer(tmp_path, "def score(pairs): return [1 / 0]")(PAIRS, 0)
