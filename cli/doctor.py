"""`train.py doctor`: what this machine has of what is needed, a line each, and what to do about the rest.

Packages are imported where they are looked at: the doctor works where they are missing.
"""

import argparse
import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = (3, 11)

# Below these nothing is refused: small models need less, full sets of problems more.
MEMORY_GIB = 4
DISK_GIB = 5


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    what: str
    ok: bool
    found: str
    do: str = ""
    """What to do; "" where there is nothing to do"""
    needed: bool = True
    """Whether nothing can be trained without it"""


def main(argv: list[str]) -> int:
    """Check and print; the exit status is 0 if all that is needed is there, else 2."""
    parser = argparse.ArgumentParser(prog="train.py doctor", description="Check this machine, one line each.")
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")
    as_json = parser.parse_args(argv).json
    checks = []
    for check in _CHECKS:
        for each in _tried(check):
            checks.append(each)
            if not as_json:
                print(line(each), flush=True)
    missing = [each.what for each in checks if each.needed and not each.ok]
    if as_json:
        print(json.dumps({"ok": not missing, "checks": [asdict(each) for each in checks]}, indent=2))
    if missing:
        print(f"error: missing or not usable here: {', '.join(missing)}", file=sys.stderr)
    return 2 if missing else 0


def line(check: Check) -> str:
    """`ok       torch         2.13.0`, and behind it what to do."""
    state = "ok" if check.ok else ("MISSING" if check.needed else "note")
    return f"{state:<8} {check.what:<12} {check.found}" + (f": {check.do}" if check.do else "")


def _tried(check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The lines of a check; one of its own where a package that it looks at is not there."""
    try:
        yield from check()
    except ImportError as error:
        name = check.__name__.removeprefix("check_")
        yield Check(name, False, f"cannot be checked ({error})", "install the packages above first")


def check_python() -> Iterator[Check]:
    """The version that the sources are written for."""
    wanted = ".".join(map(str, PYTHON))
    do = "" if sys.version_info >= PYTHON else f"use Python {wanted} or newer (make PYTHON=...)"
    yield Check("python", not do, platform.python_version(), do)


def check_packages() -> Iterator[Check]:
    """What requirements.txt names, in its ranges; one line for all that are as they should be."""
    from packaging.requirements import Requirement

    fit, install = [], "pip install -r requirements.txt -c constraints.txt (make does it)"
    for wanted in map(Requirement, _stated()):
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(wanted.name, False, "not installed", install)
            continue
        if wanted.specifier.contains(version, prereleases=True):
            fit.append(f"{wanted.name} {version}")
        else:
            yield Check(wanted.name, False, f"{version}, not {wanted.specifier}", install)
    yield Check("packages", True, ", ".join(fit))


def _stated() -> list[str]:
    """The lines of requirements.txt; where the project is installed, what it names under its extra."""
    path = ROOT / "requirements.txt"
    if path.is_file():
        lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
        return [line for line in lines if line]
    named = importlib.metadata.requires("coderl-ppo") or []
    return [line.partition(";")[0] for line in named if "train" in line.partition(";")[2]]


def check_gpu() -> Iterator[Check]:
    """The CUDA device, and whether this torch has kernels for it."""
    import torch

    from cli.machine import GIB, gpu
    from models.errors import ModelError
    from models.precision import check_kernels

    found = gpu()
    if found is None:
        built = torch.version.cuda
        why = f"torch for CUDA {built} sees none" if built else "torch is built for the CPU"
        do = "training runs on the CPU" + (
            "; on a machine with a GPU, check its driver (nvidia-smi)" * bool(built)
        )
        yield Check("gpu", False, why, do, needed=False)
        return
    capability = ".".join(map(str, found.capability))
    name = f"{found.name}, {found.memory / GIB:.1f} GiB, compute capability {capability}"
    try:
        check_kernels(found.capability, torch.cuda.get_arch_list())
    except ModelError as error:
        yield Check("gpu", False, name, str(error))
        return
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    yield Check("gpu", True, f"{name}, {'bfloat16' if native else 'float16 with loss scaling'}")


def check_sandbox() -> Iterator[Check]:
    """A sandbox that has passed its own test, and what it stands on."""
    from sandbox import Sandbox, SandboxError

    try:
        with Sandbox(workers=1) as box:
            tier = box.tier
    except SandboxError as error:
        yield Check("sandbox", False, str(error), "see docs/sandbox.md, platforms")
        return
    do = "" if tier == "full" else "this kernel lacks a layer behind the filter, see docs/sandbox.md"
    yield Check("sandbox", True, f"tier {tier}", do)


def check_bandit() -> Iterator[Check]:
    """Bandit in its process, on a program with a finding."""
    from reward import RewardError
    from reward.scan.analyser import Analyser

    try:
        with Analyser() as analyser:
            found = [finding.id for finding in analyser.scan(b"eval(input())\n").findings]
    except RewardError as error:
        yield Check("bandit", False, str(error), "pip install -r requirements.txt -c constraints.txt")
        return
    do = (
        ""
        if "B307" in found
        else "its answer to eval(input()) should be B307: install the version of constraints.txt"
    )
    yield Check("bandit", not do, f"{importlib.metadata.version('bandit')}, answers", do)


def check_machine() -> Iterator[Check]:
    """Processors, memory and disk as this process may use them, in a container too."""
    from cli.machine import GIB, cores, disk_free, memory

    yield Check("cores", True, f"{cores():g}")
    gib = memory() / GIB
    do = "" if gib >= MEMORY_GIB else "enough for the demo; train.py plan says what a preset takes"
    yield Check("memory", not do, f"{gib:.1f} GiB", do, needed=False)
    free = disk_free(ROOT / "runs") / GIB
    do = (
        ""
        if free >= DISK_GIB
        else "a checkpoint of a large model takes gigabytes: give --out on another disk"
    )
    yield Check("disk", not do, f"{free:.1f} GiB free for runs/", do, needed=False)


_CHECKS = (check_python, check_packages, check_gpu, check_sandbox, check_bandit, check_machine)
