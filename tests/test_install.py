"""The project as a library, `pip install .`: what it needs, and who else may use its names."""

import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from sources import ROOT

import entry
import evaluate
import train

EXAMPLE = re.search(r"```python\n(from data .*?)```", (ROOT / "README.md").read_text(), re.S)[1]


def test_every_room_is_checked():
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert set(entry.ROOMS) == rooms


@pytest.mark.parametrize("name", ["data", "sandbox"])
@pytest.mark.parametrize("kind", ["package", "module"])
def test_another_package_of_a_name_is_told(tmp_path, name, kind):
    other = tmp_path / name / "__init__.py" if kind == "package" else tmp_path / f"{name}.py"
    other.parent.mkdir(exist_ok=True)
    other.write_text("")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import reward"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"coderl-ppo has a package '{name}'" in done.stderr and str(tmp_path) in done.stderr


@pytest.mark.parametrize("main", [train.main, evaluate.main])
def test_commands_say_it_in_one_line(capsys, monkeypatch, main):
    def other(*names: str) -> None:
        raise ImportError("coderl-ppo has a package 'data' elsewhere")

    monkeypatch.setattr(sys.modules[main.__module__], "check_rooms", other)
    monkeypatch.setattr(sys.modules[main.__module__], "prepare", lambda: None)
    assert main(["sample"]) == 2
    assert capsys.readouterr().err == "error: coderl-ppo has a package 'data' elsewhere\n"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("torch", "torch is not installed: pip install 'coderl-ppo[train]'"),
        ("data.nowhere", "No module named"),
    ],
)
def test_a_missing_package_is_told_with_what_brings_it(capsys, name, told):
    assert entry.missing_package(ModuleNotFoundError(f"No module named {name!r}", name=name)) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_an_installed_wheel_scores_without_torch(tmp_path):
    """In a fresh environment: the example, the commands' own line about the extra, the version."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    built = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(built, check=True)
    [wheel] = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    bin_ = tmp_path / "venv" / "bin"
    subprocess.run([bin_ / "python", "-m", "pip", "-q", "install", wheel], check=True)

    def run(*command: str | Path) -> subprocess.CompletedProcess:
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    scored = run(bin_ / "python", "-c", EXAMPLE + "import sys\nprint('torch' in sys.modules)")
    assert scored.stdout == "1.0 {'functional': 1.0, 'security': 1.0}\nFalse\n", scored.stderr
    assert run(bin_ / "coderl-train", "--version").stdout.startswith("coderl-ppo 0.")
    for command in ("coderl-train", "coderl-evaluate"):
        refused = run(bin_ / command, "sample")
        assert refused.returncode == 2 and "pip install 'coderl-ppo[train]'" in refused.stderr
    assert "torch" in run(bin_ / "coderl-train", "doctor").stdout
