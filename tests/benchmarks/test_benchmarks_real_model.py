"""The figures that the benchmark of the whole job makes of evaluations and runs."""

import json
from pathlib import Path

import pytest

from benchmarks.real_model import SHOWN, differences, pick, table, training
from reward import Outcome, RewardConfig
from reward.outcome import Verdict


def sample(problem: int, number: int, passed: bool) -> dict:
    verdict = Verdict("ok", passed, 1, "0" * 64)
    outcome = Outcome(compiles=True, num_tests=1, verdicts=(verdict,), scan="ok")
    return {
        "problem": f"p{problem}",
        "problem_text": f"Do {problem}.",
        "sample": number,
        "program": "print(1)",
        "ended": True,
        "outcome": outcome.stage.label,
        "score": float(passed),
        "verdict": outcome.to_dict(),
    }


@pytest.fixture
def evaluation(tmp_path):
    """Writes an evaluation's samples, two of each problem; a fault where None."""

    def write(name: str, *passed: bool | None) -> Path:
        rows = [sample(i // 2, i % 2, bool(p)) for i, p in enumerate(passed)]
        for row, p in zip(rows, passed, strict=True):
            row |= {} if p is not None else {"verdict": None, "score": None, "outcome": None}
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def test_differences_are_paired_by_problem(evaluation):
    """Half of the problems are solved before and after, all others after: + 0.5, and - 0.5 the other way."""
    before = evaluation("before", True, True, False, False)
    after = evaluation("after", True, True, True, True)
    found = differences(before, after, RewardConfig(), seed=1)
    assert found["all_pass"]["mean"] == 0.5 and found["all_pass"]["low"] == 0.0
    assert {key: found["length"][key] for key in ("mean", "low", "high")} == dict.fromkeys(
        ("mean", "low", "high"), 0.0
    )
    assert differences(after, before, RewardConfig(), seed=1)["all_pass"]["mean"] == -0.5


def test_a_problem_that_could_not_be_judged_on_one_side_is_in_no_difference(evaluation):
    before = evaluation("before", False, False, True, True)
    after = evaluation("after", None, None, True, True)
    assert differences(before, after, RewardConfig(), seed=1)["all_pass"] == pytest.approx(
        {"mean": 0, "low": 0, "high": 0, "p": 1, "higher": 0, "lower": 0, "problems": 1}
    )


def test_other_problems_are_not_compared(evaluation):
    before, after = evaluation("before", True, True), evaluation("after", True, True, True, True)
    with pytest.raises(SystemExit, match="not of the same problems"):
        differences(before, after, RewardConfig(), seed=1)


def test_samples_are_picked_evenly_and_from_the_first_of_each_problem():
    rows = [sample(i // 2, i % 2, False) for i in range(80)]
    assert [row["problem"] for row in pick(rows)] == [f"p{i}" for i in range(0, 40, 40 // SHOWN)]
    assert len(pick(rows[:6])) == 3


def test_training_is_told_in_halves_and_the_table_has_three_rows_a_seed():
    rows = [
        {"iteration": n, "rollout/samples": 8, "reward/all_pass": n / 10, "reward/mean": 0.5}
        for n in range(1, 5)
    ]
    found = training([{"iteration": 0, "validation/all_pass": 0.2}, *rows])
    assert found["iterations"] == 4 and found["samples"] == 32 and found["validation"] == [(0, 0.2)]
    assert found["first_half"]["reward/all_pass"] == 0.15
    assert found["second_half"]["reward/all_pass"] == 0.35
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6}
    columns = dict.fromkeys(("syntax", "any_pass", "all_pass", "reward", "length"), interval)
    run = {"seed": 1, "before": columns, "after": columns, "differences": columns}
    shown = table([run | {"problems": 3, "samples": 2, "temperature": 0.7}])
    assert shown.count("\n| 1 |") == 3 and "+50.0 [+40.0 to +60.0]" in shown
