"""Commands under torchrun: one run by several processes, and one clear line where they cannot be one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from small_runs import CORPUS, PPO, SFT, SMALL, command
from sources import ROOT

from cli.errors import UsageError
from cli.parallel import check_same, check_shares
from ppo.parallel import ALONE, World


@pytest.mark.parametrize("name", ["demo", "sample", "plan"])
def test_other_commands_are_for_one_process(monkeypatch, capsys, name):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert command(name) == 2
    assert "runs on one process, and torchrun started 2: leave torchrun out" in capsys.readouterr().err


def test_processes_that_do_not_divide_the_batch():
    counts = {"prompts_per_iteration": 64, "minibatch_size": 6}
    with pytest.raises(UsageError, match="4 processes do not divide minibatch_size 6: give a multiple of 4"):
        check_shares(World(0, 4), **counts)
    check_shares(ALONE, **counts)
    check_shares(World(0, 2), **counts)


class Two(World):
    """Rank 0 of two, the other of which is described as `theirs`."""

    def __init__(self, theirs: dict) -> None:
        super().__init__()
        self.theirs = theirs

    def each(self, work):
        return [work(), self.theirs]


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        ({"a": 1, "seed": 2, "list": [1]}, r"differ in seed: rank 0 has 1, rank 1 has 2; start them all"),
        ({"seed": 1, "list": [1]}, r"differ in a: rank 0 has 1, rank 1 has null"),
        ({"a": 1, "seed": 1, "list": [1], "code": "x"}, r"differ in code: rank 0 has null, rank 1 has \"x\""),
    ],
)
def test_ranks_that_are_not_alike(theirs, told):
    with pytest.raises(UsageError, match=told):
        check_same(Two(theirs), {"a": 1, "seed": 1, "list": (1,)})
    check_same(Two({"a": 1, "seed": 1, "list": [1]}), {"a": 1, "seed": 1, "list": (1,)})


def torchrun(*arguments: object, script: str = "train.py", processes: int = 2) -> subprocess.Popen:
    """`torchrun SCRIPT ARGUMENTS`, under way."""
    start = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
    ]
    return subprocess.Popen(
        [*start, script, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def lines_of(process: subprocess.Popen, kind: str) -> list[str]:
    """What the ranks said at the end, without what torchrun has to say."""
    return [line for line in process.communicate()[0].splitlines() if line.startswith(kind)]


@pytest.mark.slow
def test_a_run_of_two_is_that_of_one(sft_run, ppo_run, tmp_path):
    process = torchrun("ppo", "--sft", sft_run, "--out", tmp_path / "two", *PPO)
    said = lines_of(process, "iteration")
    assert process.returncode == 0 and len(said) == 3  # the first rank speaks
    rows = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (tmp_path / "two", ppo_run)]
    for ours, theirs in zip(*(map(json.loads, lines) for lines in rows), strict=True):
        assert ours == {key: pytest.approx(value, rel=1e-3, abs=1e-4) for key, value in theirs.items()}
    assert (tmp_path / "two" / "report.html").is_file()


@pytest.mark.slow
def test_an_sft_of_two_is_that_of_one(sft_run, tmp_path):
    """Stopped by a signal, gone on with by two and finished by one; what is written is the first rank's."""
    out = tmp_path / "two"
    few = ["--save-every", 5]
    process = torchrun("sft", *SFT, *few, "--out", out)
    deadline = time.monotonic() + 600
    while not (out / "checkpoints/step-000005").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    (said,) = lines_of(process, "interrupted")
    assert f"go on with: train.py sft --resume {out}" in said and not (out / "model").exists()
    process = torchrun("sft", "--resume", out)
    assert [line.split()[0] for line in process.communicate()[0].splitlines()].count("resuming") == 1
    assert process.returncode == 0
    ours, theirs = (
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (out, sft_run)
    )
    for row, want in zip(ours, theirs, strict=True):
        assert row == {key: pytest.approx(value, rel=1e-2, abs=1e-3) for key, value in want.items()}
    about, expected = (json.loads((folder / "sft.json").read_text()) for folder in (out, sft_run))
    assert about["step"] == expected["step"]
    assert about["validation_loss"] == pytest.approx(expected["validation_loss"], rel=1e-2)


@pytest.mark.slow
def test_an_evaluation_by_three_is_that_of_one(sft_run, tmp_path):
    """Nineteen samples are dealt out unevenly. Where there is nothing to evaluate, that is told once."""
    small = [*SMALL, *CORPUS, "--problems", "tiny/rl", "--num-problems", 19, "--max-new-tokens", 24]
    assert command("evaluate", sft_run, *small, "--out", tmp_path / "one/evaluation.json") == 0
    out = tmp_path / "three/evaluation.json"
    process = torchrun(sft_run, *small, "--out", out, script="evaluate.py", processes=3)
    assert process.communicate()[0].count("What became of the samples") == 1 and process.returncode == 0
    for name in ("evaluation.json", "evaluation.md"):
        assert (tmp_path / "three" / name).read_text() == (tmp_path / "one" / name).read_text()
    answers = [
        [json.loads(line)["response"] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("one/evaluation_samples.jsonl", "three/evaluation_samples.jsonl")
    ]
    assert answers[0] == answers[1] and len(answers[0]) == 19
    assert len(lines_of(torchrun(*small, script="evaluate.py"), "error")) == 1


@pytest.mark.slow
def test_what_two_processes_cannot_do_is_told_once(sft_run, tmp_path):
    odd = [*PPO, "--prompts-per-iteration", 9, "--minibatch-size", 3]
    process = torchrun("ppo", "--sft", sft_run, "--out", tmp_path / "run", *odd)
    (said,) = lines_of(process, "error")
    assert said.startswith("error: 2 processes do not divide prompts_per_iteration 9")
    process = torchrun("sft", *SFT, "--batch-size", 9, "--out", tmp_path / "run")
    (said,) = lines_of(process, "error")
    assert said.startswith("error: 2 processes do not divide batch_size 9")
    process = torchrun("ppo", "--sft", tmp_path / "nowhere", "--out", tmp_path / "run", *PPO)
    (said,) = lines_of(process, "error")
    assert "nowhere" in said and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_stopped_by_a_signal_it_saves_and_goes_on_alone(sft_run, tmp_path):
    process = torchrun("ppo", "--sft", sft_run, "--out", tmp_path / "run", *PPO, "--iterations", 40)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/checkpoints/iteration-000002").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    (said,) = lines_of(process, "interrupted")
    assert "go on with: train.py ppo --resume" in said
    last = len((tmp_path / "run/metrics.jsonl").read_text().splitlines())
    changes = ["--iterations", last, "--allow-changes", "iterations"]
    assert command("ppo", "--resume", tmp_path / "run", *changes) == 0


@pytest.mark.slow
def test_a_port_in_use_is_one_clear_line(sft_run, tmp_path):
    """Started without torchrun, which looks at the port itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        done = subprocess.run(
            [sys.executable, "train.py", "ppo", "--sft", str(sft_run), "--out", str(tmp_path / "run"), *PPO],
            cwd=ROOT,
            env=os.environ | variables,
            capture_output=True,
            text=True,
        )
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert done.returncode == 2 and f"cannot meet at 127.0.0.1:{port}" in said and "free" in said
    assert not (tmp_path / "run").exists()
