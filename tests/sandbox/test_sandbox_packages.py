"""Packages that the caller allows: imported by programs as numpy is, in the second server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Limits, Sandbox, SandboxError, Status


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A package of two modules and a single module, both installed as far as the caller can tell."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "pairs" / "deep").mkdir(parents=True)
    (folder / "pairs" / "__init__.py").write_text("from pairs.deep import inner\nONE = 1\n")
    (folder / "pairs" / "deep" / "__init__.py").write_text("")
    (folder / "pairs" / "deep" / "inner.py").write_text("TWO = 2\n")
    (folder / "single.py").write_text("THREE = 3\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        with Sandbox(Limits(cpu_seconds=5), workers=1, packages=("pairs", "single")) as box:
            yield box


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        ("import pairs\nprint(pairs.ONE)", b"1\n"),
        ("from pairs.deep.inner import TWO\nprint(TWO)", b"2\n"),
        ("import pairs.deep.inner as p\nprint(p.TWO)", b"2\n"),
        ("import single, json, hashlib\nprint(single.THREE)", b"3\n"),
        ("print(__import__('single').THREE)", b"3\n"),
        ("print(1)", b"1\n"),
    ],
)
def test_programs_import_what_is_allowed(packaged: Sandbox, program: str, printed: bytes) -> None:
    (run,) = packaged.run(program, [""]).runs
    assert (run.status, run.stdout) == (Status.OK, printed), run.stderr


def test_without_the_setting_there_is_no_such_module(box: Sandbox) -> None:
    (run,) = box.run("import pairs", [""]).runs
    assert run.status is Status.CRASH and "ModuleNotFoundError" in run.stderr


@pytest.mark.parametrize("name", ["no_such_package", "no-name", "../single", "single, pairs", ""])
def test_what_is_not_installed_is_one_clear_line(name: str) -> None:
    with pytest.raises(SandboxError, match="packages: ") as error:
        Sandbox(workers=1, packages=(name,))
    assert "\n" not in str(error.value)


def test_numpy_needs_no_setting(box: Sandbox) -> None:
    pytest.importorskip("numpy")
    (run,) = box.run("import numpy\nprint(numpy.arange(3).sum())", [""]).runs
    assert run.stdout == b"3\n", run.stderr


def test_a_package_that_cannot_be_imported_is_a_fault_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with Sandbox(workers=1, packages=("broken",)) as box:
        assert box.run("print(1)", [""]).runs[0].status is Status.OK
        report = box.run("import broken", [""])
    assert report.runs[0].status is Status.FAULT and "no_such_module_anywhere" in (report.error or "")
