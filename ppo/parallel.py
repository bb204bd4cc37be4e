"""What torchrun changes: several processes train one model. On one process nothing here does anything.

Every process, a rank, holds the whole model and samples, scores and reads its share of the responses, all
samples of a problem on one rank. What they found is gathered, in the order of the rows, so from there on
every rank has the whole rollout and calculates the same: rewards, advantages, whitening, baselines, schedules
and each decision to stop or skip. Of every minibatch a rank takes its share again; the gradients are summed
before the optimizer's step, which then is the same everywhere.

    each            the meeting: what a piece of work came to on every rank, or the error of one, on all
    sum_gradients   one all-reduce of one flat vector

torch.distributed is the engine: Gloo for what is gathered, NCCL (Gloo on CPUs) for gradients. Who was lost is
heard at once through ppo/peers.py: a collective alone would only wait.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.errors import out_of_memory
from ppo.errors import TrainingError
from ppo.peers import Peers, Place, connect

A = TypeVar("A")
B = TypeVar("B")

PATIENCE = 1800.0
"""Seconds that ranks wait for one that lives and does not come: to score programs takes its time."""
MEET_SECONDS = 300.0
"""For all ranks to be there, with the same packages from the same slow disk."""
HEARD_WITHIN = 20.0
"""Seconds in which it is known who was lost, once a connection is broken."""

ALIKE_WITHIN = 1.0
"""Seconds between ranks that fail in the same way."""


class PeerError(TrainingError):
    """Another rank failed, or was lost."""


class _Result(NamedTuple):
    """What a piece of work came to on one rank."""

    value: Any
    error: str | None = None
    memory: bool = False
    """Whether the error is that memory ran out; it has a remedy of its own."""


@dataclass(eq=False)
class World:
    """The processes that train together, as one of them sees them. By default it is the only one."""

    rank: int = 0
    size: int = 1
    peers: Peers | None = None
    gradients: dist.ProcessGroup | None = None
    """Where gradients are summed; None: the group that everything else uses"""
    patience: float = PATIENCE
    settled: bool = False
    """Whether every rank knows that this is the end: of the error under way, or of the work."""

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def said_by_another(self) -> bool:
        """Whether this rank may keep silent at the end: all know of it, and one on this machine says it."""
        if self.peers is None or self.peers.speaks:
            return False
        return self.settled

    def rows(self, count: int) -> slice:
        """This rank's share of `count` things in a row."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    @property
    def dealt(self) -> slice:
        """This rank's share of things that lie in order of what they cost: each gets one, then the next."""
        return slice(self.rank, None, self.size)

    def each(self, work: Callable[[], A]) -> list[A]:
        """What `work` comes to on every rank, in their order. Tensors of the others' are on the CPU.

        Raises:
            Exception: that of `work`, here; PeerError (MemoryError where memory ran out) where another rank's
                failed. The ranks raise together, and tell the same one: that of the first that failed.
        """
        if self.size == 1:
            return [work()]
        own: Exception | None = None
        try:
            result = _Result(_portable(work()))
        except Exception as error:
            if self.settled:
                raise  # by a meeting within `work`: the others have it too
            own, result = error, _Result(None, _told(error), out_of_memory(error))
        results = self._gather(result)
        for rank, failed in enumerate(results):
            if failed.error is not None:
                self.settled = True
                if rank == self.rank and own is not None:
                    raise own
                kind = MemoryError if failed.memory else PeerError
                raise kind(f"rank {rank}: {failed.error}") from own
        return [result.value for result in results]

    def lead(self, work: Callable[[], A]) -> A:
        """What `work` comes to on the first rank, which alone does it."""
        found: A | None = self.each(lambda: work() if self.leads else None)[0]
        return found  # type: ignore[return-value]

    def spread(self, items: Sequence[A], work: Callable[[Sequence[A]], Sequence[B]]) -> list[B]:
        """`work` on the items of every rank's share, in the order of the items."""
        own = items[self.rows(len(items))]
        return [found for part in self.each(lambda: work(own) if own else []) for found in part]

    def any(self, question: Callable[[], bool]) -> bool:
        """Whether it is so on some rank."""
        return any(self.each(question))

    def stack(self, work: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Tensors of as many rows as a rank has in its share, those of all ranks one below the other."""
        if self.size == 1:
            return work()
        own: list[Tensor] = []

        def portable() -> tuple[Tensor, ...]:
            own.extend(work())
            return tuple(own)

        parts = zip(*self.each(portable), strict=True)
        return tuple(torch.cat(part).to(mine.device) for part, mine in zip(parts, own, strict=True))

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """A block that all ranks get through, or none: the error of one is raised on all."""
        failed: list[Exception] = []
        try:
            yield
        except Exception as error:
            if self.size == 1 or self.settled:
                raise
            failed.append(error)

        def outcome() -> None:
            if failed:
                raise failed[0]

        self.each(outcome)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum over all ranks in the place of each gradient, by one all-reduce of one vector.

        Before they are unscaled: an overflow on one rank is one on all, and all skip the step together. A
        parameter without a gradient on any rank stays without.
        """
        if self.size == 1:
            return
        trained = [p for p in parameters if p.requires_grad]
        there = [float(p.grad is not None) for p in trained]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        flat = torch.cat([part.flatten() for part in parts] + [parts[0].new_tensor(there)])
        with self._connected():
            dist.all_reduce(flat, group=self.gradients)
            somewhere = flat[-len(trained) :].tolist()
        sums = flat[: -len(trained)].split([p.numel() for p in trained])
        for parameter, total, ranks in zip(trained, sums, somewhere, strict=True):
            parameter.grad = total.view_as(parameter) if ranks else None

    @property
    def cores(self) -> int:
        """CPU cores for this rank: those of its machine over the ranks there, at least one."""
        if self.peers is None:
            return len(os.sched_getaffinity(0))
        here = [self.peers.places[rank].cores for rank in self.peers.here]
        return max(1, len(frozenset.union(*here)) // len(here))

    def _gather(self, result: _Result) -> list[_Result]:
        found: list[Any] = [None] * self.size
        with self._connected():
            dist.monitored_barrier(timeout=timedelta(seconds=self.patience), wait_all_ranks=True)
            dist.all_gather_object(found, result)
        return found

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Ranks meet within the block. Raises PeerError, which names the one that did not, if it is known."""
        try:
            yield
        except RuntimeError as error:
            late = re.search(r"Ranks? ([\d, ]+) failed to pass monitoredBarrier in (\d+) ms", str(error))
            gone = self.peers.news_within(HEARD_WITHIN if late is None else 1.0) if self.peers else None
            if gone is not None:
                raise PeerError(gone) from error
            if late is not None and self.leads:
                raise PeerError(
                    f"rank {late[1]} did not come within {self.patience:g} s, and the others wait for it"
                ) from error
            raise PeerError(f"the ranks lost each other: {_told(error)}") from error


ALONE = World()
"""One process."""


def processes() -> int:
    """How many processes torchrun (or another launcher that sets its variables) has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(*, cuda: bool, advice: str) -> Iterator[World]:
    """The processes that were started together, until all of them are done.

    What ends one of them ends all. `cuda`: one GPU for each rank. `advice`: what to do after one was lost.

    Raises:
        TrainingError: the ranks cannot meet, or have to share a GPU.
    """
    if processes() == 1:
        yield World()
        return
    world = _met()
    places = world.each(lambda: Place.here(_own_gpu() if cuda else "cpu"))
    world.lead(lambda: _check_gpus(places))
    world.peers = peers = connect(world.rank, places, lambda meeting: world.each(lambda: meeting)[0])
    peers.advice = advice
    if cuda:
        world.gradients = dist.new_group(backend="nccl")
    else:  # what a rank starts keeps to them too: a program that changes cores on its way costs a tenth more
        os.sched_setaffinity(0, peers.own_cores)
    try:
        yield world
        world.each(lambda: None)  # none leaves before all are done
    except BaseException as error:
        why = "interrupted" if isinstance(error, KeyboardInterrupt) else _told(error)
        heard = isinstance(error, PeerError) and peers.news is not None
        peers.leave(None if world.settled or heard else why)
        if not (world.settled or peers.speaks or heard):
            # Ranks that calculate the same fail alike; then one of each machine says so.
            world.settled = (peers.news_within(ALIKE_WITHIN) or "").endswith(why)
        if isinstance(error, KeyboardInterrupt) and peers.news and not peers.news.endswith("interrupted"):
            raise PeerError(peers.news) from error  # torchrun stops the others when one was lost
        raise
    peers.leave()
    dist.destroy_process_group()


def _met() -> World:
    try:
        dist.init_process_group("gloo", timeout=timedelta(seconds=MEET_SECONDS))
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise TrainingError(
            f"the processes cannot meet at {where}: start them with torchrun, on one machine with "
            f"--standalone, else with a port that is free (--master-port); {_told(error)[:200]}"
        ) from error
    return World(dist.get_rank(), dist.get_world_size())


def _own_gpu() -> str:
    """Make a GPU of its own this process's; returns which it is."""
    local, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    index = local if local < count else 0  # a launcher may show each process its own GPU alone
    torch.cuda.set_device(index)
    return str(torch.cuda.get_device_properties(index).uuid)


def _check_gpus(places: Sequence[Place]) -> None:
    owners: dict[tuple[str, str], int] = {}
    for rank, place in enumerate(places):
        other = owners.setdefault((place.machine, place.device), rank)
        if place.device != "cpu" and other != rank:
            raise TrainingError(
                f"ranks {other} and {rank} have one GPU of {place.host}: start as many processes as it has "
                "GPUs (--nproc-per-node), or use --device cpu"
            )


def _portable(value: Any) -> Any:
    """The same with every tensor on the CPU: what crosses to another rank has no device there."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, list):
        return [_portable(each) for each in value]
    if isinstance(value, tuple):
        items = [_portable(each) for each in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: getattr(value, f.name) for f in fields(value)}
        tensors = {name: part.cpu() for name, part in parts.items() if isinstance(part, Tensor)}
        return replace(value, **tensors) if tensors else value
    return value


def _told(error: BaseException) -> str:
    """One line. Errors of our own say what to do; of others the class belongs to what they say."""
    text = " ".join(str(error).split())
    foreign = type(error).__module__.partition(".")[0] in ("builtins", "torch")
    return f"{type(error).__name__}: {text}" if foreign else text
