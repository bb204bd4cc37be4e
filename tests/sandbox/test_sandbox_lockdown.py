"""What a program finds around itself."""

import os
from collections.abc import Callable
from pathlib import Path

from sandbox_helpers import SHORT

from sandbox import Run, Sandbox
from sandbox.lockdown import ADDRESS_HEADROOM, OPEN_FILES


def test_environment_is_empty(one: Callable[..., Run]) -> None:
    assert one("import os\nprint(dict(os.environ))").stdout == b"{}\n"
    run = one("import subprocess\nprint(subprocess.run(['/usr/bin/env'], capture_output=True).stdout)")
    assert run.stdout == b"b''\n"


def test_directory_is_empty_private_and_removed(box: Sandbox) -> None:
    program = "import os\nprint(os.getcwd(), os.listdir())\nopen('file', 'w').close()\nos.makedirs('a/b')"
    first, second = (run.stdout.decode().split() for run in box.run(program, ["", ""]).runs)
    assert first[1] == second[1] == "[]"
    assert not Path(first[0]).exists()


def test_only_three_descriptors_are_open(one: Callable[..., Run]) -> None:
    secret = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(secret, True)  # as a careless library would
    try:
        assert (
            one("import os\nprint(os.listdir('/proc/self/fd'))").stdout == b"['0', '1', '2', '3']\n"
        )  # 3: its own
    finally:
        os.close(secret)


def test_a_caller_with_many_descriptors_leaks_none() -> None:
    many = [os.open("/dev/null", os.O_RDONLY) for _ in range(2 * OPEN_FILES)]
    try:
        with Sandbox(workers=1) as box:
            run = box.run("import os\nprint(os.listdir('/proc/self/fd'))", [""]).runs[0]
    finally:
        for fd in many:
            os.close(fd)
    assert run.stdout == b"['0', '1', '2', '3']\n"


def test_input_cannot_be_changed(one: Callable[..., Run]) -> None:
    for change in ("os.write(0, b'x')", "os.ftruncate(0, 0)", "os.ftruncate(0, 99)"):
        assert "PermissionError" in one(f"import os\n{change}", "abc").stderr


def test_resource_limits_are_hard(short_box: Sandbox) -> None:
    program = (
        "import resource as r\n"
        "for name in ('CORE', 'NOFILE', 'FSIZE', 'AS', 'CPU'):\n"
        "  print(*r.getrlimit(getattr(r, 'RLIMIT_' + name)))\n"
        "print(r.getrlimit(r.RLIMIT_NPROC)[1] > 0)"
    )
    output = short_box.run(program, [""]).runs[0].stdout.decode().split("\n")
    expected = [0, OPEN_FILES, SHORT.output_kb * 1024 + 1, (SHORT.memory_mb << 20) + ADDRESS_HEADROOM, 2]
    assert output[:5] == [f"{value} {value}" for value in expected]
    assert output[5] == "True"


def test_no_new_privileges_and_own_session(one: Callable[..., Run]) -> None:
    program = (
        "import os\nprint([l for l in open('/proc/self/status') if 'NoNewPrivs' in l],"
        " os.getsid(0) == os.getpgid(0) == os.getpid())"
    )
    assert one(program).stdout == b"['NoNewPrivs:\\t1\\n'] True\n"


def test_child_dies_with_its_server(one: Callable[..., Run]) -> None:
    get_death_signal = "ctypes.CDLL(None).prctl(2, ctypes.byref(value))"
    program = f"import ctypes\nvalue = ctypes.c_int()\n{get_death_signal}\nprint(value.value)"
    assert one(program).stdout == b"9\n"


def test_server_holds_no_torch_and_no_half_of_the_caller(one: Callable[..., Run]) -> None:
    program = "import sys\nprint([name for name in ('torch', 'numpy', 'subprocess') if name in sys.modules])"
    assert one(program).stdout == b"[]\n"
    assert one("import sys\nprint([p for p in sys.path if 'site-packages' in p or not p])").stdout == b"[]\n"


def test_no_run_finds_another_in_its_memory(one: Callable[..., Run]) -> None:
    secret = "zq" + "7" * 40
    assert one(f"x = input(); print(x == '{secret}')", secret).stdout == b"True\n"
    program = (
        "import re\nsecret, looked, found = re.compile(b'zq' + b'7{40}'), 0, 0\n"
        "for line in open('/proc/self/maps'):\n"
        "  if ' rw-p ' not in line: continue\n"
        "  start, end = (int(x, 16) for x in line.split()[0].split('-'))\n"
        "  with open('/proc/self/mem', 'rb') as memory:\n"
        "    memory.seek(start)\n"
        "    data = memory.read(end - start)\n"
        "    looked, found = looked + len(data), found + len(secret.findall(data))\n"
        "print(looked > 10**6, found)"
    )
    run = one(program)
    assert (run.stdout, run.stderr) == (b"True 0\n", "")
