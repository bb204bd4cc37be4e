"""The two messages between the pool and a server process, over a SOCK_SEQPACKET socketpair.

A request carries limits and four descriptors (program, stdin, stdout, stderr); never a byte of program, input
or output, so nothing of one run lies in the memory that the next run inherits.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

READY = b"ready "  # the server's first packet, followed by its tier
FD_COUNT = 4
_REQUEST = struct.Struct("<??ddQQ")
_REPLY = struct.Struct("<i?Biddq")


class Killed(IntEnum):
    """Why the server ended a run, if it did."""

    NO = 0
    CPU = 1
    WALL = 2
    MEMORY = 3


class Request(NamedTuple):
    """Run one program on one input."""

    is_text: bool  # the program was a str: UTF-8, an encoding cookie in it is not honoured
    compile_only: bool
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
    compiled: bool
    killed: int  # a Killed
    wait_status: int  # as from wait()
    cpu_seconds: float
    wall_seconds: float
    max_rss_kb: int

    def pack(self) -> bytes:
        return _REPLY.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Reply:
        return cls(*_REPLY.unpack(data))


MESSAGE_BYTES = 4096  # more than either message; a SEQPACKET receive returns one whole message
