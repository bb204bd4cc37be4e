"""`train.py doctor`: a line for each thing, status 2 where something needed is not there, and what to do."""

import builtins
import importlib.metadata
import json
import sys

import pytest
import torch

import sandbox
import train
from cli import doctor, machine
from cli.doctor import Check
from sandbox import SandboxError

GIB = 1 << 30


def lines(check) -> dict[str, Check]:
    return {each.what: each for each in doctor._tried(check)}


def test_this_machine_is_well(capsys):
    """All that is needed is where the tests run; as JSON it is the same."""
    assert train.main(["doctor"]) == 0
    said = capsys.readouterr()
    shown = [line.split()[1] for line in said.out.splitlines()]
    assert shown == ["python", "packages", "gpu", "sandbox", "bandit", "cores", "memory", "disk"]
    assert "MISSING" not in said.out and said.err == ""
    assert f"torch {torch.__version__}" in said.out and "tier " in said.out


def test_what_is_needed_and_missing_ends_in_status_2(capsys, monkeypatch):
    """And the last line names it; a note does not count."""
    bad = Check("peft", False, "not installed", "install it")
    note = Check("disk", False, "1 GiB", "tidy up", needed=False)
    monkeypatch.setattr(doctor, "_CHECKS", (lambda: iter([bad, note]),))
    assert train.main(["doctor"]) == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "MISSING  peft         not installed: install it",
        "note     disk         1 GiB: tidy up",
    ]
    assert said.err == "error: missing or not usable here: peft\n"
    assert train.main(["doctor", "--json"]) == 2
    printed = json.loads(capsys.readouterr().out)
    assert printed["ok"] is False and printed["checks"][0]["do"] == "install it"


@pytest.mark.parametrize(
    ("version", "told"),
    [("4.57.6", "4.57.6, not <6,>=5.1"), ("6.0.0", "6.0.0, not"), (None, "not installed")],
)
def test_packages_out_of_their_range_are_named(monkeypatch, version, told):
    real = importlib.metadata.version

    def found(name: str) -> str:
        if name != "transformers":
            return real(name)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", found)
    found_lines = lines(doctor.check_packages)
    assert not found_lines["transformers"].ok and told in found_lines["transformers"].found
    assert "pip install -r requirements.txt" in found_lines["transformers"].do
    assert "peft" in found_lines["packages"].found and "transformers" not in found_lines["packages"].found


def test_a_package_that_a_check_needs_is_no_traceback(monkeypatch):
    real = builtins.__import__

    def refused(name, *args, **kwargs):
        if name.split(".")[0] == "packaging":
            raise ImportError("No module named 'packaging'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refused)
    found = lines(doctor.check_packages)["packages"]
    assert not found.ok and "packaging" in found.found


def test_a_gpu_without_kernels_is_told_with_the_way_out(monkeypatch):
    """A V100 under a torch without Volta, the same under one with it, and no GPU at all."""
    monkeypatch.setattr(machine, "gpu", lambda: machine.Gpu("Tesla V100", 16 * GIB, (7, 0)))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "compute_90"])
    found = lines(doctor.check_gpu)["gpu"]
    assert not found.ok and found.needed and "constraints-v100.txt" in found.do
    assert found.found == "Tesla V100, 16.0 GiB, compute capability 7.0"
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_70", "sm_80"])
    found = lines(doctor.check_gpu)["gpu"]
    assert found.ok and found.found.endswith("float16 with loss scaling")
    monkeypatch.setattr(machine, "gpu", lambda: None)
    found = lines(doctor.check_gpu)["gpu"]
    assert not found.ok and not found.needed and "runs on the CPU" in found.do


def test_a_sandbox_that_cannot_serve(monkeypatch):
    def none(**kwargs):
        raise SandboxError("the sandbox needs Linux (or WSL2): run this in a container")

    monkeypatch.setattr(sandbox, "Sandbox", none)
    found = lines(doctor.check_sandbox)["sandbox"]
    assert not found.ok and found.needed and "run this in a container" in found.found


def test_little_memory_and_disk_are_notes(monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: 2 * GIB)
    monkeypatch.setattr(machine, "disk_free", lambda path: GIB)
    found = lines(doctor.check_machine)
    assert not found["memory"].ok and not found["memory"].needed
    assert not found["disk"].ok and "--out" in found["disk"].do


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    assert "3.11 or newer" in lines(doctor.check_python)["python"].do
