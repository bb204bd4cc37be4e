"""A real, very small SFT run and PPO run that the command tests share."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import PPO, SFT, command

from reward.scan.analyser import Analyser
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


class Kept:
    """Makes sandboxes, or analysers, that outlive a command: the next one like it is handed the same."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make
        self._made: dict[str, Any] = {}

    def __call__(self, *arguments: Any, **settings: Any) -> contextlib.AbstractContextManager[Any]:
        key = repr((arguments, settings))
        if key not in self._made or self._made[key]._closed:  # a command that fails closes its sandbox
            self._made[key] = self.make(*arguments, **settings)
        return contextlib.nullcontext(self._made[key])

    def close(self) -> None:
        for made in self._made.values():
            made.close()


OF_PROCESSES = {
    "reward.scorer.Sandbox": Sandbox,
    "reward.scorer.Analyser": Analyser,
    "cli.prepare.Sandbox": Sandbox,
}


@pytest.fixture(scope="session")
def kept_processes() -> Iterator[dict[type, Kept]]:
    """The processes of the sandbox and of the scan."""
    with contextlib.ExitStack() as stack:
        kept = {kind: Kept(kind) for kind in (Sandbox, Analyser)}
        for one in kept.values():
            stack.callback(one.close)
        yield kept


@pytest.fixture(scope="module", autouse=True)
def shared_processes(kept_processes: dict[type, Kept]) -> Iterator[None]:
    """All commands in this process use them in turn: starting them takes longer than a small run.

    A test of what a command starts and ends asks for `own_processes`.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in OF_PROCESSES.items():
            patch.setattr(name, kept_processes[kind])
        yield


@pytest.fixture
def own_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """This test's commands start their own sandbox and scan, and end them."""
    for name, kind in OF_PROCESSES.items():
        monkeypatch.setattr(name, kind)


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
