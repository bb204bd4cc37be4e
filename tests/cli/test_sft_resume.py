"""`train.py sft --resume`: the same run, to the byte, or one line; and what it may learn from."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small_runs import SFT, command
from test_bad_input import refused

import cli.sft
from models.storage import weight_hash

ROOT = Path(__file__).resolve().parents[2]
# 14 steps; validations, checkpoints and passes end at other steps.
SHORT = [*SFT, "--epochs", 2, "--validate-every", 5, "--save-every", 3]


class StopAfter:
    """In place of cli.signals.StopRequest: asks to stop after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self, *unit: str, quiet: bool = False) -> "StopAfter":
        if unit:
            return self
        self.left -= 1
        return self.left < 0

    def __enter__(self) -> Any:
        return self.__call__

    def __exit__(self, *error: object) -> None:
        pass


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Path:
    """A run that nothing interrupts; never written to."""
    out = tmp_path_factory.mktemp("straight") / "sft"
    assert command("sft", *SHORT, "--out", out) == 0
    return out


@pytest.fixture
def stopped(tmp_path, monkeypatch, capsys) -> Path:
    """The same run, stopped after seven steps."""
    out = tmp_path / "sft"
    with monkeypatch.context() as patch:
        patch.setattr(cli.sft, "StopRequest", StopAfter(7))
        assert command("sft", *SHORT, "--out", out) == 130
    assert f"go on with: train.py sft --resume {out}" in capsys.readouterr().err
    assert not (out / "model").exists()
    return out


def same(run: Path, other: Path) -> None:
    """Metrics, model, and what is said of it."""
    for name in ("metrics.jsonl", "sft.json"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    assert weight_hash(run / "model") == weight_hash(other / "model")


def test_stopped_and_resumed_equals_straight_through(capsys, stopped, straight):
    assert command("sft", "--resume", stopped) == 0
    said = capsys.readouterr().out
    assert "resuming from step-000007" in said
    same(stopped, straight)
    about = json.loads((straight / "sft.json").read_text())
    rows = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 15))
    assert about["step"] in (5, 10, 14)
    assert f"model of step {about['step']}" in said
    lowest = min(row["validation_loss"] for row in rows if "validation_loss" in row)
    assert about["validation_loss"] == pytest.approx(lowest, rel=1e-6)


def test_a_full_disk_at_the_very_end_names_the_way_on(capsys, stopped, straight, monkeypatch):
    """The weights are trained and saved by then: only the model has no room."""

    def full(folder: Path, *rest: object) -> None:
        raise OSError(28, "No space left on device", str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(cli.sft, "save_model", full)
        said = refused(capsys, "sft", "--resume", stopped)
    assert f"last good checkpoint: {stopped}/checkpoints/step-000014; make room" in said
    assert f"go on with: train.py sft --resume {stopped}" in said
    assert command("sft", "--resume", stopped) == 0
    same(stopped, straight)


def test_a_damaged_newest_checkpoint_costs_some_steps(capsys, stopped, straight):
    (stopped / "checkpoints" / "step-000007" / "weights.safetensors").write_bytes(b"")
    assert command("sft", "--resume", stopped) == 0
    said = capsys.readouterr().out
    assert "step-000007: damaged (weights.safetensors); set aside" in said
    assert "resuming from step-000006" in said
    same(stopped, straight)


def test_a_damaged_best_is_said_before_training_goes_on(capsys, stopped):
    (stopped / "checkpoints" / "step-000005" / "weights.safetensors").write_bytes(b"")
    said = refused(capsys, "sft", "--resume", stopped)
    assert "step-000005: damaged" in said and "--keep last --allow-changes keep" in said
    assert command("sft", "--resume", stopped, "--keep", "last", "--allow-changes", "keep") == 0
    assert json.loads((stopped / "sft.json").read_text())["step"] == 14


def test_a_run_without_a_checkpoint_starts_over(stopped, straight):
    shutil.rmtree(stopped / "checkpoints")
    (stopped / "metrics.jsonl").write_text('{"step": 1, "half')
    assert command("sft", "--resume", stopped) == 0
    same(stopped, straight)


def test_a_run_that_trained_is_not_replaced_without_being_asked(capsys, stopped):
    said = refused(capsys, "sft", *SHORT, "--out", stopped)
    assert f"this run exists; go on with --resume {stopped} or replace it with --overwrite" in said


CHANGED = {
    ("--learning-rate", "0.02"): "learning_rate is 0.02, the run has 0.01",
    ("--epochs", "3"): "epochs is 3.0, the run has 2.0",
    ("--tune", "lora"): 'tune is "lora"',
    ("--seed", "5", "--keep", "last"): "insist with --allow-changes keep seed",
    ("--tiny.layers", "2"): "tiny.layers is 2",
    ("--validation", "tiny/rl"): "validation: not what it was",
    ("--max-tokens", "60"): "max_tokens is 60",
}


def test_what_changed_is_named(capsys, stopped):
    before = (stopped / "config.yaml").read_bytes()
    for flags, answer in CHANGED.items():
        said = refused(capsys, "sft", "--resume", stopped, *flags)
        assert answer in said and "insist with --allow-changes" in said
    assert "--out" in refused(capsys, "sft", "--resume", stopped, "--out", stopped)
    assert "no such key" in refused(capsys, "sft", "--resume", stopped, "--allow-changes", "speed")
    assert "goes with --resume" in refused(capsys, "sft", *SHORT, "--allow-changes", "seed")
    assert (stopped / "config.yaml").read_bytes() == before


def test_data_and_model_are_compared_by_content(capsys, sft_run, tmp_path, monkeypatch):
    """The same names with another content; a base that was moved is the same."""
    data, base, out = tmp_path / "p.jsonl", tmp_path / "base", tmp_path / "out"
    shutil.copytree(sft_run / "model", base)
    rows = [{"prompt": f"Print {n}.", "completion": f"print({n})"} for n in range(40)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    start = ["--model", base, "--problems", data, "--batch-size", 8, "--max-prompt-tokens", 64]
    with monkeypatch.context() as patch:
        patch.setattr(cli.sft, "StopRequest", StopAfter(2))
        assert command("sft", *start, "--epochs", 1, "--threads", 1, "--out", out) == 130
    data.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))  # the place would be another
    assert "problems: not what it was when the run was saved" in refused(capsys, "sft", "--resume", out)
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    weights = base / "model.safetensors"
    original = weights.read_bytes()
    weights.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    assert "model: not what it was when the run was saved" in refused(capsys, "sft", "--resume", out)
    weights.write_bytes(original)
    base.rename(tmp_path / "moved")
    assert "no such model folder" in refused(capsys, "sft", "--resume", out)
    assert command("sft", "--resume", out, "--model", tmp_path / "moved") == 0


def test_a_finished_run_trains_longer_when_told(capsys, stopped, straight):
    shutil.copytree(straight, stopped, dirs_exist_ok=True)
    said = refused(capsys, "sft", "--resume", stopped)
    assert (
        f"this run is finished, its model is {stopped / 'model'}" in said and "--allow-changes epochs" in said
    )
    assert (stopped / "sft.json").read_bytes() == (straight / "sft.json").read_bytes()
    assert command("sft", "--resume", stopped, "--epochs", 3, "--allow-changes", "epochs") == 0
    assert len((stopped / "metrics.jsonl").read_text().splitlines()) == 21
    (stopped / "sft.json").unlink()  # killed between the last step and the model
    shutil.rmtree(stopped / "model")
    assert command("sft", "--resume", stopped) == 0
    assert (stopped / "model").is_dir() and (stopped / "sft.json").is_file()


def test_the_wrong_kind_of_folder(capsys, stopped, ppo_run, sft_run):
    said = refused(capsys, "sft", "--resume", ppo_run)
    assert f"a PPO run; go on with train.py ppo --resume {ppo_run}" in said
    checkpoint = stopped / "checkpoints" / "step-000007"
    assert f"name the run that it is in: {stopped}" in refused(capsys, "sft", "--resume", checkpoint)
    assert "a model, not a run" in refused(capsys, "sft", "--resume", sft_run / "model")
    for flags in (["ppo", "--sft"], ["sft", "--model"], ["evaluate"], ["sample", "--checkpoint"]):
        assert f"go on with train.py sft --resume {stopped}" in refused(capsys, *flags, stopped)
        assert "a checkpoint of SFT" in refused(capsys, *flags, checkpoint)


@pytest.mark.slow
def test_killed_at_random_equals_straight_through(tmp_path, straight):
    """SIGKILL to the process, six times, anywhere after it began; then it is let go to its end."""
    out = tmp_path / "sft"
    arguments: list[object] = [*SHORT, "--out", out]
    for number in range(6):
        with (tmp_path / "log").open("w") as log:
            line = [sys.executable, "train.py", "sft", *map(str, arguments)]
            process = subprocess.Popen(line, cwd=ROOT, stdout=log, stderr=log)
        while process.poll() is None and "\nSFT: " not in f"\n{(tmp_path / 'log').read_text()}":
            time.sleep(0.01)
        done = number * 2  # later each time, whatever the machine's speed
        metrics = out / "metrics.jsonl"
        while process.poll() is None and len(metrics.read_bytes().splitlines()) <= done:
            time.sleep(0.001)
        assert process.poll() is None, (tmp_path / "log").read_text()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        arguments = ["--resume", out]
    assert command("sft", "--resume", out) == 0
    same(out, straight)


def taught(monkeypatch) -> list[Any]:
    """What SFT would train on and validate with, instead of training."""
    seen: list[Any] = []

    def record(config, network, state, *, train, validation, **rest):
        seen.append((train, validation))
        return True

    monkeypatch.setattr(cli.sft, "train_sft", record)
    return seen


def test_what_a_run_solved_is_learnt(capsys, sft_run, ppo_run, tmp_path, monkeypatch):
    """The responses as the model wrote them, of a PPO run and of an evaluation."""
    seen = taught(monkeypatch)
    rows = [json.loads(line) for line in (ppo_run / "samples.jsonl").read_text().splitlines()]
    best = max(row["score"] for row in rows if row["ended"])
    good = {(row["problem"], row["response"]) for row in rows if row["ended"] and row["score"] >= best}
    flags = ["--model", sft_run, "--max-prompt-tokens", 64, "--threads", 1, "--out", tmp_path / "out"]
    samples = ["--from-samples", ppo_run / "samples.jsonl", "--per-problem", 0]
    assert command("sft", *flags, *samples, "--min-reward", best) == 0
    (train, validation) = seen.pop()
    assert len(train) == len(good) and validation == []
    assert f"{len(good)} of {len(rows)} samples" in capsys.readouterr().out
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(sft_run / "model")
    answers = {tokenizer.decode(d.completion_ids, clean_up_tokenization_spaces=False) for d in train}
    assert answers == {response for _, response in good}

    said = refused(capsys, "sft", *flags, *samples, "--overwrite", "--min-reward", 2)
    assert f"none of the {len(rows)} samples qualifies; the highest reward is" in said
    assert "needs a choice" in refused(capsys, "sft", *flags, *samples)
    assert "a folder; name the samples.jsonl" in refused(
        capsys, "sft", *flags, "--overwrite", "--from-samples", ppo_run, "--passed-only"
    )


def test_validation_is_of_the_same_kind_or_there_is_none(capsys, tmp_path, monkeypatch):
    """The embedded problems say nothing of another file's."""
    seen = taught(monkeypatch)
    assert command("sft", *SHORT, "--out", tmp_path / "a") == 0
    assert len(seen.pop()[1]) == 6
    problems = tmp_path / "p.jsonl"
    rows = [{"prompt": f"Print {n}.", "completion": f"print({n})"} for n in range(9)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    assert command("sft", *SHORT, "--problems", problems, "--out", tmp_path / "b") == 0
    assert seen.pop()[1] == [] and "no validation, so the last weights are kept" in capsys.readouterr().out
    given = ["--problems", problems, "--validation", problems, "--out", tmp_path / "c"]
    assert command("sft", *SHORT, *given) == 0
    train, validation = seen.pop()
    assert train == validation and len(train) == 9
