"""A real, very small SFT run and PPO run that the command tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kept_processes import OF_SCORERS, fixtures
from small_runs import PPO, SFT, command

from sandbox import Sandbox


@pytest.fixture(autouse=True)
def no_report(request: pytest.FixtureRequest) -> Iterator[None]:
    """Without the report, whose curves take longer to draw than a small run to train; `ppo_run` has one.

    A test that looks at the report of its own run asks for `drawn`.
    """
    with pytest.MonkeyPatch.context() as patch:
        if "drawn" not in request.fixturenames:
            patch.setattr("cli.ppo.write_report", lambda path, runs: path.write_text("not drawn\n"))
        yield


@pytest.fixture
def drawn() -> None:
    """This test's runs have their report."""


shared_processes, own_processes = fixtures({**OF_SCORERS, "cli.prepare.Sandbox": Sandbox})


@pytest.fixture(scope="session")
def sft_run(tmp_path_factory) -> Path:
    """An SFT run; never written to."""
    out = tmp_path_factory.mktemp("runs") / "sft"
    assert command("sft", *SFT, "--out", out) == 0
    return out


@pytest.fixture(scope="session")
def ppo_run(sft_run: Path) -> Path:
    """A PPO run on `sft_run`; never written to."""
    out = sft_run.parent / "ppo"
    assert command("ppo", "--sft", sft_run, "--out", out, *PPO) == 0
    return out
