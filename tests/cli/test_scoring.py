"""What the loop is handed as a scorer: the project's reward with its alarm, a user's Python function."""

import json
from pathlib import Path

import pytest

from cli.errors import UsageError
from cli.scoring import FunctionScorer, ScheduledScorer
from data import Problem, TestCase
from ppo.credit import unexecuted_lines
from reward import RewardConfig, RewardSchedule, ScheduleConfig, Scorer, rescore

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
        "def score(pairs):\n    return [None, PlainScore(2.0, kind='good', metrics={'reward/x': 1.0}), 3]\n"
    )
    first, second, third = scorer(tmp_path, source)(PAIRS, 0)
    assert first is None
    assert (second.total, second.kind, second.metrics) == (2.0, "good", {"reward/x": 1.0})
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
        "@dataclass\nclass Mine:\n    total: float\n    kind: str = 'mine'\n"
        "    metrics: dict = field(default_factory=dict)\n\n"
        "def score(pairs):\n    return [Mine(float(len(p))) for _, p in pairs]\n"
    )
    assert [s.total for s in scorer(tmp_path, source)(PAIRS, 0)] == [0.0, 1.0, 2.0]


def test_an_error_in_the_function_keeps_its_traceback(tmp_path):
    """A bug in a user's reward must not look like a usage error of ours, nor become a score."""
    with pytest.raises(ZeroDivisionError):
        scorer(tmp_path, "def score(pairs): return [1 / 0]")(PAIRS, 0)


# --- the project's reward

PLUS_ONE = Problem("plus", "Read n, print n + 1.", (TestCase("1\n", "2\n"), TestCase("41\n", "42\n")))
# The first tries crash, the last ones only read: R rises to 0.64, and nothing is ever solved.
TRIES = [f"n = int(input())\nprint(n + 1 + undefined_{i})" for i in range(130)]
COLLAPSE = [TRIES] * 3 + [["input()"] * 130] * 4


def scheduled(scorer: Scorer, said: list[str]) -> ScheduledScorer:
    # The mix moves all the time; the alarm must not take that for a rise of R.
    schedule = RewardSchedule(RewardConfig(), ScheduleConfig("linear", over=4))
    return ScheduledScorer(scorer, schedule, say=said.append)


def test_the_collapse_to_silent_programs_is_logged_and_told_also_after_a_resume() -> None:
    said: list[str] = []
    with Scorer(workers=1) as scorer:
        straight, first, second = (scheduled(scorer, lines) for lines in (said, [], []))
        logged = [straight([(PLUS_ONE, p) for p in tries], i) for i, tries in enumerate(COLLAPSE)]
        for i in range(4):
            first([(PLUS_ONE, p) for p in COLLAPSE[i]], i)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        resumed = [second([(PLUS_ONE, p) for p in COLLAPSE[i]], i) for i in range(4, 7)]
    alarms = [{score.metrics["hack/alarm"] for score in scores if score} for scores in logged]
    assert alarms[:3] == [{0.0}] * 3 and alarms[-1] == {1.0}
    assert sum("alarm" in line for line in said) == 1 and sum(alarm == {1.0} for alarm in alarms) > 1
    assert [line for line in said if "objective" in line] == [
        f"the objective is now {name}" for name in ("mix 0.25", "mix 0.5", "mix 0.75", "partial")
    ]
    assert {score.metrics["hack/silent"] for score in logged[-1] if score} == {1.0}
    assert [[s and s.metrics for s in scores] for scores in resumed] == [
        [s and s.metrics for s in scores] for scores in logged[4:]
    ]


def test_progress_ends_at_the_number_of_programs() -> None:
    heard: list[int] = []
    with Scorer(workers=1) as scorer:
        scheduled_scorer = ScheduledScorer(scorer, RewardSchedule(), progress=heard.append)
        pairs = [(PLUS_ONE, program) for program in ("print(2)", "print(3)", "print(2)", "x =", "print(2)")]
        scheduled_scorer(pairs, 0)
        assert heard[0] == 0 and heard[-1] == 5 and heard == sorted(heard)
        heard.clear()
        scheduled_scorer([*pairs, (PLUS_ONE, "print(4)")], 1)
        assert heard == [5, 6]


def test_a_real_run_gives_back_every_logged_reward(ppo_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rescore.main([str(ppo_run / "samples.jsonl")]) == 0
    assert "16 programs, 0 faults; every logged reward reproduced" in capsys.readouterr().out


def test_rewards_say_where_their_program_failed():
    """What token credit reads: from the sandbox's traceback to the lines that were never reached."""
    problem = Problem("p", "Print 6 / n.", (TestCase("1", "6"), TestCase("0", "0")))
    late = "n = int(input())\nprint(6 // n)\n"
    early = "n = int(input())\nn.real()\nprint(6 // n)\nprint()\n"
    with Scorer(workers=1) as judge:
        found = ScheduledScorer(judge, RewardSchedule())([(problem, late), (problem, early)], 0)
    assert [score.tracebacks for score in found] == [(None, (2, 2)), ((2, 2), (2, 2))]
    assert list(unexecuted_lines(late, found[0].tracebacks)) == []  # one run reached everything
    assert list(unexecuted_lines(early, found[1].tracebacks)) == [3, 4, 5]
