"""Stored programs under another objective: the same rewards, other rewards, and what cannot be told."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from reward_worlds import configs, worlds

from reward import Finding, Outcome, RewardConfig, RewardSchedule, ScheduleConfig, Trick, Verdict
from reward.controller import Thresholds
from reward.cwe import CweWeights
from reward.rescore import main
from reward.stored import build

OK, WRONG = Verdict("ok", True, 2, "0" * 64, "1\n"), Verdict("ok", False, 2, "0" * 64, "2\n")
SOLVES = Outcome(True, 2, (OK, OK), "ok")
HALF = Outcome(True, 2, (OK, WRONG), "ok")
PRINTS = Outcome(True, 2, (WRONG, WRONG), "ok")
BROKEN = Outcome(False, 2, (), "syntax")
EVALS = replace(SOLVES, findings=(Finding(1, "B307", "MEDIUM", "HIGH", 78),))
TRICKY = replace(PRINTS, sentinels=("introspection",), tricks=(Trick(1, "alias"),))

ITERATIONS = [[BROKEN, BROKEN, PRINTS], [PRINTS, None, TRICKY], [SOLVES, EVALS, PRINTS]]


def write_run(
    folder: Path,
    iterations: list[list[Outcome | None]],
    config: RewardConfig | None = None,
    schedule: ScheduleConfig | None = None,
    **facts: object,
) -> Path:
    """A run folder as training writes it; returns the path of its samples."""
    folder.mkdir(exist_ok=True)
    active = RewardSchedule(config, schedule)
    state = active.state_dict()
    section = {"objective": state["config"], "schedule": state["schedule"], "learning_rate": 0.1, **facts}
    (folder / "config.yaml").write_text(yaml.safe_dump({"ppo": section}))
    with (folder / "samples.jsonl").open("w") as file:
        for number, outcomes in enumerate(iterations):
            for reward in active.rewards(outcomes, number, ["p"] * len(outcomes)):
                row = {
                    "iteration": number + 1,
                    "problem": "p",
                    "program": "x",
                    "score": reward and reward.total,
                    "verdict": reward and reward.record,
                }
                file.write(json.dumps(row) + "\n")
            active.observe(number, outcomes, ["p"] * len(outcomes))
    return folder / "samples.jsonl"


def preset(folder: Path, **section: object) -> Path:
    path = folder / "other.yaml"
    path.write_text(yaml.safe_dump({"ppo": section}))
    return path


def rescored(samples: Path, folder: Path, **section: object) -> dict:
    out = folder / "out.json"
    assert main([str(samples), "--config", str(preset(folder, **section)), "--json", str(out)]) == 0
    return json.loads(out.read_text())


def test_another_objective_on_the_same_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = write_run(tmp_path, ITERATIONS)
    objective = {"alpha": 1.0, "beta": 0.0, "withhold": ["introspection"]}
    result = rescored(samples, tmp_path, objective=objective)
    after = [row["after"] for row in result["rewards"]]
    assert [row["before"] for row in result["rewards"]] == pytest.approx(
        [0.0, 0.0, 0.6, 0.6, 0.48, 1.0, 0.8, 0.6]
    )
    assert after == pytest.approx([0.0, 0.0, 0.6, 0.6, 0.0, 1.0, 1.0, 0.6])
    assert (result["programs"], result["faults"], result["changed"]) == (8, 1, 2)
    assert result["stages"]["prints"] == {
        "programs": 4,
        "before": pytest.approx(0.57),
        "after": pytest.approx(0.45),
    }
    shown = capsys.readouterr().out
    assert "every logged reward reproduced" in shown and "samples.jsonl:6  iteration 2" in shown


def test_pairs_that_change_places(tmp_path: Path) -> None:
    """Solving with eval beats an honest printer on tests; security alone ranks them the other way round."""
    samples = write_run(tmp_path, [[EVALS, PRINTS, BROKEN]])
    result = rescored(samples, tmp_path, objective={"alpha": 0.0, "beta": 1.0})
    assert (result["reversed_pairs"], result["pairs"]) == (1, 3)


SCHEDULES = {
    "constant": ScheduleConfig(),
    "binary-to-partial": ScheduleConfig("binary-to-partial", switch_at=2),
    "linear": ScheduleConfig("linear", over=3),
    "auto": ScheduleConfig("auto", auto=Thresholds(window=1)),
    "annealed": ScheduleConfig("auto", auto=Thresholds(window=1), anneal_at=9, anneal_over=5),
    "difficulty": ScheduleConfig(difficulty=4.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_original_objective_gives_every_reward_back(tmp_path: Path, name: str) -> None:
    """auto and difficulty go by what programs did, so iterations are replayed in order."""
    samples = write_run(tmp_path, [*ITERATIONS, [HALF, PRINTS]] * 8, schedule=SCHEDULES[name])
    assert main([str(samples)]) == 0
    schedule = yaml.safe_load((tmp_path / "config.yaml").read_text())["ppo"]["schedule"]
    assert rescored(samples, tmp_path, schedule=schedule)["changed"] == 0
    if name != "constant":  # or the schedule would have had no part in it
        assert rescored(samples, tmp_path)["changed"] > 0


@given(st.lists(st.lists(worlds(), min_size=1, max_size=3), min_size=1, max_size=3), configs(mode="partial"))
def test_any_run_gives_every_reward_back(tmp_path_factory, course: list, config: RewardConfig) -> None:
    folder = tmp_path_factory.mktemp("run")
    samples = write_run(folder, [[world.outcome() for world in step] for step in course], config)
    assert main([str(samples)]) == 0


def test_a_log_that_says_something_else_is_an_error(tmp_path: Path, capsys) -> None:
    samples = write_run(tmp_path, ITERATIONS)
    rows = samples.read_text().splitlines()
    rows[6] = json.dumps(json.loads(rows[6]) | {"score": 0.99})
    samples.write_text("\n".join(rows) + "\n")
    assert main([str(samples)]) == 2
    assert "samples.jsonl:7: the log says 0.99" in capsys.readouterr().err


def broken(change: str) -> tuple[list, dict]:
    row = {"iteration": 1, "problem": "p", "program": "x", "score": 1.0, "verdict": SOLVES.to_dict()}
    record = row["verdict"]
    assert isinstance(record, dict)
    if change == "version":
        record["version"] = 1
    elif change == "no version":
        del record["version"]
    elif change == "function":
        row["verdict"] = {}
    elif change == "passed":
        record["passed"] = 1
    elif change == "no verdict":
        del row["verdict"]
    elif change == "no iteration":
        del row["iteration"]
    return [row], record


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("version", "samples.jsonl:1: the record has version 1, this program reads versions 2, 3, 4"),
        ("no version", "samples.jsonl:1: the record has version 1"),
        ("function", "samples.jsonl:1: scored by a function of the user's"),
        ("passed", "samples.jsonl:1: the record says passes, 1 passed"),
        ("no verdict", "samples.jsonl:1: not a sample of this version: it has no 'verdict'"),
        ("no iteration", "samples.jsonl:1: not a sample: it has no iteration"),
    ],
)
def test_samples_that_cannot_be_read(tmp_path: Path, capsys, change: str, told: str) -> None:
    samples = write_run(tmp_path, [])
    samples.write_text("".join(json.dumps(row) + "\n" for row in broken(change)[0]))
    assert main([str(samples)]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"limits": {"cpu_seconds": 9.0}}, "ppo.limits.cpu_seconds differs from the run's"),
        ({"scoring": {"packages": ["numpy"]}}, "ppo.scoring.packages differs from the run's"),
        ({"reward": "mine.py:score"}, "ppo.reward differs from the run's"),
        ({"objective": {"withold": []}}, "ppo.objective: unknown key 'withold'; did you mean withhold?"),
        ({"objective": {"alpha": 0.9}}, "ppo.objective: alpha + beta must be 1"),
        ({"objective": {"alpha": "much"}}, "ppo.objective: alpha must be"),
        ({"objective": {"security_by": "cve"}}, "ppo.objective: security_by must be one of severity, cwe"),
        ({"objective": {"cwe_weights": {"crypto": -1}}}, "cwe_weights.crypto must be a finite number >= 0"),
        ({"objective": {"cwe_weights": {"cripto": 1}}}, "cwe_weights: unknown key 'cripto'"),
        ({"objective": {"cwe_weights": 3}}, "cwe_weights: must hold keys and values"),
        ({"schedule": {"kind": "sometimes"}}, "ppo.schedule: kind must be one of"),
    ],
)
def test_questions_that_cannot_be_answered(tmp_path: Path, capsys, section: dict, told: str) -> None:
    facts = {"limits": {"cpu_seconds": 2.0, "memory_mb": 512}, "scoring": {"packages": []}}
    samples = write_run(tmp_path, ITERATIONS, **facts)
    other = preset(tmp_path, **section)
    assert main([str(samples), "--config", str(other)]) == 2
    error = capsys.readouterr().err
    assert told in error and "other.yaml" in error and error.count("\n") == 1


def test_old_records_that_do_not_tell_idle_programs_are_counted(tmp_path: Path, capsys) -> None:
    """Of version 2, and silent: what prints, or does not compile, was not idle in any case."""
    silent = replace(PRINTS, verdicts=(replace(WRONG, stdout_size=0, stdout=""),) * 2)
    samples = write_run(tmp_path, [[SOLVES, silent, PRINTS], [silent, BROKEN, None]])
    assert rescored(samples, tmp_path)["unknown_idle"] == 2
    told = "2 silent programs have a record that does not say whether they read their input"
    assert told in capsys.readouterr().out
    idle = replace(silent, verdicts=tuple(replace(v, idle=True) for v in silent.verdicts))
    assert rescored(write_run(tmp_path, [[SOLVES, idle]]), tmp_path)["unknown_idle"] == 0
    assert "silent programs" not in capsys.readouterr().out


def test_the_same_limits_are_no_change(tmp_path: Path) -> None:
    facts = {"limits": {"cpu_seconds": 2.0, "memory_mb": 512}, "scoring": {"share_children": False}}
    samples = write_run(tmp_path, ITERATIONS, **facts)
    same = {"limits": {"cpu_seconds": 2.0}, "scoring": {"share_children": True, "overlap": False}}  # no fact
    assert rescored(samples, tmp_path, **same)["changed"] == 0


def test_facts_that_nobody_gathered_are_an_error(tmp_path: Path, capsys) -> None:
    samples = write_run(tmp_path, [[SOLVES, replace(PRINTS, sentinels=None)]], RewardConfig(withhold=()))
    other = preset(tmp_path, objective={"withhold": ["silent"]})
    assert main([str(samples), "--config", str(other)]) == 2
    assert "samples.jsonl:2: withhold needs the sentinels" in capsys.readouterr().err


def test_half_a_line_at_the_end_is_left_out(tmp_path: Path) -> None:
    samples = write_run(tmp_path, ITERATIONS)
    samples.write_text(samples.read_text()[:-20])
    assert rescored(samples, tmp_path)["programs"] == 7


@pytest.mark.parametrize("missing", ["samples.jsonl", "config.yaml"])
def test_a_missing_file_is_named(tmp_path: Path, capsys, missing: str) -> None:
    samples = write_run(tmp_path, ITERATIONS)
    (tmp_path / missing).unlink()
    assert main([str(samples)]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / missing}: " in said and "no such file" in said.lower()


def test_a_preset_without_its_section_is_an_error(tmp_path: Path, capsys) -> None:
    samples = write_run(tmp_path, ITERATIONS)
    (tmp_path / "other.yaml").write_text("sft: {epochs: 1}\n")
    assert main([str(samples), "--config", str(tmp_path / "other.yaml")]) == 2
    assert "no section ppo" in capsys.readouterr().err


@given(configs())
def test_settings_survive_a_config_file(config: RewardConfig) -> None:
    state = RewardSchedule(replace(config, mode="partial")).state_dict()["config"]
    written = yaml.safe_load(yaml.safe_dump(state | {"mode": config.mode}))
    assert build(RewardConfig, written, "x") == config
    assert isinstance(build(RewardConfig, written, "x").cwe_weights, CweWeights)
