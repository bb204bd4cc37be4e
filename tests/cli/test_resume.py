"""`train.py ppo --resume`: the same run or an error that names the key; stopped, damaged and killed runs."""

import hashlib
import json
import os
import random
import shutil
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from processes import killed, start, wait_for
from small_runs import PPO, command

from cli.errors import UsageError
from cli.resume import check_changes, describe_sft
from cli.signals import StopRequest
from data import load_problems, write_problems
from models.checkpoints import seal
from models.template import PromptForm, form_from

LAST = "checkpoints/iteration-000002"
WEIGHTS = ("adapter_model.safetensors", "value_head.safetensors", "state.safetensors")


@pytest.fixture
def copied(sft_run, ppo_run, tmp_path) -> Path:
    """A copy of a finished run of two iterations beside a copy of its SFT run."""
    shutil.copytree(sft_run, tmp_path / "sft")
    shutil.copytree(ppo_run, tmp_path / "ppo", symlinks=True)
    return tmp_path / "ppo"


def refused(capsys, run: Path, *arguments: object) -> str:
    """Resume a run in a way that must fail cleanly; what was said."""
    capsys.readouterr()
    assert command("ppo", "--resume", run, *arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said


def same(run: Path, other: Path, *names: str) -> None:
    for name in names:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name


CHANGED = {
    ("--learning-rate", "0.01"): "learning_rate is 0.01, the run has 0.001",
    ("--iterations", "9"): "iterations is 9, the run has 2",
    ("--objective.alpha", "0.7", "--objective.beta", "0.3"): "objective.alpha is 0.7, the run has 0.6",
    ("--limits.cpu-seconds", "1"): "limits.cpu_seconds",
    ("--dtype", "bfloat16"): 'dtype is "bfloat16"',
    ("--seed", "5", "--gamma", "0.9"): "(and seed); insist with --allow-changes gamma seed",
    ("--problems", "tiny/validation"): "problems: not what it was",
    ("--validation", "tiny/rl"): "validation: not what it was",
}


@pytest.mark.parametrize("flags", CHANGED, ids=lambda flags: flags[0])
def test_what_changed_is_named(capsys, ppo_run, flags):
    before = (ppo_run / "config.yaml").read_bytes()
    said = refused(capsys, ppo_run, *flags)
    assert CHANGED[flags] in said and "insist with --allow-changes" in said
    assert (ppo_run / "config.yaml").read_bytes() == before


def test_an_edited_config_file_is_a_change_too(capsys, copied):
    text = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(text.replace("temperature: 0.7", "temperature: 0.8"))
    assert "temperature is 0.8, the run has 0.7" in refused(capsys, copied)


def test_problems_sft_model_tokenizer_and_reward_are_compared_by_content(capsys, sft_run, tmp_path):
    """The same names, another content."""
    problems, reward, sft = tmp_path / "problems.jsonl", tmp_path / "mine.py", tmp_path / "sft"
    shutil.copytree(sft_run, sft)
    rows = [
        {"id": str(n), "prompt": f"Print {n}.", "tests": [{"input": "", "output": f"{n}"}]} for n in "123"
    ]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reward.write_text("def score(pairs):\n    return [len(p) / 100 for _, p in pairs]\n")
    out = tmp_path / "run"
    made = ["--sft", sft, "--out", out, "--problems", problems, "--reward", f"{reward}:score", *PPO]
    assert command("ppo", *made, "--iterations", 1) == 0

    original = problems.read_bytes()
    loaded = load_problems(problems)
    write_problems(problems, [*loaded[1:], loaded[0]])  # another order: the sampler would draw others
    assert "problems: not what it was" in refused(capsys, out)
    problems.write_bytes(original)
    reward.write_text("def score(pairs):\n    return [1.0 for _ in pairs]\n")
    assert "reward: not what it was" in refused(capsys, out)
    assert command("ppo", "--resume", out, "--allow-changes", "reward") == 0

    config = sft / "model" / "tokenizer_config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "eos_token": "<|pad|>"}))
    assert "tokenizer: not what it was" in refused(capsys, out)
    config.write_text(json.dumps(content))

    weights = sft / "model" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-3] ^= 1
    weights.write_bytes(damaged)
    assert "hash differs" in refused(capsys, out)
    assert command("ppo", "--resume", out, "--allow-changes", "sft") == 0


def test_words_of_a_chat_template_are_compared(capsys, sft_run, tmp_path):
    """The record of a prompt says no more of it than that it is the tokenizer's own."""
    model, out = tmp_path / "model", tmp_path / "run"
    shutil.copytree(sft_run / "model", model)
    (model / "prompt.json").unlink()
    template = model / "chat_template.jinja"
    template.write_text("Task: {{ messages[0].content }}\nAnswer:\n")
    assert command("ppo", "--sft", model, "--out", out, *PPO, "--iterations", 1) == 0
    template.write_text("Problem: {{ messages[0].content }}\nAnswer:\n")
    assert "words: not what it was" in refused(capsys, out)
    assert command("ppo", "--resume", out, "--allow-changes", "words") == 0


def test_insisting_names_keys_that_exist(capsys, ppo_run, tmp_path):
    assert "no such key" in refused(capsys, ppo_run, "--allow-changes", "learning_speed")
    assert command("ppo", "--sft", tmp_path, "--allow-changes", "seed") == 2
    assert "goes with --resume" in capsys.readouterr().err


def test_an_allowed_change_holds_from_then_on(capsys, copied):
    """It is what the run is compared with later, and is in its config.yaml."""
    allowed = ["--allow-changes", "iterations", "learning_rate"]
    assert command("ppo", "--resume", copied, "--iterations", 3, "--learning-rate", 0.01, *allowed) == 0
    assert "learning_rate: 0.01" in (copied / "config.yaml").read_text()
    assert "allow_changes: []" in (copied / "config.yaml").read_text()
    assert command("ppo", "--resume", copied) == 0
    assert "the run has 0.01" in refused(capsys, copied, "--learning-rate", 0.001)


def test_each_changed_key_needs_its_own_permission():
    check_changes({"a": 1, "b": 2}, {"a": 3, "b": 4}, ["a", "b"], {})
    with pytest.raises(UsageError, match=r"^b is 4, the run has 2; insist with --allow-changes b$"):
        check_changes({"a": 1, "b": 2}, {"a": 3, "b": 4}, ["a"], {})


def test_a_setting_that_the_checkpoint_does_not_know_had_its_default():
    """It came with a later version; its default is no change, and anything else is one, by its own name."""
    defaults = {"a": 1, "new": 5, "section": {"new": None}, "problems": "tiny/rl", "reward": None}
    check_changes({"a": 1}, {"a": 1, "new": 5, "section.new": None}, [], defaults)
    check_changes({"a": 1}, {"a": 1, "new": 6, "section.new": 2}, ["new", "section.new"], defaults)
    with pytest.raises(UsageError, match=r"^new is 6, the run has 5 \(and section\.new\); insist"):
        check_changes({"a": 1}, {"a": 1, "new": 6, "section.new": 2}, [], defaults)
    content = {"template": "its hash", "problems": "another", "reward": "a third"}
    check_changes({"a": 1}, {"a": 1, **content}, [], defaults)  # what a run reads has no default


def test_a_checkpoint_from_before_the_prompt_had_a_date(tokenizer):
    """Its hash is that of a record without one; another day is another prompt."""
    then = asdict(PromptForm("chat", "", "", "{problem}", "end", ()))
    del then["date"]
    saved = hashlib.sha256(json.dumps(then).encode()).hexdigest()

    def now(form: PromptForm) -> str:
        return describe_sft({}, None, tokenizer, form, [], [])["template"]

    assert now(form_from(then)) == saved
    assert now(replace(form_from(then), date="2031-02-09")) != saved


def test_a_checkpoint_without_a_setting_is_resumed_under_its_default(capsys, copied):
    """As one that was saved before `lr_warmup` was a setting."""
    for state in (copied / "checkpoints").glob("iteration-*/state.json"):
        text = json.loads(state.read_text(encoding="utf-8"))
        del text["setup"]["lr_warmup"]
        state.write_text(json.dumps(text), encoding="utf-8")
        seal(state.parent)
    assert "lr_warmup is 1, the run has 0" in refused(capsys, copied, "--lr-warmup", 1)
    assert command("ppo", "--resume", copied) == 0


def test_a_damaged_newest_checkpoint_costs_one_iteration(capsys, copied, ppo_run):
    file = copied / LAST / "value_head.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert command("ppo", "--resume", copied) == 0
    said = capsys.readouterr().out
    assert "iteration-000002: damaged (value_head.safetensors)" in said
    assert "resuming from iteration-000001" in said
    logs = ("metrics.jsonl", "samples.jsonl", "tokens.jsonl")
    same(copied, ppo_run, *logs, *(f"{LAST}/{name}" for name in WEIGHTS))
    assert (copied / f"{LAST}.damaged").is_dir()


def test_a_run_without_a_checkpoint_starts_over(copied, ppo_run):
    """It was killed before its first one: its settings are there, so nothing has to be typed again."""
    shutil.rmtree(copied / "checkpoints")
    (copied / "metrics.jsonl").write_text('{"iteration": 0, "half')
    assert command("ppo", "--resume", copied) == 0
    same(copied, ppo_run, "metrics.jsonl", *(f"{LAST}/{name}" for name in WEIGHTS))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_interrupts(capfd, number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(1)
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.count("stopping after this iteration") == 1


def killed_while_running(arguments: list[object], log: Path, delay: float, saving: Path | None) -> None:
    """Start `train.py ppo`, and kill it `delay` seconds into its iterations, or then while it saves."""
    process = start(log, "ppo", *arguments)
    wait_for(process, log, "PPO: ")
    time.sleep(delay)
    while process.is_alive() and saving is not None and not list(saving.glob("*.partial")):
        time.sleep(0.0002)
    assert process.is_alive(), f"it ended before it was killed:\n{log.read_text()}"
    killed(process)


@pytest.mark.slow
def test_killed_twenty_times_equals_straight_through(sft_run, tmp_path):
    """SIGKILL at 20 random moments, every third during a save; each time resumed. The final weights,
    optimizer state, metrics and samples are those of a run that nothing interrupted, to the byte."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    settings = [*PPO, "--iterations", 60, "--eval-every", 7, "--num-validation", 4]
    start = time.monotonic()
    assert command("ppo", "--sft", sft_run, "--out", straight, *settings) == 0
    longest = (time.monotonic() - start) / 40  # so that twenty come nowhere near the end, on any machine
    draw = random.Random(0)
    arguments: list[object] = ["--sft", sft_run, "--out", killed, *settings]
    for number in range(20):
        saving = killed / "checkpoints" if number % 3 == 2 else None
        killed_while_running(arguments, tmp_path / "log", draw.uniform(0.0, longest), saving)
        arguments = ["--resume", killed]
    assert command("ppo", "--resume", killed) == 0
    names = [f"checkpoints/iteration-000060/{name}" for name in WEIGHTS]
    same(killed, straight, "metrics.jsonl", "samples.jsonl", "tokens.jsonl", *names)


def test_an_error_on_the_way_names_the_last_good_checkpoint(capsys, copied):
    """Numbers that are none, an iteration of faults: status 2, one line, and nothing is lost."""
    reward = copied.parent / "mine.py"
    reward.write_text("def score(pairs):\n    return [None for _ in pairs]\n")
    changes = ["--iterations", 3, "--reward", f"{reward}:score", "--allow-changes", "iterations", "reward"]
    said = refused(capsys, copied, *changes)
    assert "no response of this iteration could be scored" in said
    assert f"last good checkpoint: {copied}/checkpoints/iteration-000002" in said
    reward.write_text("def score(pairs):\n    return [float('nan') for _ in pairs]\n")
    said = refused(capsys, copied, "--allow-changes", "reward")
    assert "nan for problem" in said and "a score must be a finite number" in said
