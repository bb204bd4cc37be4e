"""What a program finds around itself, and what the kernel says holds for it."""

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sandbox_helpers import SMALL, descendants, eventually

from sandbox import Run, Sandbox
from sandbox.kernel.lockdown import FILE_PAGES, HEADROOM, OPEN_FILES

OPEN_DESCRIPTORS = """
import os
def is_open(fd):
    try: os.fstat(fd)
    except OSError: return False
    return True
print([fd for fd in range(3000) if is_open(fd)])
"""


@contextmanager
def sleeping_child(box: Sandbox, program: str = "") -> Iterator[int]:
    """The process of a program that has started and sleeps until the box is closed."""
    thread = threading.Thread(target=lambda: box.run(f"{program}\nimport time\ntime.sleep(4)", [""]))
    thread.start()

    def sleepers() -> set[int]:
        below = {pid for server in box._workers[0].pids for pid in descendants(server)}
        return {pid for pid in below if "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()}

    assert eventually(lambda: bool(sleepers()))
    yield sleepers().pop()
    thread.join()


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_the_kernel_confirms_the_layers(tier_box: Sandbox) -> None:
    with sleeping_child(tier_box) as pid:
        status = status_of(pid)
        own = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("user", "pid", "net", "mnt", "ipc")}
        theirs = {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in own}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert all(int(status[name], 16) == 0 for name in ("CapEff", "CapPrm", "CapInh"))
    apart = tier_box.tier == "full"
    assert all((own[name] != theirs[name]) == apart for name in own)
    if apart and os.getuid() == 0:
        assert set(status["Uid"].split()) == {"65534"}


def test_environment_is_empty(one: Callable[..., Run]) -> None:
    assert one("import os\nprint(dict(os.environ))").stdout == b"{}\n"


def test_the_file_system_is_empty_and_cannot_be_written(one: Callable[..., Run]) -> None:
    program = (
        "import os\nfor name in ('/', '/etc/passwd', '/proc/self', '/tmp', 'input.txt'):\n"
        "  print(os.path.exists(name), end=' ')\n"
        "for mode in 'rwax':\n"
        "  try: open('/tmp/x', mode)\n  except OSError as e: print(type(e).__name__, end=' ')"
    )
    expected = "False " * 5 + "FileNotFoundError " + "PermissionError " * 3
    assert one(program).stdout.decode() == expected


def test_only_three_descriptors_are_open(tier_box: Sandbox) -> None:
    many = [os.open("/dev/null", os.O_RDONLY) for _ in range(2 * OPEN_FILES)]
    for fd in many:
        os.set_inheritable(fd, True)  # as a careless library would
    try:
        with Sandbox(workers=1, isolation="base") as box:
            assert box.run(OPEN_DESCRIPTORS, [""]).runs[0].stdout == b"[0, 1, 2]\n"
        assert tier_box.run(OPEN_DESCRIPTORS, [""]).runs[0].stdout == b"[0, 1, 2]\n"
    finally:
        for fd in many:
            os.close(fd)


def test_a_child_that_may_not_be_kept_has_no_descriptor_more(box: Sandbox) -> None:
    runs = box.run(OPEN_DESCRIPTORS, ["", "", ""], accept=lambda i, run: True).runs
    assert [run.stdout for run in runs] == [b"[0, 1, 2]\n"] * 3


def test_input_cannot_be_changed(one: Callable[..., Run]) -> None:
    for change in ("os.write(0, b'x')", "os.ftruncate(0, 0)", "os.ftruncate(0, 99)"):
        assert "PermissionError" in one(f"import os\n{change}", "abc").stderr


def test_resource_limits_are_hard(small_box: Sandbox) -> None:
    program = (
        "import resource as r\n"
        "for name in ('CORE', 'NOFILE', 'FSIZE', 'AS', 'CPU', 'DATA'):\n"
        "  print(*r.getrlimit(getattr(r, 'RLIMIT_' + name)))\n"
        "print(r.getrlimit(r.RLIMIT_NPROC)[1] > 0)"
    )
    output = small_box.run(program, [""]).runs[0].stdout.decode().split("\n")
    memory = SMALL.memory_mb << 20
    hard = [0, OPEN_FILES, SMALL.output_kb * 1024 + 1, memory + HEADROOM, 12]
    assert output[:5] == [f"{value} {value}" for value in hard]
    assert output[5:7] == [f"{memory - FILE_PAGES} {memory + HEADROOM}", "True"]


@pytest.mark.parametrize("kind", ["CORE", "NOFILE", "FSIZE", "AS", "CPU", "DATA"])
def test_no_hard_limit_can_be_raised(kind: str, one: Callable[..., Run]) -> None:
    raise_it = f"k = r.RLIMIT_{kind}\nr.setrlimit(k, (r.getrlimit(k)[1] + 1,) * 2)"
    assert "ValueError: not allowed to raise maximum limit" in one(f"import resource as r\n{raise_it}").stderr


def test_child_dies_with_its_server(one: Callable[..., Run]) -> None:
    get_death_signal = "ctypes.CDLL(None).prctl(2, ctypes.byref(value))"
    program = f"import ctypes\nvalue = ctypes.c_int()\n{get_death_signal}\nprint(value.value)"
    assert one(program).stdout == b"9\n"
    keep_alive = "ctypes.CDLL(None, use_errno=True).prctl(1, 0, 0, 0, 0), ctypes.get_errno()"
    assert one(f"import ctypes\nprint({keep_alive})").stdout == b"-1 1\n"


def test_server_holds_no_torch_and_no_half_of_the_caller(one: Callable[..., Run]) -> None:
    program = "import sys\nprint([name for name in ('torch', 'numpy', 'subprocess') if name in sys.modules])"
    assert one(program).stdout == b"[]\n"
    assert one("import sys\nprint([p for p in sys.path if 'site-packages' in p or not p])").stdout == b"[]\n"


def test_no_run_finds_another_in_its_memory() -> None:
    secret, own = b"zq" + b"7" * 40, b"yq" + b"8" * 40
    with Sandbox(workers=1, isolation="base") as box:
        assert box.run("print(len(input()))", [secret]).runs[0].stdout == b"42\n"
        with sleeping_child(box, f"x = 'yq' + '{own[2:].decode()}'") as pid:
            memory = read_memory(pid)
    assert len(memory) > 1 << 20
    assert own in memory  # the search finds what is there
    assert secret not in memory


def read_memory(pid: int) -> bytes:
    data = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            start, end = (int(number, 16) for number in re.split("[- ]", line)[:2])
            if " rw-p " in line:
                memory.seek(start)
                data.append(memory.read(end - start))
    return b"".join(data)
