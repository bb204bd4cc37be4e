"""SIGKILL at a chosen moment, for tests of what goes on afterwards. Runs in a process of its own."""

import os
import signal
from collections.abc import Callable
from typing import Any

import torch


def die_at(owner: Any, name: str, countdown: int) -> None:
    """Kill this process when `owner.name` is called once more than `countdown` times."""
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
