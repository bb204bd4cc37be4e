"""Training by several processes, as torchrun starts them: what the command line has to see to."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cli.errors import UsageError, leave_the_word
from entry import ROOMS
from models.checkpoints import library_versions
from models.precision import DeviceConfig
from ppo.parallel import World, joined, processes
from reward import ScoringConfig

_ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def together(advice: str, compute: DeviceConfig, settings: Mapping[str, Any]) -> Iterator[World]:
    """The processes that were started together; the only one, where there is one.

    `advice`: what to do after one was lost. `settings`: those of the command, as plain values.

    Raises:
        TrainingError: they cannot meet. UsageError: they run other code, or under other settings.
    """
    on_gpu = compute.device != "cpu" and torch.cuda.is_available()
    with joined(cuda=on_gpu, advice=advice) as world:
        if world.peers is not None:
            leave_the_word(world.said_by_another)
            check_same(world, {**settings, "code": _code_hash(), **library_versions()})
        yield world


def leads() -> bool:
    """Whether this is the process that speaks, before they have met."""
    return int(os.environ.get("RANK", "0")) == 0


def check_one_process(command: str) -> None:
    """Raise UsageError where torchrun has started several processes of a command that is for one."""
    if processes() > 1:
        raise UsageError(
            f"{command} runs on one process, and torchrun started {processes()}: leave torchrun out"
        )


def sandbox_options(scoring: ScoringConfig, world: World) -> dict[str, Any]:
    """How a `Scorer` runs programs: several processes on one machine share its cores."""
    return vars(scoring) | ({} if world.size == 1 else {"workers": world.cores})


def check_shares(world: World, **counts: int) -> None:
    """Raise UsageError where something, by the name of its setting, cannot be dealt out evenly."""
    for name, count in counts.items():
        if count % world.size:
            raise UsageError(
                f"{world.size} processes do not divide {name} {count}: give a multiple of {world.size}, "
                "or start another number (--nproc-per-node)"
            )


def check_same(world: World, described: Mapping[str, Any]) -> None:
    """Raise UsageError, on all ranks, where they are not described alike."""
    described = json.loads(json.dumps(described, default=str))
    everyone = world.each(lambda: described)
    for rank, theirs in enumerate(everyone):
        for key in sorted({*theirs, *everyone[0]}):
            first, other = everyone[0].get(key), theirs.get(key)
            if first != other:
                world.settled = True
                raise UsageError(
                    f"the processes differ in {key}: rank 0 has {_short(first)}, rank {rank} has "
                    f"{_short(other)}; start them all with the same command, code and data"
                )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _code_hash() -> str:
    """sha256 of the project's own Python files."""
    digest = hashlib.sha256()
    for path in (file for room in ROOMS for file in sorted((_ROOT / room).rglob("*.py"))):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(_ROOT)}:{len(content)}:".encode() + content)
    return digest.hexdigest()
