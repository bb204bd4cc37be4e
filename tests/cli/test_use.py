"""Runs without validation or that failed early; how checkpoints are judged, what they say of themselves."""

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_runs import PPO, SMALL, command
from test_bad_input import refused

from cli.console import end_line
from cli.evaluate_settings import EvaluateCommand
from cli.measure import Measurement, measure
from cli.runs import worth_keeping
from cli.settings import parse
from cli.yardstick import of_runs
from models.checkpoints import seal

LAST = "checkpoints/iteration-000002"


def test_without_validation_no_checkpoint_is_best_and_the_newest_stands_for_the_run(
    capsys, sft_run, tmp_path
):
    out = tmp_path / "run"
    begin = ["ppo", "--sft", sft_run, "--out", out, "--validation", "None", *PPO]
    assert command(*begin) == 0
    said = capsys.readouterr().out
    assert "no validation: no checkpoint is best, the newest stands for the run" in said
    assert f"nothing was validated, so no checkpoint is best; the newest is {out / LAST}" in said
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [0, 1, 2]
    assert not any(name.startswith("validation/") for row in rows for name in row)
    assert not (out / "checkpoints" / "best").is_symlink()
    first = (out / "metrics.jsonl").read_bytes()
    shutil.rmtree(out / LAST)
    shutil.rmtree(out / "checkpoints" / "iteration-000001")  # killed in its first iteration
    assert command("ppo", "--resume", out) == 0
    assert (out / "metrics.jsonl").read_bytes() == first
    assert command("evaluate", out, "--num-problems", 2, "--max-new-tokens", 4, *SMALL) == 0


def test_a_validation_of_several_programs_a_problem(capsys, monkeypatch, sft_run, tmp_path):
    """They are different programs, and the share is that of all."""
    found = []

    def watched(*arguments: Any, **settings: Any) -> Measurement:
        found.append(measure(*arguments, **settings))
        return found[-1]

    monkeypatch.setattr("cli.ppo_parts.measure", watched)
    several = ["--num-validation", 2, "--validation-samples", 3]
    assert command("ppo", "--sft", sft_run, "--out", tmp_path / "run", *PPO, *several) == 0
    assert "2 problems of tiny/validation, 3 programs each" in capsys.readouterr().out
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["validation/length"] == pytest.approx(found[0].columns["length"].mean())
    assert found[0].columns["length"].shape == (2, 3) and len(set(found[0].responses.texts)) > 2


def test_the_last_line_says_what_best_means(tmp_path):
    newest = tmp_path / LAST
    good = end_line({"iteration": 1, "all_pass": 0.25}, newest)
    assert good == "best: iteration 1, validation all-pass 25.0%"
    stuck = end_line({"iteration": 0, "all_pass": 0.0}, newest)
    assert "no checkpoint passed all tests of a single validation problem" in stuck
    assert "`best` is still iteration 0" in stuck and str(newest) in stuck
    assert str(newest) in end_line({"iteration": None}, newest)


def test_a_run_that_failed_before_its_first_iteration_does_not_block_the_next(capsys, sft_run, tmp_path):
    """Whatever ended it: what is there was not trained. After that it is kept."""
    out, reward = tmp_path / "run", tmp_path / "mine.py"
    begin = ["ppo", "--sft", sft_run, "--out", out, "--reward", f"{reward}:score", *PPO]
    reward.write_text("def score(pairs):\n    return [None for _ in pairs]\n")
    assert "could be scored" in refused(capsys, *begin)
    assert [path.name for path in (out / "checkpoints").glob("iteration-*")] == ["iteration-000000"]
    reward.write_text("def score(pairs):\n    return [len(p) / 100 for _, p in pairs]\n")
    assert command(*begin) == 0
    assert "this run exists" in refused(capsys, *begin)


KEPT = {
    "nothing": ({}, False),
    "settings": ({"config.yaml": "ppo: {}\n"}, False),
    "sft without a model": ({"metrics.jsonl": '{"step": 900, "loss": 1.0}\n'}, False),
    "sft model": ({"model/config.json": "{}"}, True),
    "only validated": (
        {"checkpoints/iteration-000000/state.json": "", "metrics.jsonl": '{"iteration": 0}\n'},
        False,
    ),
    "half a line": ({"metrics.jsonl": '{"iteration": 0}\n{"iterat'}, False),
    "killed while saving": ({"checkpoints/iteration-000001.partial/state.json": ""}, False),
    "an iteration": ({"metrics.jsonl": '{"iteration": 0}\n{"iteration": 1}\n'}, True),
    "a checkpoint": ({"checkpoints/iteration-000010/state.json": ""}, True),
    "a damaged one": ({"checkpoints/iteration-000010.damaged/state.json": ""}, True),
    "one being replaced": ({"checkpoints/iteration-000010.old/state.json": ""}, True),
    "not ours": ({"metrics.jsonl": "years of work\n"}, True),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_worth_keeping(tmp_path, name):
    files, kept = KEPT[name]
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    assert worth_keeping(tmp_path) is kept


@pytest.fixture
def binary_run(ppo_run, tmp_path) -> Path:
    """A run that was trained all or nothing, as its checkpoints remember it."""
    run = tmp_path / "binary"
    shutil.copytree(ppo_run, run, symlinks=True)
    for state in (run / "checkpoints").glob("iteration-*/state.json"):
        text = state.read_text(encoding="utf-8")
        text = text.replace('"objective.mode": "partial"', '"objective.mode": "binary"')
        text = text.replace('"objective.security_gate": "earned"', '"objective.security_gate": "passes"')
        state.write_text(text, encoding="utf-8")
        seal(state.parent)
    return run


def test_checkpoints_are_judged_as_they_were_trained(capsys, sft_run, ppo_run, binary_run):
    """Unless a flag or a preset says otherwise; of runs that differ neither is the yardstick of the other."""
    typed = [
        "--problem",
        "Print 1.",
        "--test",
        "=no such output",
        "--max-new-tokens",
        4,
        *SMALL,
        "--sft",
        sft_run,
    ]
    assert command("sample", "--checkpoint", binary_run, *typed) == 0
    said = capsys.readouterr().out
    assert f"R is judged as in training: objective, limits and scoring of {binary_run}" in said
    assert "R = 0.000" in said
    flags = ["--objective.mode", "partial", "--objective.stage-credits", *"11111"]
    assert command("sample", "--checkpoint", binary_run, *typed, *flags) == 0
    assert "functional 1.00" in capsys.readouterr().out
    assert of_runs([sft_run]) == ({}, "")
    beneath, told = of_runs([sft_run, binary_run])
    assert (beneath["objective"]["mode"], beneath["limits"]["cpu_seconds"]) == ("binary", 0.5)
    assert str(binary_run) in told
    beneath, told = of_runs([ppo_run, binary_run])
    assert beneath == {} and "different objectives or limits" in told


def test_how_programs_are_run_is_part_of_the_yardstick(ppo_run, tmp_path):
    """What they may import and how long they may take decides what passes; when they run does not."""
    same = {"scoring.share_children": True, "scoring.overlap": False}
    changes = {"packages": {"scoring.packages": ["numpy"]}, "shared": same}
    for name, setup in changes.items():
        folder = tmp_path / name / "checkpoints" / "iteration-000001"
        shutil.copytree(ppo_run / "checkpoints" / "iteration-000001", folder)
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        state["setup"] |= setup
        (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
        seal(folder)
    beneath, told = of_runs([tmp_path / "packages"])
    settings = parse("evaluate", EvaluateCommand, ["x"], prog="evaluate.py", beneath=beneath)
    assert settings.scoring.packages == ("numpy",) and "scoring of" in told
    assert "different objectives or limits" in of_runs([ppo_run, tmp_path / "packages"])[1]
    assert of_runs([ppo_run, tmp_path / "shared"])[0] == of_runs([ppo_run])[0] != {}


def test_a_preset_is_above_the_run_and_a_flag_above_both(tmp_path):
    preset = tmp_path / "p.yaml"
    preset.write_text("evaluate: {objective: {mode: binary}}")
    run = {
        "objective": {"mode": "partial", "security": "exp", "withhold": ["silent"]},
        "limits": {"memory_mb": 99},
    }
    argv = ["x", "--config", str(preset), "--limits.memory-mb", "128"]
    settings = parse("evaluate", EvaluateCommand, argv, prog="evaluate.py", beneath=run)
    assert (settings.objective.mode, settings.objective.security) == ("binary", "exp")
    assert settings.objective.withhold == ("silent",) and settings.limits.memory_mb == 128


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_a_checkpoint_says_what_it_is(sft_run, ppo_run, tmp_path, tune):
    run = ppo_run
    if tune == "full":
        run = tmp_path / "run"
        full = ["--tune", "full", "--iterations", 2, "--validation", "None"]
        assert command("ppo", "--sft", sft_run, "--out", run, *PPO, *full) == 0
    text = (run / LAST / "README.md").read_text(encoding="utf-8")
    entry = json.loads((run / LAST / "state.json").read_text())["sft"]
    assert text.startswith("# Policy after 2 iterations of PPO (16 programs)\n")
    assert entry["sha256"] in text and entry["path"] in text
    assert ("LoRA adapter (rank 16, alpha 32, on q_proj" in text) is (tune == "lora")
    assert "learning_rate: 0.001\n" in text and "More Information Needed" not in text
    code = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert code
    here: dict[str, object] = {}
    with contextlib.chdir(run / LAST):
        exec(code[1], here)
    assert here["model"].generate is not None
