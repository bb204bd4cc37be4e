"""What a user can get wrong: one line that says what to do, status 2, nothing already written lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from small_runs import PPO, SFT, command

import train
from data import Problem, TestCase, write_problems
from models import storage

LONGER = ("--iterations", 4, "--allow-changes", "iterations")
ROOT = Path(__file__).resolve().parents[2]


def refused(capsys, name: str, *arguments: object) -> str:
    """Run a command that must fail cleanly; what it said."""
    capsys.readouterr()
    assert command(name, *arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said


@pytest.fixture
def copied(sft_run, ppo_run, tmp_path) -> tuple[Path, Path]:
    """Copies of both runs that a test may damage."""
    shutil.copytree(sft_run, tmp_path / "sft")
    shutil.copytree(ppo_run, tmp_path / "ppo", symlinks=True)
    return tmp_path / "sft", tmp_path / "ppo"


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_missing_folders(capsys, sft_run, tmp_path):
    missing = tmp_path / "nothing"
    assert "no such model folder" in refused(capsys, "ppo", "--sft", missing, "--out", tmp_path / "o")
    assert "no such checkpoint" in refused(capsys, "evaluate", missing)
    assert "no such checkpoint" in refused(capsys, "sample", "--checkpoint", missing, "--problem", "x")
    assert "no run there" in refused(capsys, "ppo", "--resume", missing)
    assert "--sft DIR is needed" in refused(capsys, "ppo", "--out", tmp_path / "o")
    assert "no checkpoint there" in refused(capsys, "ppo", "--sft", sft_run, "--init", tmp_path, *PPO)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "value_head.safetensors", "state.json"])
def test_a_damaged_checkpoint(capsys, copied, name):
    _, ppo = copied
    checkpoint = ppo / "checkpoints" / "iteration-000002"
    flip_byte(checkpoint / name)
    said = refused(capsys, "evaluate", checkpoint)
    assert "damaged checkpoint" in said and name in said and "earlier" in said


def test_a_missing_and_a_changed_sft_model(capsys, copied):
    sft, ppo = copied
    checkpoint = ppo / "checkpoints" / "iteration-000002"
    flip_byte(sft / "model" / "model.safetensors")
    assert "hash differs" in refused(capsys, "evaluate", checkpoint)
    shutil.rmtree(sft)
    assert "its SFT model is missing" in refused(capsys, "evaluate", checkpoint)


def test_a_damaged_sft_model(capsys, copied, tmp_path):
    sft, _ = copied
    (sft / "model" / "model.safetensors").write_bytes(b"not safetensors")
    assert "cannot be loaded" in refused(capsys, "ppo", "--sft", sft, "--out", tmp_path / "o", *PPO)


def test_a_model_without_an_eos_token(capsys, copied, tmp_path):
    sft, _ = copied
    config = sft / "model" / "tokenizer_config.json"
    content = json.loads(config.read_text())
    del content["eos_token"]
    config.write_text(json.dumps(content))
    assert "no EOS token" in refused(capsys, "ppo", "--sft", sft, "--out", tmp_path / "o", *PPO)


PROBLEM_FILES = {
    "": "empty",
    '{"id": }\n': ":1",
    '{"id": "a", "prompt": "p", "tests": []}\n': "test",
    '{"id": "a", "prompt": "p", "tests": [{"input": "", "output": "1"}]}\n{"id": 3}\n': ":2",
}


@pytest.mark.parametrize("content", PROBLEM_FILES)
def test_bad_problem_files_are_named_with_their_line(capsys, sft_run, tmp_path, content):
    file = tmp_path / "problems.jsonl"
    file.write_text(content)
    said = refused(capsys, "ppo", "--sft", sft_run, "--problems", file, "--out", tmp_path / "o", *PPO)
    assert str(file) in said and PROBLEM_FILES[content] in said
    assert not (tmp_path / "o").exists()


def test_an_unknown_split_and_a_problem_without_solutions(capsys, sft_run, tmp_path):
    assert "no such split" in refused(capsys, "evaluate", sft_run, "--problems", "tiny/none")
    write_problems(tmp_path / "p.jsonl", [Problem(id="a", prompt="p", tests=(TestCase("", "1"),))])
    said = refused(capsys, "sft", "--problems", tmp_path / "p.jsonl", "--out", tmp_path / "o")
    assert "no problem there has a solution" in said


def test_bad_presets(capsys, tmp_path):
    preset = tmp_path / "p.yaml"
    preset.write_text("ppo: {learning_rate: 1e-6}")
    assert "ppo.learning_rate" in refused(capsys, "ppo", "--config", preset)
    preset.write_text("ppo: {learning: 1}")
    assert "unknown key 'learning'" in refused(capsys, "ppo", "--config", preset)


def test_an_existing_run_is_not_overwritten(capsys, sft_run, ppo_run, tmp_path):
    before = (ppo_run / "metrics.jsonl").read_bytes()
    said = refused(capsys, "ppo", "--sft", sft_run, "--out", ppo_run, *PPO)
    assert "--resume" in said and "--overwrite" in said
    assert (ppo_run / "metrics.jsonl").read_bytes() == before
    said = refused(capsys, "sft", *SFT, "--out", sft_run)
    assert "--resume" in said and "--overwrite" in said


def test_overwrite_does_not_delete_what_no_run_writes(capsys, sft_run, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    said = refused(capsys, "ppo", "--sft", sft_run, "--out", tmp_path, "--overwrite", *PPO)
    assert "thesis.tex" in said
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_overwrite_replaces_a_run(copied):
    sft, ppo = copied
    (ppo / "checkpoints" / "iteration-000099").mkdir()
    assert command("ppo", "--sft", sft, "--out", ppo, "--overwrite", *PPO) == 0
    assert not (ppo / "checkpoints" / "iteration-000099").exists()


def test_overwrite_does_not_delete_what_the_run_reads(capsys, copied):
    sft, _ = copied
    said = refused(capsys, "ppo", "--sft", sft / "model", "--out", sft, "--overwrite", *PPO)
    assert "does not write" in said or "is inside" in said
    out = sft.parent / "out"
    out.mkdir()
    shutil.move(sft / "model", out / "checkpoints")  # a name that a PPO run would write
    said = refused(capsys, "ppo", "--sft", out / "checkpoints", "--out", out, "--overwrite", *PPO)
    assert "is inside" in said
    assert (out / "checkpoints" / "model.safetensors").is_file()


def test_flags_that_do_not_fit_the_run_are_not_kept(capsys, copied):
    _, ppo = copied
    change = ["--lora-rank", 8, "--allow-changes", "lora_rank"]
    assert "use the --tune, --lora and --critic flags" in refused(capsys, "ppo", "--resume", ppo, *change)
    assert command("ppo", "--resume", ppo) == 0


def test_the_demo_replaces_only_a_demo(capsys, copied):
    _, ppo = copied
    assert "does not write" in refused(capsys, "demo", "--out", ppo)
    assert (ppo / "checkpoints" / "best").is_dir()


def test_resume_takes_no_other_preset_and_no_other_folder(capsys, ppo_run, tmp_path):
    assert "leave --config out" in refused(capsys, "ppo", "--resume", ppo_run, "--config", tmp_path / "x")
    assert "leave --out out" in refused(capsys, "ppo", "--resume", ppo_run, "--out", tmp_path / "x")


OUT_OF_RANGE = {
    "ppo": [
        *(["--learning-rate", -1], ["--max-grad-norm", -1], ["--clip-range-high", -0.5], ["--lr-warmup", -3]),
        *(["--temperature", "inf"], ["--temperature", "nan"], ["--eval-every", -1], ["--num-validation", 0]),
        *(["--lora-rank", 0], ["--adam-eps", -1], ["--kl-horizon", 0], ["--threads", -1], ["--seed", -1]),
        *(["--corpus.rl", 0], ["--max-new-tokens", 4000], ["--minibatch-size", 7]),
        *(["--baseline", "leave-one-out"], ["--critic-warmup", 1, "--baseline", "prompt-mean"]),
        *(["--critic-warmup", 100], ["--gamma", 1.5], ["--lam-value", -0.1], ["--clip-range", 1]),
        *(["--objective.alpha", 0.5], ["--objective.beta", -0.4], ["--schedule.start", 2]),
        *(["--schedule.kind", "auto", "--objective.mode", "binary"], ["--schedule.auto.window", 0]),
        *(["--schedule.kind", "auto", "--reward", __file__ + ":refused"],),
        *(["--schedule.difficulty", 2, "--objective.mode", "binary"],),
        *(["--schedule.difficulty", 2, "--reward", __file__ + ":refused"],),
    ],
    "sft": [["--tiny.heads", 3], ["--tiny.vocab-size", 10], ["--learning-rate", -1], ["--epochs", 0]],
    "evaluate": [["--batch-size", 0], ["--seed", -1], ["--temperature", "nan"], ["--samples", 0]],
}


# It takes two settings to be wrong.
OTHER_WORDS = ("--corpus.rl", "--schedule.kind", "--schedule.difficulty", "--tiny.heads")


@pytest.mark.parametrize(
    "name, flags", [(n, f) for n, all_flags in OUT_OF_RANGE.items() for f in all_flags], ids=str
)
def test_settings_out_of_range_end_with_status_2(capsys, sft_run, tmp_path, name, flags):
    needed = {"ppo": ["--sft", sft_run, *PPO], "sft": SFT, "evaluate": [sft_run]}[name]
    said = refused(capsys, name, *needed, "--out", tmp_path / "o", *flags)
    assert flags[0] in said or flags[0] in OTHER_WORDS
    assert not (tmp_path / "o").exists()


def test_a_model_that_is_not_a_number_is_not_evaluated(capsys, copied):
    sft, _ = copied
    weights = load_file(sft / "model" / "model.safetensors")
    weights["model.norm.weight"] *= float("nan")
    save_file(weights, sft / "model" / "model.safetensors", metadata={"format": "pt"})
    assert "not numbers" in refused(capsys, "evaluate", sft, "--num-problems", 2, "--max-new-tokens", 4)


def test_cuda_without_cuda(capsys, monkeypatch, sft_run, tmp_path):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    said = refused(capsys, "ppo", "--sft", sft_run, "--out", tmp_path / "o", "--device", "cuda", *PPO)
    assert "--device cpu" in said
    said = refused(capsys, "ppo", "--sft", sft_run, "--out", tmp_path / "o", "--decode", "graph", *PPO)
    assert "--decode graph: CUDA graphs need a GPU" in said and not (tmp_path / "o").exists()


def test_a_full_disk_keeps_the_checkpoints_that_are_there(capsys, monkeypatch, copied):
    _, ppo = copied
    real = storage.save_file

    def full(tensors, path, *rest):
        if "iteration-000003" in str(path):
            raise OSError(28, "No space left on device", str(path))
        return real(tensors, path, *rest)

    monkeypatch.setattr(storage, "save_file", full)
    said = refused(capsys, "ppo", "--resume", ppo, *LONGER)
    assert "no space left on device; last good checkpoint: " in said
    assert (
        f"{ppo}/checkpoints/iteration-000002; make room, and go on with: train.py ppo --resume {ppo}" in said
    )
    names = sorted(path.name for path in (ppo / "checkpoints").iterdir())
    assert names == ["best", "iteration-000000", "iteration-000001", "iteration-000002"]
    monkeypatch.undo()
    assert command("ppo", "--resume", ppo, *LONGER) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_write_permission(capsys, sft_run, tmp_path):
    tmp_path.chmod(0o500)
    assert "permission denied" in refused(capsys, "ppo", "--sft", sft_run, "--out", tmp_path / "o", *PPO)


def test_a_place_where_no_folder_can_be_made(capsys, sft_run, tmp_path):
    (tmp_path / "file").write_text("")
    said = refused(capsys, "ppo", "--sft", sft_run, "--out", tmp_path / "file" / "run", *PPO)
    assert str(tmp_path / "file") in said


WRONG_NAMES = {
    "pop": "did you mean ppo?",
    "PPO": "did you mean ppo?",
    "sfft": "did you mean sft?",
    "--verison": "did you mean --version?",
    "fly": f"the commands are {', '.join(train.COMMANDS)}",
    "-x": f"the commands are {', '.join(train.COMMANDS)}",
}


def test_unknown_commands_and_flags(capsys):
    for name, answer in WRONG_NAMES.items():
        assert train.main([name]) == 2
        assert capsys.readouterr() == ("", f"error: train.py {name}: no such command; {answer}\n")
    assert train.main([]) == 2 and "usage: train.py COMMAND" in capsys.readouterr().out
    assert train.main(["--version"]) == 0
    assert capsys.readouterr().out.split() == ["coderl-ppo", "0.1.0"]
    assert "no such flag" in refused(capsys, "ppo", "--no-such-flag")


def children(pid: int) -> set[int]:
    """Every process below `pid`."""
    found = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | children(child)
    return found


def check_interrupted(out: Path, below: set[int], status: int, said: str) -> None:
    """Status 130 and the way on, the iteration under way finished and saved, nobody left behind."""
    assert status == 130
    assert "Traceback" not in said and f"go on with: train.py ppo --resume {out}" in said
    logged = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["iteration"]
    assert logged >= 2 and (out / "checkpoints" / f"iteration-{logged:06d}").is_dir()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in below) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
def test_ctrl_c_leaves_a_usable_checkpoint_and_no_process(sft_run, tmp_path):
    out = tmp_path / "run"
    arguments = ["--sft", sft_run, "--out", out, *PPO, "--iterations", 1000]
    process = subprocess.Popen(
        [sys.executable, "train.py", "ppo", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("iteration 2/"):
            break
    below = children(process.pid)
    assert below, "the sandbox should be running"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    check_interrupted(out, below, process.returncode, said)
    assert command("ppo", "--resume", out, *LONGER) == 0
    assert command("evaluate", out, "--num-problems", 2, "--max-new-tokens", 4, "--threads", 1) == 0


@pytest.mark.usefixtures("own_processes")
def test_sigterm_leaves_a_usable_checkpoint_and_no_process(capsys, sft_run, tmp_path):
    """The same in this process: what a batch system sends is what Ctrl-C sends, under another number."""
    out, below, before = tmp_path / "run", set(), children(os.getpid())
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def send() -> None:
        log, deadline = out / "metrics.jsonl", time.monotonic() + 300
        while time.monotonic() < deadline and not (log.exists() and log.read_text().count("\n") >= 3):
            time.sleep(0.01)
        below.update(children(os.getpid()) - before)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        status = command("ppo", "--sft", sft_run, "--out", out, *PPO, "--iterations", 1000)
    finally:
        sender.join()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert below, "the sandbox should have been running"
    check_interrupted(out, below, status, capsys.readouterr().err)
    assert command("ppo", "--resume", out, *LONGER) == 0
