"""The system call filter of a run: a classic BPF program for x86_64, packed by hand, needing no library.

It alone keeps a program in: after it is in force no path is opened, no process made, no socket, no signal
sent to another. What a call that is not allowed gets:

    ALLOW   what computing, standard streams, threads and clocks need; some only with harmless arguments
    ENOENT  looking for or reading a path: to an honest program the file system is empty ...
    EACCES  changing or writing a path: ... and cannot be written
    KILL    a new process, another program, sockets, signals to others, tracing, namespaces, mounts, keys,
            shared memory by name, io_uring and their like: nothing an honest program does (Status.DENIED)
    ENOSYS  all else, calls of later kernels too: as on a kernel without them, so that libraries fall back

Filters see numbers, never the memory behind a pointer. Left open by that: `newfstatat` and `statx` with
AT_EMPTY_PATH (glibc's fstat) take a path too if a program calls them by hand, which tells whether a path
exists and how large it is; with namespaces there is nothing to find.
"""

from __future__ import annotations

import errno
import os
import struct

AUDIT_ARCH_X86_64 = 0xC000003E
X32_BIT = 0x40000000  # the x32 ABI: the same kernel, other numbers

ALLOW = 0x7FFF0000
KILL = 0x80000000  # the process, not only the thread


def fails_with(number: int) -> int:
    """The action that makes a call return -1 with this errno."""
    return 0x00050000 | number


# What a program may do without a look at its arguments.
_ALLOWED = {
    # descriptors it has
    "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "pread64": 17, "pwrite64": 18,
    "readv": 19, "writev": 20, "select": 23, "dup": 32, "dup2": 33, "fsync": 74, "fdatasync": 75,
    "ftruncate": 77, "preadv": 295, "pwritev": 296, "pselect6": 270, "ppoll": 271, "dup3": 292,
    "close_range": 436, "pipe": 22, "pipe2": 293, "eventfd2": 290, "epoll_create1": 291,
    "epoll_ctl": 233, "epoll_wait": 232,
    "epoll_pwait": 281, "recvmsg": 47,  # of a socket it was given: sandbox.child.channel; it cannot make one
    # memory
    "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "msync": 26, "madvise": 28,
    # its own signals, clocks and timers
    "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "rt_sigpending": 127,
    "rt_sigtimedwait": 128, "rt_sigsuspend": 130, "sigaltstack": 131, "pause": 34, "nanosleep": 35,
    "getitimer": 36, "alarm": 37,
    "setitimer": 38, "gettimeofday": 96, "times": 100, "time": 201, "clock_gettime": 228, "clock_getres": 229,
    "clock_nanosleep": 230, "restart_syscall": 219,
    # threads
    "sched_yield": 24, "futex": 202, "set_tid_address": 218, "set_robust_list": 273, "membarrier": 324,
    "rseq": 334, "exit": 60, "exit_group": 231, "sched_getaffinity": 204,
    "wait4": 61, "waitid": 247,  # it has no children to wait for
    # what it is and may use; hard limits cannot be raised without a capability
    "getpid": 39, "uname": 63, "getcwd": 79, "umask": 95, "getrlimit": 97, "getrusage": 98, "sysinfo": 99,
    "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "getpgrp": 111,
    "getgroups": 115, "getresuid": 118, "getresgid": 120, "getpgid": 121, "getsid": 124, "arch_prctl": 158,
    "setrlimit": 160, "gettid": 186, "getcpu": 309, "getrandom": 318,
}  # fmt: skip

_READS_PATH = {
    "stat": 4, "lstat": 6, "access": 21, "chdir": 80, "fchdir": 81, "readlink": 89, "statfs": 137,
    "getxattr": 191, "lgetxattr": 192, "listxattr": 194, "llistxattr": 195, "readlinkat": 267,
    "faccessat": 269, "faccessat2": 439,
}  # fmt: skip
_WRITES_PATH = {
    "truncate": 76, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87,
    "symlink": 88, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94, "utime": 132,
    "mknod": 133, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197,
    "lremovexattr": 198, "fremovexattr": 199, "utimes": 235, "mkdirat": 258, "mknodat": 259, "fchownat": 260,
    "futimesat": 261, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266, "fchmodat": 268,
    "utimensat": 280, "renameat2": 316, "openat2": 437, "fchmodat2": 452,
}  # fmt: skip
_KILLED = {
    # processes and programs (clone3 is ENOSYS: its flags lie behind a pointer, and glibc then uses clone)
    "fork": 57, "vfork": 58, "execve": 59, "execveat": 322,
    # signals and other processes
    "kill": 62, "tkill": 200, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "pidfd_open": 434,
    "pidfd_send_signal": 424, "pidfd_getfd": 438, "ptrace": 101, "process_vm_readv": 310,
    "process_vm_writev": 311, "process_madvise": 440, "process_mrelease": 448, "kcmp": 312,
    # sockets
    "socket": 41, "connect": 42, "accept": 43, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "bind": 49,
    "listen": 50, "socketpair": 53, "accept4": 288, "recvmmsg": 299, "sendmmsg": 307,
    # names outside the file system
    "shmget": 29, "shmat": 30, "shmctl": 31, "semget": 64, "semop": 65, "semctl": 66, "msgget": 68,
    "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "mq_open": 240, "mq_unlink": 241, "memfd_create": 319,
    "memfd_secret": 447, "add_key": 248, "request_key": 249, "keyctl": 250,
    # the system
    "chroot": 161, "pivot_root": 155, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168,
    "reboot": 169, "sethostname": 170, "setdomainname": 171, "init_module": 175, "delete_module": 176,
    "finit_module": 313, "kexec_load": 246, "kexec_file_load": 320, "acct": 163, "quotactl": 179,
    "iopl": 172, "ioperm": 173, "modify_ldt": 154, "settimeofday": 164, "clock_settime": 227,
    "adjtimex": 159, "clock_adjtime": 305, "syslog": 103, "unshare": 272, "setns": 308, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
    # doors to the kernel that lead past a filter, or are known for holes
    "bpf": 321, "seccomp": 317, "userfaultfd": 323, "perf_event_open": 298, "io_uring_setup": 425,
    "io_uring_enter": 426, "io_uring_register": 427, "io_setup": 206, "io_submit": 209, "personality": 135,
    "open_by_handle_at": 304, "name_to_handle_at": 303, "fanotify_init": 300, "fanotify_mark": 301,
    "inotify_init": 253, "inotify_init1": 294, "inotify_add_watch": 254, "lookup_dcookie": 212,
    "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
    # who it is
    "setuid": 105, "setgid": 106, "setreuid": 113, "setregid": 114, "setgroups": 116, "setresuid": 117,
    "setresgid": 119, "setfsuid": 122, "setfsgid": 123, "capset": 126,
}  # fmt: skip

_CLONE, _TGKILL, _OPEN, _OPENAT, _NEWFSTATAT, _STATX = 56, 234, 2, 257, 262, 332
_FCNTL, _IOCTL, _PRCTL, _PRLIMIT64 = 72, 16, 157, 302

_CLONE_THREAD = 0x00010000 | 0x00000800 | 0x00000100  # THREAD, SIGHAND, VM: what pthread_create asks for
_CLONE_NEW = 0x7E020080  # every CLONE_NEW* flag
_AT_EMPTY_PATH = 0x1000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# F_SETOWN and FIOSETOWN are not here: they would have the kernel send SIGIO to any process of the user.
# DUPFD ... SETLKW, DUPFD_CLOEXEC, PIPE_SZ, SEALS
_FCNTL_COMMANDS = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032, 1034)
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
_IOCTL_REQUESTS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
_PRCTL_OPTIONS = (2, 15, 16)  # GET_PDEATHSIG, SET_NAME, GET_NAME: never SET_PDEATHSIG

INSTRUCTION_BYTES = 8
_OWN_PID = 0xFFFFFFFE  # stands for it until a child knows it; no process has this number

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant
_NUMBER, _ARCH = 0, 4  # offsets into struct seccomp_data
_SIGABRT = 6


def _load(offset: int) -> Instruction:
    return (0x20, 0, 0, offset)


def _argument(index: int) -> Instruction:
    """The low 32 bits: every argument looked at here is an int, or has no dangerous high half."""
    return _load(16 + 8 * index)


def _equal(value: int, then: int, otherwise: int) -> Instruction:
    return (0x15, then, otherwise, value)


def _and(mask: int) -> Instruction:
    return (0x54, 0, 0, mask)


def _return(action: int) -> Instruction:
    return (0x06, 0, 0, action)


def _bits(index: int, mask: int, wanted: int, yes: int, no: int) -> list[Instruction]:
    """`yes` if the argument has, of the bits in `mask`, exactly those in `wanted`."""
    return [_argument(index), _and(mask), _equal(wanted, 0, 1), _return(yes), _return(no)]


def _among(index: int, values: tuple[int, ...], otherwise: int) -> list[Instruction]:
    """Allowed if the argument is one of `values`."""
    tests = [_equal(value, len(values) - i, 0) for i, value in enumerate(values)]
    return [_argument(index), *tests, _return(otherwise), _return(ALLOW)]


def _open(flags_at: int) -> list[Instruction]:
    """As if the file system were empty and could not be written."""
    return _bits(flags_at, _WRITING, 0, fails_with(errno.ENOENT), fails_with(errno.EACCES))


def _rules() -> dict[int, list[Instruction]]:
    """What to do, for each call by number."""
    rules = {_CLONE: _bits(0, _CLONE_THREAD | _CLONE_NEW, _CLONE_THREAD, ALLOW, KILL)}
    rules[_OPEN], rules[_OPENAT] = _open(1), _open(2)
    for call, flags_at in ((_NEWFSTATAT, 3), (_STATX, 2)):
        rules[call] = _bits(flags_at, _AT_EMPTY_PATH, _AT_EMPTY_PATH, ALLOW, fails_with(errno.ENOENT))
    rules[_IOCTL] = _among(1, _IOCTL_REQUESTS, fails_with(errno.ENOTTY))
    rules[_FCNTL] = _among(1, _FCNTL_COMMANDS, fails_with(errno.EPERM))
    rules[_PRLIMIT64] = _among(0, (0,), fails_with(errno.EPERM))  # 0 is itself
    rules[_PRCTL] = _among(0, _PRCTL_OPTIONS, fails_with(errno.EPERM))
    to_itself = _equal(_OWN_PID, 0, 3)  # abort() does this
    rules[_TGKILL] = [
        _argument(0),
        to_itself,
        _argument(2),
        _equal(_SIGABRT, 0, 1),
        _return(ALLOW),
        _return(KILL),
    ]
    for group, action in (
        (_ALLOWED, ALLOW),
        (_READS_PATH, fails_with(errno.ENOENT)),
        (_WRITES_PATH, fails_with(errno.EACCES)),
        (_KILLED, KILL),
    ):
        rules |= {number: [_return(action)] for number in group.values()}
    return rules


def _search(cases: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """A binary search for the last case whose number is not above the loaded one.

    Not a list of comparisons: when a filter is installed the kernel runs it once for every call there is, and
    that, a third of a millisecond, was a tenth of the cost of a run.
    """
    if len(cases) == 1:
        return cases[0][1]
    middle = len(cases) // 2
    below, above = _search(cases[:middle]), _search(cases[middle:])
    at_least = cases[middle][0]
    if len(below) < 256:
        return [(0x35, len(below), 0, at_least), *below, *above]
    return [(0x35, 0, 1, at_least), (0x05, 0, 0, len(below)), *below, *above]


def build() -> tuple[bytes, int]:
    """The filter, and where in it the number of the process belongs (32 bits): it may abort itself only."""
    rules = _rules()
    absent = [_return(fails_with(errno.ENOSYS))]
    cases: list[tuple[int, list[Instruction]]] = []
    for number in range(max(rules) + 2):
        body = rules.get(number, absent)
        if not cases or cases[-1][1] != body:
            cases.append((number, body))
    cases.append((X32_BIT, [_return(KILL)]))
    architecture = [_load(_ARCH), _equal(AUDIT_ARCH_X86_64, 1, 0), _return(KILL)]
    program = [*architecture, _load(_NUMBER), *_search(cases)]
    own = next(i for i, (*_, constant) in enumerate(program) if constant == _OWN_PID)
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    return packed, own * INSTRUCTION_BYTES + 4
