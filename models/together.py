"""Several processes that train one model, as its training sees them. `ppo.parallel.World` is one of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from torch import nn

from models.errors import ModelError

A = TypeVar("A")

MAX_APART = 1e-3
"""Of the norm of the trained weights: what GPUs of different kinds may differ by after one sum."""


class Processes(Protocol):
    """What a training asks of the processes that share it. On one process it is as if it were not there."""

    rank: int
    """Which of them this is"""
    size: int
    """How many there are"""

    def each(self, work: Callable[[], A]) -> list[A]:
        """What `work` comes to on every rank, in their order; the error of one is raised on all."""

    def lead(self, work: Callable[[], A]) -> A:
        """What `work` comes to on the first rank, which alone does it."""

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum over all ranks in the place of each gradient."""


def check_same_weights(norms: Sequence[float]) -> None:
    """Raise ModelError where the trained weights of several processes, by their norms, are not the same.

    They take the same steps from the same gradients. Apart, they would train a model that none of them has.
    """
    if max(norms) - min(norms) > MAX_APART * max(norms):
        told = ", ".join(f"{norm:.6g}" for norm in norms)
        raise ModelError(
            f"the weights of the processes drifted apart (their norms are {told}): resume from a checkpoint"
        )
