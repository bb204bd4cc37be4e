"""Two processes, one run folder: the second ends in one line that names the first, and touches nothing."""

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import PPO, SFT, command

from cli.errors import UsageError
from cli.lock import LOCK, locked

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = ["--iterations", 1000, "--allow-changes", "iterations"]


def contents(folder: Path) -> dict[str, object]:
    """Every file below a folder, with its bytes and the time it was written."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def start(name: str, *arguments: object) -> subprocess.Popen:
    """A command in a process of its own."""
    flags = [sys.executable, "train.py", name, *map(str, arguments)]
    return subprocess.Popen(flags, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(process: subprocess.Popen, pattern: str) -> None:
    """Read what a process says until a line matches."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if re.match(pattern, line):
            return
    raise AssertionError("".join(said))


def refused(capsys, process: subprocess.Popen, folder: Path, name: str, *arguments: object) -> None:
    """A second command on the folder of a living process ends in one line, and nothing in it has changed."""
    process.send_signal(signal.SIGSTOP)  # it lives, and writes nothing of its own meanwhile
    os.waitpid(process.pid, os.WUNTRACED)  # until all of its threads have stopped
    try:
        before = contents(folder)
        capsys.readouterr()
        assert command(name, *arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1, said
        assert f"process {process.pid} writes it since 20" in said and f"(train.py {name} " in said
        assert contents(folder) == before
    finally:
        process.send_signal(signal.SIGCONT)


def killed(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_four_combinations_of_overwrite_and_resume(capsys, sft_run, tmp_path):
    """And a lock that a killed process left behind is no lock."""
    out = tmp_path / "run"
    begin = ["--sft", sft_run, "--out", out, *PPO]
    for way in ([*begin, "--iterations", 1000, "--overwrite"], ["--resume", out, *ENDLESS]):
        process = start("ppo", *way)
        try:
            wait_for(process, "iteration [1-9]")
            refused(capsys, process, out, "ppo", *begin, "--overwrite")
            refused(capsys, process, out, "ppo", "--resume", out)
            refused(capsys, process, out, "ppo", *begin)
        finally:
            killed(process)
        assert (out / LOCK).exists()
    assert command("ppo", *begin, "--overwrite") == 0
    assert not (out / LOCK).exists()


def test_sft_has_its_folder_for_itself(capsys, tmp_path):
    out = tmp_path / "sft"
    process = start("sft", *SFT, "--out", out, "--epochs", 100000)
    try:
        wait_for(process, "SFT: ")
        refused(capsys, process, out, "sft", *SFT, "--out", out, "--overwrite")
        refused(capsys, process, out, "sft", *SFT, "--out", out)
    finally:
        killed(process)
    assert command("sft", *SFT, "--out", out, "--epochs", 1) == 0  # it left nothing worth a question


def test_the_demo_holds_its_runs_too(capsys, sft_run, tmp_path):
    """Also between them: while PPO runs on the SFT model, nobody may replace that."""
    holder = f"""
import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ["train.py", "demo"]
import cli.demo, pathlib, time
def wait(settings): print("holds", flush=True); time.sleep(600)
cli.demo._run = wait
cli.demo.run_demo(cli.demo.DemoCommand(out=pathlib.Path({str(tmp_path / "demo")!r})))
"""
    process = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True)
    try:
        wait_for(process, "holds")
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


CONTEST = f"""
import sys, time; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from cli.errors import UsageError
from cli.lock import locked
print("ready", flush=True); sys.stdin.readline()
try:
    with locked(Path(sys.argv[1])):
        print("won", flush=True); sys.stdin.readline()
except UsageError:
    print("lost", flush=True)
"""


def test_of_many_at_once_one_wins_each_time(tmp_path):
    folder = tmp_path / "deep" / "run"
    line = [sys.executable, "-c", CONTEST, str(folder)]
    processes = [
        subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(5)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.stdout.readline() for process in processes]
    assert sorted(answers) == ["lost\n"] * 4 + ["won\n"]
    for process in processes:
        process.communicate("go\n")
    assert not folder.parent.exists()  # made for the lock alone


def test_a_child_does_not_keep_the_lock_of_its_dead_parent(tmp_path):
    parent = f"""
import sys, subprocess, os, signal; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from cli.lock import locked
with locked(Path({str(tmp_path)!r})):
    child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, close_fds=False)
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, timeout=60)
    child = int(done.stdout)
    try:
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
