"""Shared boxes: a server takes a tenth of a second to start."""

from collections.abc import Callable, Iterator

import pytest
from sandbox_helpers import SHORT, SMALL

from sandbox import Limits, Run, Sandbox, SandboxError


@pytest.fixture(scope="session")
def box() -> Iterator[Sandbox]:
    """One server; generous limits, so that a loaded machine changes nothing."""
    with Sandbox(Limits(cpu_seconds=5, wall_seconds=30), workers=1) as box:
        yield box


@pytest.fixture(scope="session")
def small_box() -> Iterator[Sandbox]:
    with Sandbox(SMALL, workers=1) as box:
        yield box


@pytest.fixture(scope="session")
def short_box() -> Iterator[Sandbox]:
    """For programs that are to run out of time."""
    with Sandbox(SHORT, workers=1) as box:
        yield box


@pytest.fixture(scope="session", params=["base", "full"])
def tier(request: pytest.FixtureRequest) -> str:
    """Each tier; a machine that has no tier "full" skips it."""
    name: str = request.param
    try:
        Sandbox(SMALL, workers=1, isolation=name).close()
    except SandboxError as error:
        if name == "base":
            raise
        pytest.skip(str(error))
    return name


@pytest.fixture(scope="session")
def tier_box(tier: str) -> Iterator[Sandbox]:
    """One server on each tier."""
    with Sandbox(SMALL, workers=1, isolation=tier) as box:
        yield box


@pytest.fixture(scope="session")
def short_tier_box(tier: str) -> Iterator[Sandbox]:
    """For programs that are to run out of time."""
    with Sandbox(SHORT, workers=1, isolation=tier) as box:
        yield box


@pytest.fixture
def one(box: Sandbox) -> Callable[..., Run]:
    """Run a program on one input; it must compile."""

    def run(program: str | bytes, stdin: str | bytes = "") -> Run:
        report = box.run(program, [stdin])
        assert report.compiles, report.error
        return report.runs[0]

    return run
