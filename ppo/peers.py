"""Which rank ended before its time: heard at once by all others, whatever they are doing.

Every rank keeps a connection to the first. A process that ends, however it ends, closes it; of a machine that
is gone the kernel finds out in half a minute (TCP keepalive). The first rank hands on what it hears. What
is done is small: say it, and end this process unless it ends by itself, for it may wait for a number that
will never come.
"""

import json
import os
import secrets
import selectors
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

MEET_SECONDS = 60.0
"""For the connections, once all ranks are there."""
GRACE = 10.0
"""Seconds that a process has to end by itself, and to say more than this can."""
STATUS = 2

# Idle, between two looks, looks: a machine that does not answer is gone after 25 seconds.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 4}


@dataclass(frozen=True)
class Place:
    """Where a rank runs."""

    host: str
    machine: str
    """Of two machines never the same, whatever they are called"""
    pid: int
    cores: frozenset[int]
    """CPU cores that it may use"""
    device: str = "cpu"

    @classmethod
    def here(cls, device: str = "cpu") -> "Place":
        """This process."""
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        host = socket.gethostname()
        return cls(host, f"{host} {boot}", os.getpid(), frozenset(os.sched_getaffinity(0)), device)


@dataclass(frozen=True)
class Meeting:
    """Where the first rank waits for the others, and the word by which it knows them."""

    address: str
    port: int
    word: str


class Peers:
    """Listens, in a thread, for ranks that end."""

    def __init__(self, rank: int, places: Sequence[Place], links: Mapping[int, socket.socket]) -> None:
        """`links`: connections by rank; of the first rank to all others, of the others to the first."""
        self.rank = rank
        self.places = places
        self.advice = ""
        """What to do then; said behind what happened"""
        self.news: str | None = None
        """Which rank ended, and how"""
        self._links = dict(links)
        self._heard, self._ending = threading.Event(), threading.Event()
        threading.Thread(target=self._listen, name="peers", daemon=True).start()

    @property
    def here(self) -> list[int]:
        """The ranks on this machine."""
        mine = self.places[self.rank].machine
        return [rank for rank, place in enumerate(self.places) if place.machine == mine]

    @property
    def own_cores(self) -> frozenset[int]:
        """The part of its machine's CPU cores that this rank keeps to; all that it may use, where there are
        fewer than ranks, or where whoever started them has dealt the cores out."""
        mine = self.places[self.rank].cores
        if len(mine) < len(self.here) or any(self.places[rank].cores != mine for rank in self.here):
            return mine
        place, count = self.here.index(self.rank), len(self.here)
        return frozenset(sorted(mine)[len(mine) * place // count : len(mine) * (place + 1) // count])

    @property
    def speaks(self) -> bool:
        """Whether what all ranks would say is said by this one: one of each machine does."""
        return self.rank == self.here[0]

    def news_within(self, seconds: float) -> str | None:
        """Which rank ended; None if that is not known in time. The caller ends by itself."""
        self._ending.set()
        self._heard.wait(seconds)
        return self.news

    def leave(self, why: str | None = None) -> None:
        """This rank ends: as all do, or by itself, because of `why`."""
        self._ending.set()
        for link in self._links.values():
            _send(link, why and f"{self._name(self.rank)}: {why}")

    def _name(self, rank: int) -> str:
        return f"rank {rank} (process {self.places[rank].pid} on {self.places[rank].host})"

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            for rank, link in self._links.items():
                selector.register(link, selectors.EVENT_READ, rank)
            while selector.get_map():
                for key, _ in selector.select():
                    selector.unregister(key.fileobj)
                    if news := self._read(key.data):
                        self._hear(key.data, news)
                        return

    def _read(self, rank: int) -> str | None:
        """What a rank says at its end; None where it ends as all do."""
        try:
            with self._links[rank].makefile("rb") as file:
                line = file.readline()
        except OSError:
            line = b""  # reset, or its machine does not answer
        if not line.endswith(b"\n"):
            return f"{self._name(rank)} was lost: killed, or its machine is gone"
        said: str | None = json.loads(line)
        return said

    def _hear(self, source: int, news: str) -> None:
        for rank, link in self._links.items():
            if rank != source:
                _send(link, news)
        self.news = news
        self._heard.set()
        if self._ending.wait(GRACE):
            return
        lost_speaker = news.startswith(tuple(f"{self._name(rank)} was lost" for rank in self.here))
        if self.speaks or lost_speaker:
            sys.stderr.write(f"error: {news}; {self.advice}\n")
            sys.stderr.flush()
        os._exit(STATUS)


def connect(rank: int, places: Sequence[Place], share: Callable[[Meeting | None], Meeting | None]) -> Peers:
    """Connect every rank with the first.

    `share`: hands what the first rank gives to all ranks.

    Raises:
        OSError: a rank does not reach the first.
    """
    links: dict[int, socket.socket] = {}
    if rank == 0:
        address = _address()
        with socket.create_server((address, 0), family=_family(address)) as server:
            server.settimeout(MEET_SECONDS)
            word = secrets.token_hex(16)
            share(Meeting(address, server.getsockname()[1], word))
            while len(links) < len(places) - 1:
                link, _ = server.accept()
                link.settimeout(MEET_SECONDS)
                said = link.makefile("rb", buffering=0).readline().decode("ascii", "replace").split()
                if len(said) == 2 and secrets.compare_digest(said[0].encode(), word.encode()):
                    links[int(said[1])] = link
                else:
                    link.close()  # nobody of ours
    else:
        meeting = share(None)
        assert meeting is not None
        links[0] = socket.create_connection((meeting.address, meeting.port), timeout=MEET_SECONDS)
        links[0].sendall(f"{meeting.word} {rank}\n".encode())
    for link in links.values():
        link.settimeout(None)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            link.setsockopt(socket.IPPROTO_TCP, option, value)
    return Peers(rank, places, links)


def _address() -> str:
    """The address of this machine that the other ranks reach, as it reaches the one they all met at."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    family, kind, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(target)
        return str(probe.getsockname()[0])


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _send(link: socket.socket, said: str | None) -> None:
    try:
        link.sendall(json.dumps(said).encode() + b"\n")
    except OSError:
        pass  # it is gone: whoever listens there knows
