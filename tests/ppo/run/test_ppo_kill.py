"""SIGKILL in the middle of sampling, stepping or saving: the resumed run is the uninterrupted one."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loop_helpers import ToyScorer, by_weights, run, sometimes_faulty, toy_config

import models.generation
import models.storage
from ppo.run.folder import numbered

CONFIG = toy_config(iterations=5, eval_every=2, keep_checkpoints=2, scale_rewards=True, kl_horizon=100)
LAST = "checkpoints/iteration-000005"

MOMENTS: dict[str, tuple[Any, str]] = {
    "rollout": (models.generation, "sample_tokens"),
    "update": (torch.optim.AdamW, "step"),
    "write": (models.storage, "save_file"),
    "flush": (models.storage, "_fsync"),
    "rename": (Path, "rename"),
    "prune": (shutil, "rmtree"),
    "best": (Path, "symlink_to"),
}
"""What the process is about to do when it dies, and the function that does it."""


def train_until_killed(folder: Path, sft: Path, owner: Any, name: str, countdown: int) -> None:
    """In a process of its own: go on with the run, to be killed at a later call of a function."""
    torch.set_num_threads(1)  # the pool of threads does not survive a fork
    original: Callable[..., Any] = getattr(owner, name)
    left = countdown

    def mortal(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, mortal)
    go_on(folder, sft)


def go_on(folder: Path, sft: Path) -> None:
    run(folder, sft, CONFIG, ToyScorer(sometimes_faulty), evaluator=by_weights, resume=True)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, letters_sft: Path) -> Path:
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("straight")
    go_on(folder, letters_sft)
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed_equals_straight_through(tmp_path, letters_sft, straight, moment):
    """Each process dies at such a moment, later and later in its life, until one gets to the end.

    Equal to the byte: weights, optimizer, metrics and samples; equal: checkpoints kept and `best`.
    """
    killed = 0
    for countdown in (0, 3, 9, 10**9):
        arguments = (tmp_path, letters_sft, *MOMENTS[moment], countdown)
        process = multiprocessing.get_context("fork").Process(target=train_until_killed, args=arguments)
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        if process.exitcode == 0:
            break
        killed += 1
    assert process.exitcode == 0
    assert killed >= 2
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (tmp_path / name).read_bytes() == (straight / name).read_bytes(), name
    for name in ("adapter_model", "value_head", "state"):
        ours, theirs = (folder / LAST / f"{name}.safetensors" for folder in (tmp_path, straight))
        assert ours.read_bytes() == theirs.read_bytes(), name
    kept = [[p.name for p in numbered(folder / "checkpoints")] for folder in (tmp_path, straight)]
    assert kept[0] == kept[1]
    assert (tmp_path / "checkpoints/best").readlink() == (straight / "checkpoints/best").readlink()
    assert not list((tmp_path / "checkpoints").glob("*.partial"))
