"""Which layers are asked for, what happens where they are refused; nothing weaker comes in silence."""

import logging
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import Sandbox, SandboxError, Status, selftest, tiers
from sandbox.kernel import landlock
from sandbox.worker import Worker

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "wrong",
    [{"workers": 0}, {"workers": -1}, {"isolation": "strong"}, {"isolation": "full", "unsafe": True}],
)
def test_a_sandbox_that_cannot_be_as_asked_does_not_start(wrong: dict[str, object]) -> None:
    with pytest.raises(SandboxError) as error:
        Sandbox(**wrong)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_other_platforms_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="Linux"):
        Sandbox()


def test_another_architecture_is_refused_unless_the_caller_insists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    for isolation in tiers.ISOLATIONS:
        with pytest.raises(SandboxError, match=r"x86_64.*aarch64.*unsafe=True"):
            Sandbox(isolation=isolation)
    assert list(tiers.candidates("auto", unsafe=True)) == [tiers.UNSAFE]


def test_full_needs_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    with pytest.raises(SandboxError, match="Landlock"):
        Sandbox(isolation="full")
    assert [tiers.name(layers) for layers in tiers.candidates("auto", False)] == ["base+namespaces", "base"]


def test_every_set_of_layers_has_its_name() -> None:
    sets = [{"seccomp", "landlock", "namespaces"}, {"seccomp", "landlock"}, {"seccomp"}, {"none"}]
    assert [tiers.name(frozenset(layers)) for layers in sets] == ["full", "base+landlock", "base", "unsafe"]


def test_the_tier_is_in_every_report(tier_box: Sandbox) -> None:
    assert tier_box.tier in ("base", "full")
    for program in ("print(1)", "x =", "#" * 100_000):
        assert tier_box.run(program, [""]).tier == tier_box.tier


def test_unsafe_is_logged_once_and_stamped(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Sandbox(workers=2, unsafe=True) as box:
        report = box.run("import os\nprint(os.path.exists('/'))", ["", ""])
    assert (report.tier, report.runs[0].stdout) == ("unsafe", b"True\n")
    assert [record.message for record in caplog.records if "without system call filter" in record.message]
    assert len(caplog.records) == 1


REFUSED = """
import ctypes, logging, os, sys
logging.basicConfig(format="%(message)s")
uid = os.getuid()
assert ctypes.CDLL(None).unshare(0x10000000) == 0
open("/proc/self/uid_map", "w").write(f"0 {uid} 1")
open("/proc/sys/user/max_user_namespaces", "w").write("0")
from sandbox import Sandbox, SandboxError
with Sandbox(workers=2) as box:
    print(box.tier, box.run("print(1)", [""]).runs[0].status.name)
try:
    Sandbox(isolation="full")
except SandboxError as error:
    print(error)
"""


def test_where_namespaces_are_refused_auto_says_so_and_full_does_not_start() -> None:
    done = subprocess.run([sys.executable, "-c", REFUSED], cwd=ROOT, capture_output=True, text=True)
    if "AssertionError" in done.stderr:
        pytest.skip("this machine allows no user namespace to try this in")
    weaker, refused = done.stdout.splitlines()
    assert weaker == ("base+landlock OK" if landlock.abi() else "base OK")
    assert "tier base" in done.stderr and "for lack of a stronger one (full: namespaces: " in done.stderr
    assert refused.startswith("the kernel refuses the sandbox: full: namespaces: ")


def test_the_self_test_finds_the_holes_of_a_server_without_filter() -> None:
    worker = Worker(tiers.UNSAFE)
    worker.start()
    try:
        worker.wait_ready()
        with pytest.raises(SandboxError, match=r"refuses to serve.*reach a file"):
            selftest.check(worker)
        for probe in selftest.PROBES:
            if probe.status is Status.DENIED:  # each of them alone would have been noticed
                with pytest.raises(SandboxError, match=probe.what):
                    selftest.check(worker, [probe])
    finally:
        worker.close()


def test_a_sandbox_whose_self_test_fails_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    hole = selftest.Probe("open a hole", "print('through')", Status.DENIED)
    monkeypatch.setattr(selftest, "PROBES", (*selftest.PROBES, hole))
    with pytest.raises(SandboxError, match="open a hole"):
        Sandbox(workers=1)
