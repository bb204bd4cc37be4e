"""The filter as a function: what it decides for each call, by a small interpreter of its program.

That the kernel decides the same is what the hostile programs test; here every number there is can be tried.
"""

import errno
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.kernel import seccomp
from sandbox.kernel.seccomp import ALLOW, AUDIT_ARCH_X86_64, KILL, fails_with

PID = 4711
HEADERS = [
    Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    Path("/usr/include/asm/unistd_64.h"),
]
GROUPS = (seccomp._ALLOWED, seccomp._READS_PATH, seccomp._WRITES_PATH, seccomp._KILLED)
CALLS = {name: number for group in GROUPS for name, number in group.items()}
BY_ARGUMENT = {
    "clone": 56,
    "tgkill": 234,
    "open": 2,
    "openat": 257,
    "newfstatat": 262,
    "statx": 332,
    "fcntl": 72,
    "ioctl": 16,
    "prctl": 157,
    "prlimit64": 302,
}


def installed_filter() -> list[tuple[int, int, int, int]]:
    code, pid_at = seccomp.build()
    code = code[:pid_at] + struct.pack("=I", PID) + code[pid_at + 4 :]
    return [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]


FILTER = installed_filter()


def decide(number: int, arguments: Sequence[int] = (), arch: int = AUDIT_ARCH_X86_64) -> int:
    """The filter's answer, by the rules of classic BPF on struct seccomp_data."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, arch, 0, *padded)
    accumulator = at = 0
    while True:
        code, yes, no, constant = FILTER[at]
        at += 1
        if code == 0x20:  # load a word
            (accumulator,) = struct.unpack_from("=I", data, constant)
        elif code == 0x15:  # jump if equal
            at += yes if accumulator == constant else no
        elif code == 0x35:  # jump if greater or equal
            at += yes if accumulator >= constant else no
        elif code == 0x05:  # jump
            at += constant
        elif code == 0x54:  # and
            accumulator &= constant
        else:
            assert code == 0x06, hex(code)
            return constant


def test_numbers_are_those_of_the_kernel() -> None:
    header = next((path for path in HEADERS if path.exists()), None)
    if header is None:
        pytest.skip("no kernel headers here")
    numbers = {name: int(n) for name, n in re.findall(r"__NR_(\w+) (\d+)", header.read_text())}
    known = {name: number for name, number in (CALLS | BY_ARGUMENT).items() if name in numbers}
    assert len(known) > 200
    assert known == {name: numbers[name] for name in known}


def test_no_call_is_in_two_groups() -> None:
    listed = [number for group in GROUPS for number in group.values()] + list(BY_ARGUMENT.values())
    assert len(listed) == len(set(listed))


def test_every_listed_call_gets_the_action_of_its_group() -> None:
    actions = (ALLOW, fails_with(errno.ENOENT), fails_with(errno.EACCES), KILL)
    for group, action in zip(GROUPS, actions, strict=True):
        assert {name: decide(number) for name, number in group.items()} == dict.fromkeys(group, action)


def test_what_is_not_listed_does_not_exist() -> None:
    listed = {*CALLS.values(), *BY_ARGUMENT.values()}
    others = [number for number in range(2000) if number not in listed]
    assert {decide(number) for number in others} == {fails_with(errno.ENOSYS)}


@given(st.integers(0, 1000), st.integers(0, (1 << 32) - 1).filter(lambda arch: arch != AUDIT_ARCH_X86_64))
def test_other_architectures_are_killed(number: int, arch: int) -> None:
    assert decide(number, arch=arch) == KILL


@given(st.integers(0x40000000, (1 << 32) - 1))
def test_x32_is_killed(number: int) -> None:
    assert decide(number) == KILL


PTHREAD = 0x3D0F00  # what glibc's pthread_create passes


@given(st.integers(0, (1 << 32) - 1))
def test_clone_makes_threads_and_nothing_else(flags: int) -> None:
    thread = flags & 0x10900 == 0x10900
    apart = flags & 0x7E020080  # any new namespace
    assert decide(BY_ARGUMENT["clone"], [flags]) == (ALLOW if thread and not apart else KILL)


def test_pthread_create_is_allowed_and_fork_is_not() -> None:
    assert decide(BY_ARGUMENT["clone"], [PTHREAD]) == ALLOW
    sigchld, vfork = 17, 0x4000 | 0x100 | 17
    assert decide(BY_ARGUMENT["clone"], [sigchld]) == decide(BY_ARGUMENT["clone"], [vfork]) == KILL
    assert decide(435) == fails_with(errno.ENOSYS)  # clone3: glibc then uses clone


@given(st.integers(0, (1 << 32) - 1), st.integers(0, 64))
def test_a_process_may_abort_itself_and_signal_nobody(pid: int, sig: int) -> None:
    assert decide(BY_ARGUMENT["tgkill"], [pid, 1, sig]) == (ALLOW if (pid, sig) == (PID, 6) else KILL)
    assert decide(BY_ARGUMENT["tgkill"], [PID, PID, 6]) == ALLOW


@pytest.mark.parametrize(("call", "flags_at"), [("open", 1), ("openat", 2)])
@given(flags=st.integers(0, (1 << 25) - 1))
def test_no_path_is_opened(call: str, flags_at: int, flags: int) -> None:
    arguments = [0] * 6
    arguments[flags_at] = flags
    writes = flags & 0o1103  # WRONLY, RDWR, CREAT, TRUNC
    assert decide(BY_ARGUMENT[call], arguments) == fails_with(errno.EACCES if writes else errno.ENOENT)


@pytest.mark.parametrize(("call", "flags_at"), [("newfstatat", 3), ("statx", 2)])
def test_stat_is_for_descriptors(call: str, flags_at: int) -> None:
    arguments = [0] * 6
    assert decide(BY_ARGUMENT[call], arguments) == fails_with(errno.ENOENT)
    arguments[flags_at] = 0x1000
    assert decide(BY_ARGUMENT[call], arguments) == ALLOW


@pytest.mark.parametrize(
    ("call", "at", "value", "action"),
    [
        ("ioctl", 1, 0x5401, ALLOW),  # TCGETS: isatty
        ("ioctl", 1, 0x8901, fails_with(errno.ENOTTY)),  # FIOSETOWN
        ("ioctl", 1, 0x5412, fails_with(errno.ENOTTY)),  # TIOCSTI
        ("fcntl", 1, 3, ALLOW),  # F_GETFL
        ("fcntl", 1, 1030, ALLOW),  # F_DUPFD_CLOEXEC
        ("fcntl", 1, 8, fails_with(errno.EPERM)),  # F_SETOWN
        ("fcntl", 1, 15, fails_with(errno.EPERM)),  # F_SETOWN_EX
        ("fcntl", 1, 1024, fails_with(errno.EPERM)),  # F_SETLEASE
        ("prlimit64", 0, 0, ALLOW),
        ("prlimit64", 0, 1, fails_with(errno.EPERM)),
        ("prctl", 0, 15, ALLOW),  # PR_SET_NAME
        ("prctl", 0, 1, fails_with(errno.EPERM)),  # PR_SET_PDEATHSIG
        ("prctl", 0, 22, fails_with(errno.EPERM)),  # PR_SET_SECCOMP
        ("prctl", 0, 0x59616D61, fails_with(errno.EPERM)),  # PR_SET_PTRACER
    ],
)
def test_arguments_decide(call: str, at: int, value: int, action: int) -> None:
    arguments = [0] * 6
    arguments[at] = value
    assert decide(BY_ARGUMENT[call], arguments) == action


def test_the_kernel_will_take_it() -> None:
    assert len(FILTER) < 4096
    for at, (code, yes, no, constant) in enumerate(FILTER):
        jumps = {0x15: (yes, no), 0x35: (yes, no), 0x05: (constant,)}.get(code, ())
        assert all(at + 1 + jump < len(FILTER) for jump in jumps)
    assert FILTER[-1][0] == 0x06
