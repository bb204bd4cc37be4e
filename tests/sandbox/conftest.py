"""Shared boxes: a server takes a tenth of a second to start."""

from collections.abc import Callable, Iterator

import pytest
from sandbox_helpers import SHORT

from sandbox import Limits, Run, Sandbox, SandboxError


@pytest.fixture(scope="session")
def box() -> Iterator[Sandbox]:
    """One server; generous limits, so that a loaded machine changes nothing."""
    with Sandbox(Limits(cpu_seconds=5, wall_seconds=30), workers=1) as box:
        yield box


@pytest.fixture(scope="session")
def short_box() -> Iterator[Sandbox]:
    with Sandbox(SHORT, workers=1) as box:
        yield box


@pytest.fixture(scope="session", params=["base", "full"])
def tier_box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """One server on each tier; a machine that has no tier "full" skips."""
    try:
        box = Sandbox(SHORT, workers=1, isolation=request.param)
    except SandboxError as error:
        if request.param == "base":
            raise
        pytest.skip(str(error))
    with box:
        yield box


@pytest.fixture
def one(box: Sandbox) -> Callable[..., Run]:
    """Run a program on one input; it must compile."""

    def run(program: str | bytes, stdin: str | bytes = "") -> Run:
        report = box.run(program, [stdin])
        assert report.compiles, report.error
        return report.runs[0]

    return run
