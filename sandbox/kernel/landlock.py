"""Landlock, where the kernel has it (5.13; for sockets 6.7, for signals 6.12): no file, no TCP, no signal.

Applied once per server, to itself and all it forks. A second wall behind the filter, and one that a hole in
the filter would not open: it also forbids to trace any process outside.
"""

from __future__ import annotations

import ctypes
import os

from sandbox.kernel.lockdown import check, libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_QUERY = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_TCP = 0b11  # bind, connect
_SCOPES = 0b11  # abstract unix sockets, signals
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # ABI -> number of rights on files, all of which are handled


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """Version of the kernel's Landlock; 0 where there is none."""
    return max(0, libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_QUERY))


def restrict(proc: int) -> None:
    """Forbid everything that this kernel's Landlock can but reading below `proc`, a descriptor of /proc.

    The server reads its children's clocks and memory there. Needs no_new_privs. Raises OSError.
    """
    version = abi()
    fs = (1 << _FS_RIGHTS[min(version, max(_FS_RIGHTS))]) - 1
    rules = _Ruleset(fs, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24  # older kernels refuse a longer struct
    create = libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    ruleset = check(create, "landlock_create_ruleset")
    try:
        beneath = _Beneath(_READ_FILE | _READ_DIR, proc)
        added = libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(beneath), 0)
        check(added, "landlock_add_rule")
        check(libc.syscall(_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    finally:
        os.close(ruleset)
