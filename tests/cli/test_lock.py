"""Two processes, one run folder: the second ends in one line that names the first, and touches nothing."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pytest
from forks import FORKS
from processes import killed, start, start_call, stopped, wait_for
from small_runs import PPO, SFT, command

import cli.demo
from cli.demo import DemoCommand
from cli.errors import UsageError
from cli.lock import LOCK, locked

ENDLESS = ["--iterations", 1000, "--allow-changes", "iterations"]
ENDLESS_SFT = ["--epochs", 100000, "--save-every", 100000, "--keep", "last"]  # and no checkpoint


def contents(folder: Path) -> dict[str, object]:
    """Every file below a folder, with its bytes and the time it was written."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def refused(capsys, process: BaseProcess, folder: Path, name: str, *arguments: object) -> None:
    """A second command on the folder of a living process ends in one line, and nothing in it has changed."""
    with stopped(process):  # it lives, and writes nothing of its own meanwhile
        before = contents(folder)
        capsys.readouterr()
        assert command(name, *arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1, said
        assert f"process {process.pid} writes it since 20" in said and f"(train.py {name} " in said
        assert contents(folder) == before


@pytest.mark.slow
def test_four_combinations_of_overwrite_and_resume(capsys, sft_run, tmp_path):
    """And a lock that a killed process left behind is no lock."""
    out = tmp_path / "run"
    begin = ["--sft", sft_run, "--out", out, *PPO]
    for way in ([*begin, "--iterations", 1000, "--overwrite"], ["--resume", out, *ENDLESS]):
        process = start(tmp_path / "log", "ppo", *way)
        try:
            wait_for(process, tmp_path / "log", "iteration [1-9]")
            refused(capsys, process, out, "ppo", *begin, "--overwrite")
            refused(capsys, process, out, "ppo", "--resume", out)
            refused(capsys, process, out, "ppo", *begin)
        finally:
            killed(process)
        assert (out / LOCK).exists()
    assert command("ppo", *begin, "--overwrite") == 0
    assert not (out / LOCK).exists()


@pytest.mark.slow
def test_sft_has_its_folder_for_itself(capsys, tmp_path):
    out = tmp_path / "sft"
    process = start(tmp_path / "log", "sft", *SFT, "--out", out, *ENDLESS_SFT)
    try:
        wait_for(process, tmp_path / "log", "SFT: ")
        refused(capsys, process, out, "sft", *SFT, "--out", out, "--overwrite")
        refused(capsys, process, out, "sft", *SFT, "--out", out)
        refused(capsys, process, out, "sft", "--resume", out)
    finally:
        killed(process)
    assert command("sft", *SFT, "--out", out, "--epochs", 1) == 0  # it left nothing worth a question


def hold_demo(out: Path, holds: Event) -> None:
    """A demo that waits where it would train."""

    def wait(settings: DemoCommand) -> None:
        holds.set()
        time.sleep(600)

    sys.argv = ["train.py", "demo"]
    cli.demo._run = wait
    cli.demo.run_demo(DemoCommand(out=out))


def test_the_demo_holds_its_runs_too(capsys, sft_run, tmp_path):
    """Also between them: while PPO runs on the SFT model, nobody may replace that."""
    holds = FORKS.Event()
    process = start_call(hold_demo, tmp_path / "demo", holds)
    try:
        assert holds.wait(60)
        for name, arguments in {
            "sft": [*SFT, "--out", tmp_path / "demo" / "sft", "--overwrite"],
            "ppo": ["--sft", sft_run, "--out", tmp_path / "demo" / "ppo", *PPO],
            "demo": ["--out", tmp_path / "demo"],
        }.items():
            capsys.readouterr()
            assert command(name, *arguments) == 2
            assert f"process {process.pid} writes it since" in capsys.readouterr().err
    finally:
        killed(process)


def contest(folder: Path, ready: Barrier, answers: SimpleQueue, over: Barrier) -> None:
    """Try for the lock when all do, and keep it until all have tried."""
    ready.wait(60)
    try:
        with locked(folder):
            answers.put("won")
            over.wait(60)
    except UsageError:
        answers.put("lost")
        over.wait(60)


def test_of_many_at_once_one_wins_each_time(tmp_path):
    folder = tmp_path / "deep" / "run"
    ready, answers, over = FORKS.Barrier(5), FORKS.SimpleQueue(), FORKS.Barrier(5)
    processes = [start_call(contest, folder, ready, answers, over) for _ in range(5)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 5
    assert sorted(answers.get() for _ in processes) == ["lost"] * 4 + ["won"]
    assert not folder.parent.exists()  # made for the lock alone


def lock_and_die(folder: Path) -> None:
    """Leave a child behind, to which every descriptor is open that may be."""
    with locked(folder):
        child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, close_fds=False)
        (folder / "child").write_text(str(child.pid))
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_child_does_not_keep_the_lock_of_its_dead_parent(tmp_path):
    process = start_call(lock_and_die, tmp_path)
    process.join()
    child = int((tmp_path / "child").read_text())
    try:
        assert (tmp_path / LOCK).exists()
        os.kill(child, 0)  # it lives
        with locked(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_command_inside_another_shares_its_lock(tmp_path):
    with locked(tmp_path):
        with locked(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_its_holder_removed_is_not_taken_for_the_folders(tmp_path, monkeypatch):
    """Opened before the holder ended and locked after: another process may have the next file already."""
    real, calls = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / LOCK).unlink()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path):
        assert len(calls) == 2 and (tmp_path / LOCK).exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, capsys, number):
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "run"):
        said = capsys.readouterr().err
    assert said.startswith("warning: ") and said.count("\n") == 1
    assert "this file system has no locks" in said and "no other process" in said


def test_a_holder_that_has_not_signed_yet(tmp_path):
    with (tmp_path / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process writes it"), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass
