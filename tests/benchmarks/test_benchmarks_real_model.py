"""The figures that the benchmark of the whole job makes of evaluations and runs."""

import json

import pytest

from benchmarks.real_model import SHOWN, differences, pick, table, timed, training
from reward import Outcome
from reward.outcome import Verdict


def sample(problem: int, number: int, passed: bool) -> dict:
    verdict = Verdict("ok", passed, 1, "0" * 64)
    outcome = Outcome(compiles=True, num_tests=1, verdicts=(verdict,), scan="ok")
    return {
        "problem": f"p{problem}",
        "problem_text": f"Do {problem}.",
        "sample": number,
        "program": "print(1)",
        "outcome": outcome.stage.label,
        "score": float(passed),
        "verdict": outcome.to_dict(),
    }


def evaluation(*passed: bool) -> list[dict]:
    """Two samples a problem."""
    return [sample(i // 2, i % 2, p) for i, p in enumerate(passed)]


def test_differences_are_paired_by_problem():
    """Half of the problems are solved before and after, all others after: + 0.5, and - 0.5 the other way."""
    before = evaluation(True, True, False, False)
    after = evaluation(True, True, True, True)
    found = differences(before, after, seed=1)
    assert found["all_pass"]["mean"] == 0.5 and found["all_pass"]["low"] == 0.0
    assert found["length"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert differences(after, before, seed=1)["all_pass"]["mean"] == -0.5


def test_a_fault_on_one_side_is_in_no_difference():
    before, after = evaluation(False, False, True, True), evaluation(True, True, True, True)
    after[0] |= {"verdict": None, "score": None, "outcome": None}
    assert differences(before, after, seed=1)["all_pass"]["mean"] == pytest.approx(1 / 3)


def test_other_problems_are_not_compared():
    with pytest.raises(SystemExit, match="not of the same problems"):
        differences(evaluation(True, True), evaluation(True, True, True, True), seed=1)


def test_samples_are_picked_evenly_and_from_the_first_of_each_problem():
    rows = [sample(i // 2, i % 2, False) for i in range(80)]
    assert [row["problem"] for row in pick(rows)] == [f"p{i}" for i in range(0, 40, 40 // SHOWN)]
    assert len(pick(rows[:6])) == 3


def test_times_add_up_over_what_was_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.real_model.ROOT", tmp_path)
    cpu = iter([0.0, 60.0, 60.0, 90.0, 90.0, 90.0])

    class Usage:
        ru_stime = 0.0

        def __init__(self) -> None:
            self.ru_utime = next(cpu)

    monkeypatch.setattr("benchmarks.real_model.resource.getrusage", lambda who: Usage())

    def cut_off() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        timed(tmp_path / "seed-1", "ppo", cut_off)
    timed(tmp_path / "seed-1", "ppo", lambda: None)
    timed(tmp_path / "seed-1", "ppo", lambda: None)  # all there: nothing to add
    assert json.loads((tmp_path / "seed-1" / "times.json").read_text())["ppo"]["cpu_minutes"] == 1.5


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
