"""The way of problems from stage to stage, added up over a run."""

import re

from report.read import Run
from report.transitions import transitions, transitions_section


def run_of(*rows: dict) -> Run:
    return Run("run", [{"iteration": i, **row} for i, row in enumerate(rows)])


def test_visits_add_up_and_rows_sum_to_a_hundred():
    run = run_of(
        {},
        {"transition/parses->passes": 1, "transition/parses->parses": 2, "other": 5},
        {"transition/parses->passes": 2, "transition/passes->passes": 4},
    )
    assert transitions(run) == {("parses", "passes"): 3, ("parses", "parses"): 2, ("passes", "passes"): 4}
    section = transitions_section([run])
    assert re.findall(r'<th scope="col">(\w+)</th>', section) == ["parses", "passes", "visits"]
    rows = re.findall(r'<th scope="row">(\w+)</th>(.*?)</tr>', section)
    assert [(name, re.findall(r"(\d+) % <small>(\d+)</small>", cells)) for name, cells in rows] == [
        ("parses", [("40", "2"), ("60", "3")]),
        ("passes", [("100", "4")]),
    ]


def test_outcomes_of_a_reward_function_come_after_the_stages():
    section = transitions_section([run_of({}, {"transition/mine->prints": 1, "transition/prints->a->b": 1})])
    names = ["prints", "b", "mine", "prints-&gt;a"]
    assert re.findall(r'<th scope="row">(.*?)</th>', section) == names


def test_a_run_without_second_visits_says_so():
    assert "No problem of run was met twice" in transitions_section([run_of({}, {"reward/mean": 1})])
    assert transitions_section([run_of({})]) == "" and transitions_section([]) == ""
