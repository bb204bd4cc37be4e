"""The logs of a run: values apart from times, and cut back to a checkpoint on resume."""

import json
from pathlib import Path

import pytest
from loop_helpers import Quiet

from ppo.run.log import RunLog, sample_table


def rows(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write(log: RunLog, iteration: int) -> None:
    with log.phase("rollout", 3):
        pass
    log.write(iteration, {"reward/mean": iteration / 3, "rollout/tokens": 7}, [{"response": "é\n\x00"}])


def test_values_and_times_are_apart(tmp_path):
    """metrics.jsonl holds what was logged and no time; timing.jsonl the phases."""
    log = RunLog(tmp_path, Quiet(), 2)
    write(log, 1)
    log.close()
    assert rows(tmp_path / "metrics.jsonl") == [{"iteration": 1, "reward/mean": 1 / 3, "rollout/tokens": 7}]
    assert rows(tmp_path / "samples.jsonl") == [{"iteration": 1, "response": "é\n\x00"}]
    timing = rows(tmp_path / "timing.jsonl")[0]
    rates = {"tokens_per_second", "tokens_per_second/rollout"}
    assert {"iteration", "seconds/rollout", "seconds/iteration", *rates} == set(timing)
    assert list((tmp_path / "tensorboard").iterdir())


def test_resume_cuts_to_the_checkpoint(tmp_path):
    """Check 29: lines after the offsets go, also a half-written one; appending goes on behind the rest."""
    log = RunLog(tmp_path, Quiet(), 9)
    write(log, 1)
    offsets = log.offsets()
    before = {name: (tmp_path / name).read_bytes() for name in offsets}
    write(log, 2)
    log.close()
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"iteration": 3, "rew')

    log = RunLog(tmp_path, Quiet(), 9)
    log.truncate(offsets)
    assert {name: (tmp_path / name).read_bytes() for name in offsets} == before
    assert log.offsets() == offsets
    write(log, 2)
    log.close()
    assert [row["iteration"] for row in rows(tmp_path / "metrics.jsonl")] == [1, 2]


def test_phases_are_timed_when_they_fail_too(tmp_path):
    """An exception passes through, and its time counts once."""
    log = RunLog(tmp_path, Quiet(), 1)
    with pytest.raises(KeyError), log.phase("score"):
        raise KeyError
    write(log, 1)
    write(log, 2)
    log.close()
    timing = rows(tmp_path / "timing.jsonl")
    assert "seconds/score" in timing[0] and "seconds/score" not in timing[1]


def test_a_checkpoint_of_before_a_log_was_kept_empties_it(tmp_path):
    """Offsets of an earlier version do not name tokens.jsonl."""
    log = RunLog(tmp_path, Quiet(), 9)
    write(log, 1)
    before = {name: size for name, size in log.offsets().items() if name != "tokens.jsonl"}
    log.write(2, {}, [], tokens=[{"sample": 0}])
    assert rows(tmp_path / "tokens.jsonl") == [{"iteration": 2, "sample": 0}]
    log.truncate(before)
    log.close()
    assert rows(tmp_path / "tokens.jsonl") == [] and len(rows(tmp_path / "samples.jsonl")) == 1


@pytest.mark.parametrize(
    ("scores", "shown"),
    [([0.5], [0.5]), ([0.0, 1.0], [1.0, 0.0]), ([0.1, None, 0.9, 0.5, -1.0], [0.9, 0.1, None])],
)
def test_trackers_see_the_best_the_middle_and_the_worst(scores, shown):
    table = sample_table([{"score": score, "program": f"print({score})"} for score in scores])
    assert table.columns == ("score", "outcome", "problem", "program")
    assert [row[0] for row in table.rows] == shown
    assert all(row[1:] == [None, None, f"print({row[0]})"] for row in table.rows)
