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


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_what_lies_between_living_tensors_goes_back():
    """Before a block and after it; the tensors that live stay what they are."""
    blocks = [torch.full((16 * 1024,), float(i)) for i in range(1600)]  # 100 MiB of 64 KiB each
    living = blocks[::40]
    del blocks
    kept = resident()
    with heap.trimmed_heap():
        assert resident() < kept - 80 * MIB
        blocks = [torch.ones(16 * 1024) for _ in range(1600)]
        pins = blocks[::40]
        del blocks
        kept = resident()
    assert resident() < kept - 80 * MIB
    assert [t[0].item() for t in living] == list(range(0, 1600, 40)) and len(pins) == 40


def test_without_glibc_nothing_is_done(monkeypatch):
    """On macOS, and with musl."""
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    heap._malloc_trim.cache_clear()
    try:
        with heap.trimmed_heap():
            assert heap._malloc_trim() is None
    finally:
        heap._malloc_trim.cache_clear()
