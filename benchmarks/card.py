"""What a device is, and the two rates that bound it: memory copied and matrices multiplied, measured."""

import platform
import subprocess
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers


def describe(device: torch.device) -> dict[str, Any]:
    """Card, driver and versions, by name."""
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    if device.type != "cuda":
        return {"device": "CPU"} | found
    card = torch.cuda.get_device_properties(device)
    return {
        "device": card.name,
        "capability": f"{card.major}.{card.minor}",
        "card_gib": round(card.total_memory / 2**30, 1),
        "driver": _driver(),
        "cuda": torch.version.cuda,
    } | found


def cap_memory(gib: float | None) -> None:
    """Let torch take no more than so much of the card: what a smaller one would have."""
    if gib is not None:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gib * 2**30 / total))


def copy_rate(device: torch.device) -> float:
    """Bytes read and written per second, by copying what is far larger than any cache."""
    size = 2**30 if device.type == "cuda" else 2**27
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds_of(lambda: target.copy_(source), device)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating point operations per second in a product of large square matrices."""
    n = 8192 if device.type == "cuda" else 768
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return 2 * n**3 / seconds_of(lambda: a @ b, device)


def seconds_of(work: Callable[[], Any], device: torch.device, repeats: int = 10) -> float:
    """The mean of several in a row, after a first that warms up."""
    work()
    start = now(device)
    for _ in range(repeats):
        work()
    return (now(device) - start) / repeats


def now(device: torch.device) -> float:
    """The clock, once the device is done with what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _driver() -> str | None:
    """Its version; None where nvidia-smi is not there."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip().partition("\n")[0] or None
