"""Three machines, as network namespaces on one bridge: they meet, train, and hear of one that is cut off."""

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from loop_helpers import ToyScorer, run, toy_config
from ranks import ranks, said

from models.storage import load_tensors
from ppo.parallel import ALONE, World

NEW_NETWORK = 0x40000000
LAST = "checkpoints/iteration-000002/adapter_model.safetensors"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Names of three network namespaces, with the addresses 10.77.0.1 to 3."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    names = [f"coderl-{os.getpid()}-{number}" for number in range(4)]
    hub, *machines = names
    try:
        for name in names:
            ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    try:
        ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", hub, "link", "set", "bridge", "up")
        for number, name in enumerate(machines, 1):
            ip(
                "-n",
                name,
                "link",
                "add",
                "eth0",
                "type",
                "veth",
                "peer",
                "name",
                f"port{number}",
                "netns",
                hub,
            )
            ip("-n", hub, "link", "set", f"port{number}", "master", "bridge", "up")
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield machines
    finally:
        for name in names:
            ip("netns", "delete", name)


def move_to(host: str) -> None:
    """Put this process into a network namespace."""
    with open(f"/run/netns/{host}", "rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "setns")
    os.environ |= {"MASTER_ADDR": "10.77.0.1", "GLOO_SOCKET_IFNAME": "eth0"}


CONFIG = toy_config(iterations=2, prompts_per_iteration=12, minibatch_size=6)


def train(world: World, folder: Path, sft: Path) -> None:
    run(folder / "run", sft, CONFIG, ToyScorer(world=world), world=world)


@pytest.mark.slow
def test_three_machines_train_as_one_process_does(tmp_path, letters_sft, hosts):
    moves = [lambda host=host: move_to(host) for host in hosts]
    assert ranks(3, tmp_path, train, letters_sft, before=moves) == [0, 0, 0]
    (tmp_path / "alone").mkdir()
    train(ALONE, tmp_path / "alone", letters_sft)
    ours, theirs = (load_tensors(folder / "run" / LAST) for folder in (tmp_path, tmp_path / "alone"))
    for key, weight in theirs.items():
        torch.testing.assert_close(ours[key], weight, rtol=0, atol=1e-5)


def wait_for_ever(world: World, folder: Path, host: str) -> None:
    world.each(lambda: None)
    if world.rank == 2:
        ip("-n", host, "link", "set", "eth0", "down")
        time.sleep(100)
    world.each(lambda: None)


@pytest.mark.slow
def test_a_machine_that_is_cut_off_ends_the_run_within_a_minute(tmp_path, hosts):
    """Nothing is closed and nothing arrives: the kernel finds out. Both sides say whom they lost."""
    start = time.monotonic()
    moves = [lambda host=host: move_to(host) for host in hosts]
    assert ranks(3, tmp_path, wait_for_ever, hosts[2], before=moves) == [2, 2, 2]
    assert time.monotonic() - start < 60
    for rank, lost in ((0, 2), (1, 2), (2, 0)):
        assert f"rank {lost} (process" in said(tmp_path, rank) and "was lost" in said(tmp_path, rank)
