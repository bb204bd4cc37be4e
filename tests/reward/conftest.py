"""Settings of the property tests, the shared scorer, and where the optional real data lie."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from kept_processes import OF_SCORERS, kept, own

# A property has the profile that is loaded when its file is read.
settings.register_profile("reward", settings.get_profile("repository"), max_examples=100)
settings.load_profile("reward")

REAL_DATA = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(scope="module", autouse=True)
def shared_processes(end_of_kept_processes: None) -> Iterator[None]:
    """All scorers use the same sandboxes and scans in turn; a test of those asks for `own_processes`."""
    with kept(OF_SCORERS):
        yield


@pytest.fixture
def own_processes() -> Iterator[None]:
    """This test's scorers start their own sandbox and scan, and end them."""
    with own(OF_SCORERS):
        yield


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
