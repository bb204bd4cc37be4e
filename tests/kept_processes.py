"""Sandboxes and scans that outlive their scorer: to start them takes longer than most tests."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reward.scan.analyser import Analyser
from sandbox import Sandbox

OF_SCORERS = {"reward.scorer.Sandbox": Sandbox, "reward.scorer.Analyser": Analyser}
"""Where a class is looked up by whoever starts its processes."""


class Kept:
    """Makes sandboxes, or analysers, and hands the same one to all who ask for one like it."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make
        self._made: dict[str, Any] = {}

    def __call__(self, *arguments: Any, **settings: Any) -> contextlib.AbstractContextManager[Any]:
        key = repr((os.getpid(), arguments, settings))  # a fork can use none of its parent's
        if (
            key not in self._made or self._made[key]._closed
        ):  # an error in a scorer's block closes its sandbox
            self._made[key] = self._make(*arguments, **settings)
        return contextlib.nullcontext(self._made[key])

    def close(self) -> None:
        for made in self._made.values():
            made.close()


KEPT = {kind: Kept(kind) for kind in (Sandbox, Analyser)}


@contextlib.contextmanager
def kept(names: dict[str, type]) -> Iterator[None]:
    """Within the block what these names start is kept."""
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in names.items():
            patch.setattr(name, KEPT[kind])
        yield


def fixtures(names: dict[str, type]) -> tuple[Any, Any]:
    """`shared_processes`: all tests of a room use the same in turn. `own_processes`, for a test of what is
    started and ended.
    """

    @pytest.fixture(scope="module", autouse=True)
    def shared_processes(end_of_kept_processes: None) -> Iterator[None]:
        with kept(names):
            yield

    @pytest.fixture
    def own_processes() -> Iterator[None]:
        with own(names):
            yield

    return shared_processes, own_processes


@contextlib.contextmanager
def own(names: dict[str, type]) -> Iterator[None]:
    """Within the block, inside such a one, it is not."""
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in names.items():
            patch.setattr(name, kind)
        yield
