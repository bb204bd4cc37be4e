"""The hostile corpus as root and as nobody, on both tiers: an accepted verdict for each, nothing left."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox_helpers import descendants

SCRIPT = Path(__file__).with_name("corpus.py")
FOLDER = Path(__file__).parents[2].parent / "shared" / "hostile"
NOBODY = 65534


def traces() -> tuple[object, ...]:
    shared_memory = [name for name in os.listdir("/dev/shm") if not name.startswith("pytest")]
    segments = Path("/proc/sysvipc/shm").read_text()
    return descendants(os.getpid()), shared_memory, segments


def python_of_nobody() -> str:
    """An interpreter that another user can start: the one we run under may lie in somebody's home."""
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        command = [candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/").returncode == 0:
                return candidate
        except OSError:
            continue
    pytest.skip("no Python 3.11 that user nobody can start")


@pytest.mark.parametrize(
    ("user", "isolation"),
    [
        ("caller", "full"),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in (("caller", "base"), ("nobody", "base"), ("nobody", "full"))
        ),
    ],
)
def test_every_program_ends_in_an_accepted_verdict(user: str, isolation: str) -> None:
    if not FOLDER.exists():
        pytest.skip("the hostile corpus is not here")
    if user == "nobody" and os.getuid() != 0:
        pytest.skip("only root can become another user")
    before = traces()
    python, who = sys.executable, {}
    if user == "nobody":
        python, who = python_of_nobody(), {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    command = [python, str(SCRIPT), str(FOLDER), isolation]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env={}, **who)  # type: ignore[call-overload]
    if isolation == "full" and "SandboxError" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    cases = json.loads((FOLDER / "expected.json").read_text())
    assert found.pop("tier") == isolation
    assert found.keys() == cases.keys()
    wrong = {
        name: found[name]
        for name, case in cases.items()
        if found[name] not in [case["verdict"], *case["alt"]]
    }
    assert wrong == {}
    assert traces() == before
