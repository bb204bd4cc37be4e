"""Memory that was freed goes back to the system."""

import ctypes
import os
from pathlib import Path

import pytest
import torch

from models import heap

MIB = 2**20


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def unseen(monkeypatch):
    """A heap that nobody has looked at."""
    monkeypatch.setattr(heap, "_largest", 0)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc")
def test_what_lies_between_living_tensors_goes_back(unseen):
    """Before a block and after one in which the heap has grown; the tensors that live stay what they are."""
    blocks = [torch.full((16 * 1024,), float(i)) for i in range(1600)]  # 100 MiB of 64 KiB each
    living = blocks[::40]
    del blocks
    kept = resident()
    with heap.trimmed_heap():
        assert resident() < kept - 80 * MIB
        blocks = [torch.ones(16 * 1024) for _ in range(3200)]
        pins = blocks[::40]
        del blocks
        kept = resident()
    assert resident() < kept - 80 * MIB
    assert [t[0].item() for t in living] == list(range(0, 1600, 40)) and len(pins) == 80


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc")
def test_what_serves_again_is_kept(unseen):
    """Blocks of the same sizes, again and again: the first time the heap grows for them, and no more."""
    pins = []
    for turn in range(4):
        with heap.trimmed_heap():
            blocks = [torch.ones(16 * 1024) for _ in range(1600)]
            pins += [torch.ones(4)]  # something stays
            at_most = resident()
            del blocks
        kept = resident()
        if turn:
            assert kept > at_most - 40 * MIB
    assert len(pins) == 4


def test_without_glibc_nothing_is_done(monkeypatch):
    """On macOS, and with musl."""
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    heap._glibc.cache_clear()
    try:
        with heap.trimmed_heap():
            assert heap._glibc() is None
    finally:
        heap._glibc.cache_clear()
