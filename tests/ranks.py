"""Several processes that train together, forked from the test; on a GPU, started anew."""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import ppo.parallel
from models.errors import ModelError
from ppo.errors import TrainingError
from ppo.parallel import World, joined


def ranks(
    size: int,
    folder: Path,
    function: Callable[..., None],
    *arguments: Any,
    before: Sequence[Callable[[], None]] = (),
    cuda: bool = False,
) -> list[int]:
    """Run `function(world, folder, *arguments)` on so many ranks; their exit statuses.

    "unsaid: " is before what a rank leaves to another to say.

    `before`: what each does first. The line that a rank ends with, where it ends with an error, is in
    `folder`/rank-N.txt. `cuda`: each with a GPU, for which what it is given has to be picklable.
    """
    folder.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn" if cuda else "fork")  # CUDA does not live through a fork
    processes = [
        context.Process(target=_rank, args=(rank, size, port, folder, function, arguments, before, cuda))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode or 0 for process in processes]


def _rank(
    rank: int,
    size: int,
    port: int,
    folder: Path,
    function: Callable[..., None],
    arguments: tuple[Any, ...],
    before: Sequence[Callable[[], None]],
    cuda: bool,
) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if cuda and torch.cuda.device_count() < size:
        _share_a_card(rank)
    if before:
        before[rank]()
    sys.stderr = (folder / f"rank-{rank}.txt").open("w")
    worlds: list[World] = []
    try:
        with joined(cuda=cuda, advice="go on") as world:
            worlds.append(world)
            function(world, folder, *arguments)
    except (ModelError, TrainingError) as error:
        sys.stderr.write("unsaid: " if worlds[0].said_by_another() else "")
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    finally:
        sys.stderr.flush()


def _share_a_card(rank: int) -> None:
    """As if each were on a host of its own: NCCL, like the project, takes one rank of a host for a GPU. What
    they exchange goes through sockets."""
    os.environ |= {"NCCL_HOSTID": str(rank), "NCCL_SOCKET_IFNAME": "lo", "NCCL_IB_DISABLE": "1"}
    ppo.parallel._check_gpus = lambda places: None  # type: ignore[assignment]


def said(folder: Path, rank: int) -> str:
    """What a rank ended with."""
    return (folder / f"rank-{rank}.txt").read_text()
