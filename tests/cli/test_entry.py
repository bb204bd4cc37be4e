"""Before and around the commands: Ctrl-C while torch is imported, terminals and pipes that are not UTF-8."""

import io
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import command

import entry
from cli.console import Console
from cli.errors import run_command
from cli.results import print_results
from entry import prepare

ROOT = Path(__file__).resolve().parents[2]

# Stands in for torch: once it is being imported, the test sends its signal.
SLOW_TORCH = 'import os, time\nos.write(1, b"importing\\n")\ntime.sleep(60)\n'
SCRIPTS = {"train.py": ["ppo", "--sft", "x"], "evaluate.py": ["x"]}


@pytest.mark.parametrize(
    ("script", "number"), [("train.py", signal.SIGINT), ("evaluate.py", signal.SIGTERM)], ids=str
)
def test_an_interrupt_during_the_imports_leaves_no_traceback(tmp_path, script, number):
    (tmp_path / "torch.py").write_text(SLOW_TORCH)
    process = subprocess.Popen(
        [sys.executable, script, *SCRIPTS[script]],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "interrupted\n")


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("module", ["report", "reward.rescore", "reward.shaping"])
def test_what_python_m_runs_is_prepared_too(monkeypatch, module):
    """Before it looks at its arguments."""

    def seen() -> None:
        raise SystemExit(77)

    monkeypatch.setattr(entry, "prepare", seen)
    monkeypatch.setattr(sys, "argv", [module, "--no-such-flag"])
    with pytest.raises(SystemExit, match="77"):
        runpy.run_module(module, run_name="__main__")


def test_ctrl_c_in_a_module_at_work(tmp_path):
    """Whose standard output is ASCII, and whose input is a pipe in which nothing comes."""
    os.mkfifo(tmp_path / "samples.jsonl")
    (tmp_path / "config.yaml").write_text("ppo: {}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "reward.rescore", str(tmp_path / "samples.jsonl")],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with (tmp_path / "samples.jsonl").open("w"):  # it has opened its end, and so is at work
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, ("", "interrupted\n"))


def interrupted() -> None:
    raise KeyboardInterrupt("and what to do")


def test_an_interrupt_while_a_command_runs(capsys):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        assert run_command(interrupted) == 130
        assert capsys.readouterr().err == "interrupted; and what to do\n"
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


@pytest.fixture
def written(monkeypatch):
    """Standard output in an encoding; what was written to it, as bytes."""

    def to(encoding: str) -> io.BytesIO:
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        prepare()
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
        return raw

    return to


COLUMNS = ("syntax", "any_pass", "all_pass", "reward", "reward_pass_fraction", "length")
NAMED = {"name": "modèle ≥ 1 \udcff"}  # a file name that is no UTF-8 arrives like this
RESULTS = {
    "problems": 1,
    "samples": 1,
    "temperature": 0.7,
    "models": [NAMED | {column: {"mean": 0.5, "low": 0.0, "high": 1.0} for column in COLUMNS}],
}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "koi8-r", "utf-8"])
def test_no_output_fails_for_its_encoding(written, encoding):
    raw = written(encoding)
    print_results(RESULTS)
    with Console("PPO", 1) as console:
        console.say("print('héllo → 世界 \udc80')")
    print("plain: \u202e≥ \ud800")
    for name in ("ppo", "sft", "evaluate", "sample"):
        assert command(name, "--help") == 0
    assert command("ppo", "--help-all") == 0
    shown = raw.getvalue().decode(encoding)
    assert "1-P %" in shown and "All-P %" in shown and "--learning-rate" in shown
    if encoding == "ascii":
        assert ">=1-P %" in shown and "\\u4e16\\u754c" in shown
