"""A real, very small SFT run and PPO run that the command tests share."""

from pathlib import Path

import pytest
from small_runs import PPO, SFT, command


@pytest.fixture(scope="session")
def sft_run(tmp_path_factory) -> Path:
    """An SFT run; never written to."""
    out = tmp_path_factory.mktemp("runs") / "sft"
    assert command("sft", *SFT, "--out", out) == 0
    return out


@pytest.fixture(scope="session")
def ppo_run(sft_run) -> Path:
    """A PPO run on `sft_run`; never written to."""
    out = sft_run.parent / "ppo"
    assert command("ppo", "--sft", sft_run, "--out", out, *PPO) == 0
    return out
