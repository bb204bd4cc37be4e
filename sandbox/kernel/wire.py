"""The two messages between the pool and a server process, over a SOCK_SEQPACKET socketpair.

A request carries limits and descriptors (stdin, stdout, stderr, program, and a harness if there is one);
never a byte of program, input or output, so none of these lies in the memory that the next run inherits.
"""

from __future__ import annotations

import socket
import struct
from enum import IntEnum
from typing import NamedTuple

READY = b"ready"  # the server's first packet ...
REFUSED = b"refused "  # ... or which layer the kernel refuses ...
FAILED = b"failed "  # ... or what else went wrong
FD_COUNT = 5  # at most
_INT_BYTES = struct.calcsize("i")
_REQUEST = struct.Struct("<B?ddQQ")
_REPLY = struct.Struct("<iBBidddq")


class Want(IntEnum):
    """What a request asks for."""

    COMPILE = 0  # compile the program, no more
    RUN = 1  # ... and run it on one input, in a fresh child
    KEEP = 2  # the same, and let the child wait for another input if it is as good as new afterwards
    NEXT = 3  # run the next input in the child that waits, and keep it again; no program is handed over
    LAST = 4  # the same, and do not keep it


class Ended(IntEnum):
    """How a run ended: by itself, or why the server ended it."""

    ITSELF = 0
    CPU = 1
    WALL = 2
    MEMORY = 3
    THREADS = 4
    WAITING = 5  # not at all: the program has ended well, and its process waits for the next input
    BUSY = 6  # over the wall limit by far, but for want of a machine that let it run: a fault of ours


class Note(IntEnum):
    """How far a child came."""

    NOTHING = 0  # the program does not compile
    COMPILED = ord("c")
    ELSEWHERE = ord("e")  # it compiles, and names a module that only the server with the large libraries has
    BROKEN = ord("!")  # the child could not be set up: a fault of ours


class Request(NamedTuple):
    """Run one program on one input."""

    want: int  # a Want
    is_text: bool  # the program was a str: UTF-8, an encoding cookie in it is not honoured
    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    output_bytes: int

    def pack(self) -> bytes:
        return _REQUEST.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Request:
        return cls(*_REQUEST.unpack(data))


class Reply(NamedTuple):
    """What the kernel said about one run."""

    fault: int  # errno of a failure of ours (fork, preparation), 0 for none
    note: int  # a Note
    ended: int  # an Ended
    wait_status: int  # as from wait()
    cpu_seconds: float
    wall_seconds: float
    slept_seconds: float
    max_rss_kb: int

    def pack(self) -> bytes:
        return _REPLY.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Reply:
        return cls(*_REPLY.unpack(data))


MESSAGE_BYTES = 4096  # more than either message; a SEQPACKET receive returns one whole message


def receive(sock: socket.socket, size: int, descriptors: int) -> tuple[bytes, list[int]]:
    """A message and the descriptors that came with it: `socket.recv_fds`, at half its cost."""
    data, ancillary, _, _ = sock.recvmsg(size, socket.CMSG_SPACE(descriptors * _INT_BYTES))
    fds: list[int] = []
    for _, _, packed in ancillary:  # SCM_RIGHTS: nothing else was asked for
        fds += memoryview(packed).cast("i")
    return data, fds
