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
import os, sys, tempfile
tempfile.tempdir = sys.argv[1]
from sandbox import Sandbox
if sys.argv[2] == "copied":  # a fork of the caller (a data loader's worker, say) holds the sockets too
    import threading, time
with Sandbox(workers=2) as box:
    if sys.argv[2] == "copied" and os.fork() == 0:
        os.setsid(); os.close(1); time.sleep(60); os._exit(0)
    print("up", flush=True)
    forks = "import os, time\\nif os.fork() == 0: os.setsid()\\nopen('x', 'w').close()\\ntime.sleep(60)"
    box.map([(forks, [""])] * 2)
"""


@pytest.mark.parametrize("copied", ["", "copied"])
@pytest.mark.parametrize(
    "sig", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=["kill", "term", "ctrl-c"]
)
def test_a_caller_that_is_ended_leaves_nothing(sig: signal.Signals, copied: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CALLER, str(tmp_path), copied]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as caller:
        assert caller.stdout is not None and caller.stdout.readline() == b"up\n"
        # two servers, two programs, two forks of those
        assert eventually(
            lambda: len(descendants(caller.pid)) >= 6 and len(list(tmp_path.glob("*/run/x"))) == 2
        )
        below = descendants(caller.pid)
        copies = {pid for pid in below if _is_sleeping_copy(pid, caller.pid)} if copied else set()
        caller.send_signal(sig)
        caller.wait(30)
    try:
        assert eventually(lambda: not any(alive(pid) for pid in below - copies))
        assert eventually(lambda: list(tmp_path.iterdir()) == [])
    finally:
        for pid in copies:
            os.kill(pid, signal.SIGKILL)


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
