"""SIGKILL in the middle of sampling, stepping or saving: the resumed run is the uninterrupted one."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import die_at
from loop_helpers import ToyScorer, by_weights, run, sometimes_faulty, toy_config

import models.generation
import models.storage
from models.checkpoints import seal
from ppo.run.folder import FORMAT, newest_whole, numbered, tidy

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
QUICK = {"update", "write", "rename"}


def train_until_killed(folder: Path, sft: Path, owner: Any, name: str, countdown: int) -> None:
    """In a process of its own: go on with the run, to be killed at a later call of a function."""
    die_at(owner, name, countdown)
    go_on(folder, sft)


def go_on(folder: Path, sft: Path) -> None:
    run(folder, sft, CONFIG, ToyScorer(sometimes_faulty), evaluator=by_weights, resume=True)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, letters_sft: Path) -> Path:
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("straight")
    go_on(folder, letters_sft)
    return folder


@pytest.mark.parametrize(
    "moment", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in MOMENTS]
)
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
    for name in ("metrics.jsonl", "samples.jsonl", "tokens.jsonl"):
        assert (tmp_path / name).read_bytes() == (straight / name).read_bytes(), name
    for name in ("adapter_model", "value_head", "state"):
        ours, theirs = (folder / LAST / f"{name}.safetensors" for folder in (tmp_path, straight))
        assert ours.read_bytes() == theirs.read_bytes(), name
    kept = [[p.name for p in numbered(folder / "checkpoints")] for folder in (tmp_path, straight)]
    assert kept[0] == kept[1]
    assert (tmp_path / "checkpoints/best").readlink() == (straight / "checkpoints/best").readlink()
    assert not list((tmp_path / "checkpoints").glob("*.partial"))


CALLS = [(os, name) for name in ("rename", "replace", "mkdir", "unlink", "rmdir", "symlink")]
CALLS += [(models.storage, name) for name in ("_exchange", "_fsync")]
"""Every way in which saving changes names on disk."""


def save(folder: Path, iteration: int, content: str) -> None:
    """A small checkpoint, written as `save_checkpoint` writes a large one; it becomes `best`."""
    with models.storage.atomic_folder(folder / f"iteration-{iteration:06d}") as partial:
        for name in ("one", "two", "three"):
            (partial / name).write_text(content)
        (partial / "state.json").write_text(json.dumps({"format": FORMAT, "content": content}))
        seal(partial)
    tidy(folder, iteration, keep=1)


def no_exchange(*names: Path) -> None:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def save_until_killed(folder: Path, iteration: int, content: str, countdown: int) -> None:
    """In a process of its own: save, to be killed before the call number `countdown` that changes a name."""
    left = countdown

    def mortal(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    for owner, name in CALLS:
        setattr(owner, name, mortal(getattr(owner, name)))
    save(folder, iteration, content)


@pytest.mark.parametrize(
    ("iteration", "exchange"),
    [
        pytest.param(7, True, id="the only one is replaced-exchange"),
        pytest.param(7, False, id="the only one is replaced-two renames", marks=pytest.mark.slow),
        pytest.param(8, True, id="the next one is written-exchange", marks=pytest.mark.slow),
        pytest.param(8, False, id="the next one is written-two renames"),
    ],
)
def test_killed_between_any_two_calls_a_whole_checkpoint_is_left(tmp_path, monkeypatch, iteration, exchange):
    """The old one or the new one, for who resumes and for who only reads; and then saving works again."""
    if not exchange:
        monkeypatch.setattr(models.storage, "_exchange", no_exchange)
    for countdown in range(1000):
        run = tmp_path / str(countdown)
        folder = run / "checkpoints"
        save(folder, 7, "old")
        arguments = (folder, iteration, "new", countdown)
        process = multiprocessing.get_context("fork").Process(target=save_until_killed, args=arguments)
        process.start()
        process.join()
        assert numbered(folder), "a reader finds nothing"
        whole, damaged = newest_whole(run)
        assert whole is not None and not damaged
        assert whole.state["content"] in ("old", "new")
        assert {path.read_text() for path in whole.path.glob("[ot]*")} == {whole.state["content"]}
        best = folder / "best"
        assert best.is_dir() and (best / "state.json").is_file()
        save(folder, 9, "later")
        assert sorted(path.name for path in folder.iterdir()) == ["best", "iteration-000009"]
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert process.exitcode == 0 and countdown > 10
