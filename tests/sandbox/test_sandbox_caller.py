"""However the caller ends, nothing is left; and what importing the sandbox needs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox_helpers import alive, descendants, eventually

ROOT = Path(__file__).parents[2]

CALLER = """
import os, sys
from sandbox import Sandbox
if sys.argv[1] == "copied":  # a fork of the caller (a data loader's worker, say) holds the sockets too
    import threading, time
with Sandbox(workers=2, isolation=sys.argv[2]) as box:
    if sys.argv[1] == "copied" and os.fork() == 0:
        os.setsid(); os.close(1); time.sleep(60); os._exit(0)
    print("up", flush=True)
    box.map([("import time\\ntime.sleep(60)", [""])] * 2)
"""


@pytest.mark.parametrize("isolation", ["base", "auto"])
@pytest.mark.parametrize("copied", ["alone", "copied"])
@pytest.mark.parametrize(
    "sig", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=["kill", "term", "ctrl-c"]
)
def test_a_caller_that_is_ended_leaves_nothing(sig: signal.Signals, copied: str, isolation: str) -> None:
    command = [sys.executable, "-c", CALLER, copied, isolation]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as caller:
        assert caller.stdout is not None and caller.stdout.readline() == b"up\n"
        assert eventually(lambda: sum(map(_is_filtered, descendants(caller.pid))) == 2)
        below = descendants(caller.pid)
        copies = {pid for pid in below if _is_sleeping_copy(pid, caller.pid)}
        assert len(copies) == (copied == "copied")
        caller.send_signal(sig)
        caller.wait(30)
    try:
        assert eventually(lambda: not any(alive(pid) for pid in below - copies))
    finally:
        for pid in copies:
            os.kill(pid, signal.SIGKILL)


def _is_filtered(pid: int) -> bool:
    """Whether the process is a program's."""
    try:
        return "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def _is_sleeping_copy(pid: int, caller: int) -> bool:
    same = Path(f"/proc/{pid}/cmdline").read_bytes() == Path(f"/proc/{caller}/cmdline").read_bytes()
    return same and pid != caller


def test_import_needs_no_torch_and_nothing_of_ours() -> None:
    program = (
        "import sys\nsys.modules['torch'] = sys.modules['numpy'] = None\nimport sandbox\n"
        "with sandbox.Sandbox(workers=1) as box: print(box.run('print(1)', ['']).runs[0].status.name)\n"
        "ours = {'ppo', 'models', 'reward', 'data', 'report', 'cli', 'train'}\n"
        "print(sorted(ours & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout == b"OK\n[]\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_caller_may_have_closed_its_standard_streams(closed: str, tmp_path: Path) -> None:
    """As a daemon does. `hashlib` is in the second server."""
    program = (
        "from sandbox import Sandbox\nimport pathlib, sys\n"
        "with Sandbox(workers=1) as box:\n"
        "  runs = [box.run(f'import {m}\\nprint(input())', ['x']).runs[0] for m in ('math', 'hashlib')]\n"
        "pathlib.Path(sys.argv[1]).write_text(repr([(run.status.name, run.stdout) for run in runs]))\n"
    )
    out = tmp_path / "out"
    subprocess.run(
        ["/bin/sh", "-c", f'"$0" -c "$1" "$2" {closed}', sys.executable, program, str(out)], cwd=ROOT
    )
    assert out.exists()
    assert out.read_text() == repr([("OK", b"x\n")] * 2)
