"""Signs of trouble: each is told when it is there, and silent when it is not."""

import pytest
from report_inputs import metrics_row

from report.read import Run
from report.signs import signs, signs_section

ITERATIONS = 8


def run(**columns: list[float]) -> Run:
    """A healthy run with some metrics replaced, in its last iterations; `__` stands for `/`."""
    rows = [metrics_row(i, ITERATIONS) for i in range(ITERATIONS + 1)]
    rows[-1]["validation/all_pass"] = 0.9
    for name, values in columns.items():
        for row, value in zip(rows[-len(values) :], values, strict=True):
            row[name.replace("__", "/")] = value
    return Run("run", rows)


def every(value: float) -> list[float]:
    return [value] * ITERATIONS


def test_a_healthy_run_shows_none():
    assert signs(run()) == []
    assert signs_section([run()]) == ""


def test_a_run_without_these_metrics_shows_none():
    assert signs(Run("run", [{"iteration": 0}, {"iteration": 1, "reward/mean": 1.0}])) == []


@pytest.mark.parametrize(
    ("columns", "start"),
    [
        (
            {"validation__length": [60.0, *every(40.0)], "validation__all_pass": [0.05, 0.06, *[0.05] * 7]},
            "R rose from 0.4 to 0.7 while programs went from 60 to 40 characters",
        ),
        (
            {"validation__all_pass": [0.6, 0.5]},
            "All-P on validation ended at 50.0 %, after 60.0 % at iteration 7",
        ),
        (
            {"validation__all_pass": [0.05, *every(0.05)]},
            "All-P on validation never rose above its start: the best checkpoint is iteration 0",
        ),
        ({"reward__std": [0.0] * 5}, "In 5 of 8 iterations every program earned the same reward"),
        (
            {"hack__alarm": [0.0, 1.0, 1.0]},
            "The alarm for short, valid, wrong programs was on in 2 iterations, first in 7",
        ),
        (
            {"warning__pile_up": [1.0, 1.0, 1.0]},
            "Nine in ten programs ended up alike, although another kind earns more in 3 iterations",
        ),
        ({"hack__any": [0.0, *[0.3] * 4]}, "30 % of the late training programs show a sign of playing"),
        ({"rollout__faults": [1, 2]}, "3 of 128 training programs could not be scored"),
        ({"ppo__skipped_steps": [1, 1]}, "2 of 32 optimizer steps were skipped"),
        ({"rollout__ended": every(0.3)}, "70 % of the late responses were cut"),
        (
            {"ppo__explained_var": [-0.3, 0.1]},
            "The critic is no better than a constant: explained variance −0.10",
        ),
        ({"ppo__clip_frac": [0.4, 0.3]}, "35 % of the tokens are clipped"),
        ({"ppo__entropy": [0.05, 0.03]}, "The entropy fell from 1.12 to 0.04 nats"),
    ],
)
def test_each_sign_is_told_alone(columns, start):
    (sign,) = signs(run(**columns))
    assert sign.startswith(start)


@pytest.mark.parametrize(
    "columns",
    [
        {"validation__length": [60.0, *every(40.0)]},  # shorter, but All-P rose: fine
        {"validation__all_pass": [0.6, 0.56]},  # within what luck does
        {"reward__std": [0.0] * 4},  # half of the iterations
        {"rollout__ended": [0.1]},  # one iteration
        {"ppo__explained_var": [float("nan"), 0.1]},  # a rollout without variance
    ],
)
def test_close_to_a_sign_is_none(columns):
    assert signs(run(**columns)) == []


def test_what_was_left_out_on_reading_is_told_beside_them():
    one, two = run(), run(rollout__faults=[1])
    one.notes.append("metrics.jsonl: line 4 is unfinished and left out")
    page = signs_section([one, two])
    assert page.count("<li>run: ") == 2
    assert "line 4 is unfinished" in page and "1 of 128" in page
