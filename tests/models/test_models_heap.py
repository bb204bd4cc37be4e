"""Memory that was freed is kept, and goes back to the system where that does not serve."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from models import heap, quicken
from tests.architectures import small_model

MIB = 2**20
ROOT = Path(__file__).resolve().parents[2]


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def unseen(monkeypatch):
    """A heap that nobody has looked at."""
    monkeypatch.setattr(heap, "_largest", 0)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc")
def test_what_lies_between_living_tensors_goes_back(unseen, monkeypatch):
    """Before a block and after one in which the heap has grown; the tensors that live stay what they are."""
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
        monkeypatch.setattr(heap, "_largest", 0)  # other tests may have left room for these blocks
    assert resident() < kept - 80 * MIB
    assert [t[0].item() for t in living] == list(range(0, 1600, 40)) and len(pins) == 40


def test_what_serves_again_is_kept(unseen, monkeypatch):
    """Pages go back at the first look and when the heap has grown by a sixteenth since they did."""
    sizes = iter([100, 160, 160, 170, 90, 160, 171, 181])
    trimmed = []
    seen = []

    def info() -> SimpleNamespace:
        seen.append(next(sizes))
        return SimpleNamespace(arena=seen[-1])

    monkeypatch.setattr(heap, "_glibc", lambda: (lambda pad: trimmed.append(seen[-1]), info))
    for _ in range(4):
        with heap.trimmed_heap():
            pass
    assert len(seen) == 8 and trimmed == [100, 160, 171]


_AGAIN_AND_AGAIN = """
import resource

from models.heap import keep_freed


def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [bytearray(3 * 2**20) for _ in range(3)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


first, left_to_itself = new_pages(), new_pages()
keep_freed()
second, kept = new_pages(), new_pages()
print(left_to_itself, kept)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc")
def test_blocks_that_come_and_go_take_no_new_pages():
    """In a process of its own, where no larger block has been freed: there glibc gives them all back."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "LD_PRELOAD"))}
    command = [sys.executable, "-c", _AGAIN_AND_AGAIN]
    done = subprocess.run(command, env=plain, cwd=ROOT, check=True, capture_output=True, text=True)
    left_to_itself, kept = map(int, done.stdout.split())
    assert left_to_itself > 20 * 700 and kept < 100  # pages of 4 KiB: at least of a block, each time


def test_who_gets_a_network_ready_keeps_what_is_freed(monkeypatch):
    asked = []
    monkeypatch.setattr(quicken, "keep_freed", lambda: asked.append(True))
    quicken.quicken(small_model("llama"))
    assert asked


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc")
def test_the_heap_is_as_large_as_what_lives_in_it():
    """glibc's own figure, from a struct that is written down here."""
    _, info = heap._glibc()
    living = [torch.ones(16 * 1024) for _ in range(1600)]  # 100 MiB of 64 KiB each
    assert info().arena >= sum(t.nbytes for t in living) and info().arena < 2**44


def test_without_glibc_nothing_is_done(monkeypatch):
    """On macOS, and with musl."""
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    heap._glibc.cache_clear()
    try:
        heap.keep_freed()
        with heap.trimmed_heap():
            assert heap._glibc() is None
    finally:
        heap._glibc.cache_clear()
