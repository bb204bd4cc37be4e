"""The shared scorer, and where the optional real data lie."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kept_processes import OF_SCORERS, fixtures

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data"


shared_processes, own_processes = fixtures(OF_SCORERS)


@pytest.fixture(scope="session")
def scorer() -> Iterator:
    """A scorer on the real sandbox, shared because starting one costs more than most tests."""
    from reward import Scorer
    from sandbox import Limits

    with Scorer(limits=Limits(cpu_seconds=1.0)) as scorer:
        yield scorer


@pytest.fixture(scope="session")
def codecontests() -> Path:
    path = REAL_DATA / "codecontests.jsonl"
    if not path.exists():
        pytest.skip("the CodeContests sample is not here")
    return path
