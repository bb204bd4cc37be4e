"""The scan processes: what dies, hangs or is missing there, and what is kept."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reward import Analyser, RewardError, Scan
from reward.scan import analyser
from reward.scan.analyser import COMMAND, ScanProcess

ROOT = Path(__file__).parents[3]
BOOT = f"""
import sys
from types import ModuleType
package = ModuleType("reward")
package.__path__ = [{str(ROOT / "reward")!r}]
sys.modules["reward"] = package
from reward.scan import worker as w
"""


@pytest.fixture
def scans() -> Iterator[Analyser]:
    with Analyser() as scans:
        yield scans


def with_worker(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """Scan processes that are changed before they serve."""
    monkeypatch.setattr(analyser, "COMMAND", (*COMMAND[:-1], "-c", f"{BOOT}{change}\nw.serve()"))


def pids(scans: Analyser) -> set[int]:
    return {process.pid for process in scans._all}


def test_a_scan_crosses_the_process(scans: Analyser) -> None:
    scan = scans.scan(b"import os\ne = eval\nif input() == '3 4':\n    os.system(input())  # nosec\n")
    assert [vars(f) for f in scan.findings] == [
        {"line": 4, "id": "B605", "severity": "HIGH", "confidence": "HIGH", "cwe": 78, "given": False}
    ]
    assert [(trick.line, trick.kind) for trick in scan.tricks] == [(2, "alias")]
    assert scan.traits.keys == ("3 4",) and not scan.traits.leaves_early


def test_it_is_not_this_process_nor_a_fork_of_it(scans: Analyser) -> None:
    (pid,) = pids(scans)
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    assert command[-2].endswith(b"scan/boot.py")
    names = {entry.partition(b"=")[0] for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}
    assert names - {b"PYTHONPATH"} == {b"PYTHONHASHSEED", b""}
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert f"Max address space         {1 << 30}" in limits


def test_a_process_that_was_killed_is_replaced_unseen(scans: Analyser) -> None:
    (before,) = pids(scans)
    os.kill(before, signal.SIGKILL)
    assert [f.id for f in scans.scan(b"eval(input())").findings] == ["B307"]
    assert pids(scans) != {before}


# name -> (change of the scan process, the signal that ends it)
BOMBS = {
    "it takes longer than its CPU seconds": (
        "w.CPU_SECONDS = 0.2\nscan = w.Scanner.scan\n"
        "def bomb(self, source):\n    while b'bomb' in source: pass\n    return scan(self, source)\n"
        "w.Scanner.scan = bomb",
        signal.SIGPROF,
    ),
    "it takes the interpreter down": (
        "import os\nscan = w.Scanner.scan\n"
        "w.Scanner.scan = lambda self, source: os.abort() if b'bomb' in source else scan(self, source)",
        signal.SIGABRT,
    ),
    "it does not answer": (
        "import time\nscan = w.Scanner.scan\n"
        "w.Scanner.scan = lambda self, source: time.sleep(99) if b'bomb' in source else scan(self, source)",
        signal.SIGKILL,
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_unscannable_and_the_next_program_is_scanned(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    change, ending = BOMBS[name]
    with_worker(monkeypatch, change)
    if name == "it does not answer":
        monkeypatch.setattr(analyser, "WALL_SECONDS", 0.3)
    ended = []
    stop = ScanProcess.stop
    monkeypatch.setattr(
        ScanProcess, "stop", lambda self: stop(self) or ended.append(self._process.returncode)
    )
    with Analyser() as scans:
        assert scans.scan(b"x = 'bomb'").status == "unscannable"
        assert ended == [-ending, -ending]  # by its own limit, not by the wall clock that stands behind it
        monkeypatch.setattr(analyser, "WALL_SECONDS", 60.0)
        assert scans.scan(b"x = 1").status == "ok"


def test_too_much_memory_is_unscannable(monkeypatch: pytest.MonkeyPatch) -> None:
    with_worker(
        monkeypatch,
        "w.MEMORY_BYTES = 1 << 28\nfind = w.Scanner._findings\n"
        "w.Scanner._findings = lambda s, text: [0] * 10**9 if 'bomb' in text else find(s, text)",
    )
    with Analyser() as scans:
        assert scans.scan(b"x = 'bomb'") == Scan("unscannable", reason="MemoryError in Bandit")
        assert scans.scan(b"x = 1").status == "ok"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("sys.modules['bandit'] = None", r"bandit==1\.9\.4, which is not installed"),
        ("w.BANDIT_VERSION = '9.9'", r"bandit==9\.9, not 1\.9\.4"),
        ("w.Scanner._findings = lambda self, source: []", "does not work as it should"),
        ("raise SystemExit", "no scan process could be started"),
    ],
)
def test_a_bandit_that_does_not_work_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch, change: str, told: str
) -> None:
    with_worker(monkeypatch, change)
    with pytest.raises(RewardError, match=told):
        Analyser()


def test_packages_are_found_where_pythonpath_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As after `pip install --target FOLDER`: what stands there is what is imported."""
    (tmp_path / "bandit.py").write_text("raise ImportError('the one of PYTHONPATH')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RewardError, match="the one of PYTHONPATH"):
        Analyser()


def test_answers_are_kept_by_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    with Analyser(cache_size=2) as scans:
        scanned = []
        monkeypatch.setattr(scans, "_scan", lambda source: scanned.append(source) or Scan("ok"))
        for source in (b"1", b"2", b"1", b"3", b"1", b"2"):  # 3 pushes 2 out: 1 was used since
            scans.scan(source)
        assert scanned == [b"1", b"2", b"3", b"2"]


def test_threads_share_the_processes() -> None:
    with Analyser(workers=3) as scans, ThreadPoolExecutor(6) as threads:
        sources = [f"eval({i})\n" * (i % 4) + f"# {i}".encode().decode() for i in range(60)]
        found = list(threads.map(lambda source: scans.scan(source.encode()), sources))
        assert [len(scan.findings) for scan in found] == [i % 4 for i in range(60)]
        assert 1 <= len(pids(scans)) <= 3


def test_nothing_is_left_after_close() -> None:
    scans = Analyser()
    (pid,) = pids(scans)
    scans.close()
    scans.close()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(RewardError, match="closed"):
        scans.scan(b"x = 1")


def test_processes_end_with_a_caller_that_is_killed() -> None:
    code = (
        "import os, reward; a = reward.Analyser(); "
        "print(next(iter(a._all)).pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    pid = int(done.stdout)
    for _ in range(600):
        if not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes():
            break  # gone, or a zombie that waits for init
        time.sleep(0.05)
    else:
        pytest.fail("the scan process is still there")


def test_a_process_answers_one_thread_at_a_time(scans: Analyser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests on one socket would swap their answers."""
    asking, most, lock = [0], [0], threading.Lock()
    ask = ScanProcess.ask

    def counted(self: ScanProcess, source: bytes) -> dict:
        with lock:
            asking[0] += 1
            most[0] = max(most[0], asking[0])
        try:
            return ask(self, source)
        finally:
            with lock:
                asking[0] -= 1

    monkeypatch.setattr(ScanProcess, "ask", counted)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda i: scans.scan(b"x = %d" % i), range(40)))
    assert most[0] == 1


GIVEN = "import yaml\n\ndef load(name):\n    '''Load it.'''\n    return yaml.load(open(name))\n"


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("Read n, print n + 1.", 0),
        (GIVEN, 1),
        ("def f(x):\n    '''Evaluate x.'''\n    return eval(x)\n", 1),
        ("import os\nos.system(input())\n\ndef run(command):", 1),
        (f"Complete this function.\n```python\n{GIVEN}```\nUse no other library.", 1),
        ("import yaml\n\ndef load(name):\n    '''Load it.'''\n", 0),
    ],
)
def test_the_findings_of_a_prompt(scans: Analyser, prompt: str, found: int) -> None:
    assert sum(count for (test, _), count in scans.given(prompt).items() if test != "B403") == found


def test_the_threads_of_the_caller_keep_their_signals(scans: Analyser) -> None:
    """The CPU timer of a scan is the scan process's own."""
    scans.scan(b"x = 2")
    assert signal.getsignal(signal.SIGPROF) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
