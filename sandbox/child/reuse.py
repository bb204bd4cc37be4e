"""One child for several inputs: has a program left the interpreter as it found it, and the small repairs.

A child may wait for the next input only after a run that ended well, and only if nothing it left could be
seen by the next one: no thread, no exit handler, no change to `builtins` or `sys`, no module added. What
programs often touch is put back if they name it: recursion limit, stack size, the state of `random`, decimal
contexts, the collector. What is not looked at (an attribute set on a module of the library, a
signal handler) the same program sets again at its start, and what was worked out for later inputs is worth no
more than `supervise.SHARED_CPU_SECONDS`.
"""

from __future__ import annotations

import _thread
import atexit
import builtins
import decimal
import gc
import random
import sys
import threading
from collections.abc import Iterable
from types import ModuleType

RANDOM_SEED = 0
# A program that names one is not looked at afterwards: such a thread may not even have begun by then, a hard
# limit cannot be put back, an alarm can come while the child waits, through C anything can have changed, and
# a copy of the process (unsafe=True) would speak for it.
NOT_SHARED = frozenset({
    "start_new_thread", "setrlimit", "prlimit", "alarm", "setitimer", "ctypes", "_ctypes", "fork", "forkpty",
    "DefaultContext", "BasicContext", "ExtendedContext",
})  # fmt: skip
# A program that names one may change what it does not name.
INDIRECT = frozenset({"setattr", "delattr", "vars", "globals", "exec", "eval", "__dict__", "__setattr__"})
# What `restore` puts back can only be changed through one of these, if not by a name that is put together.
RESTORED = INDIRECT | {
    "setrecursionlimit", "set_int_max_str_digits", "setswitchinterval", "stack_size", "gc",
    "random", "_random", "statistics", "decimal", "_decimal", "__import__", "import_module", "getattr",
}  # fmt: skip
_OWN_STREAMS = {"stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__", "argv"}


class Interpreter:
    """The state of a fresh child, taken in the server before it forks."""

    def __init__(self) -> None:
        self._builtins = dict(vars(builtins))
        self._sys = {name: value for name, value in vars(sys).items() if name not in _OWN_STREAMS}
        self._everything = {*self._builtins, *self._sys}
        self._attributes = len(vars(sys))
        self._path = list(sys.path)
        self._modules = len(sys.modules)
        self._exit_handlers = atexit._ncallbacks()
        self._thread_handlers = len(threading._threading_atexits)  # type: ignore[attr-defined]
        self.recursion_limit = sys.getrecursionlimit()
        self._digits = sys.get_int_max_str_digits()
        self._switch_interval = sys.getswitchinterval()
        self._threshold = gc.get_threshold()
        self._seed = random.seed
        self._seed(RANDOM_SEED)

    def has_threads(self) -> bool:
        """Whether threads of the program run, or it wants to be told when they have ended."""
        return (
            len(threading._active) > 1  # type: ignore[attr-defined]
            or _thread._count() > 0
            or len(threading._threading_atexits) != self._thread_handlers  # type: ignore[attr-defined]
        )

    def has_more_to_do(self) -> bool:
        """Whether threads or exit handlers are still to come, which need the program's objects."""
        return self.has_threads() or atexit._ncallbacks() != self._exit_handlers

    def untouched(self, named: frozenset[str]) -> bool:
        """Whether the next input would find nothing but what `restore` puts back.

        `named`: every name in the program. It can only have changed what it names, and to look at the rest
        would cost a tenth of a run: a look counts a reference, and so copies the page the object lies in.
        """
        looked_at = self._everything if not INDIRECT.isdisjoint(named) else named
        return (
            not self.has_more_to_do()
            and len(vars(builtins)) == len(self._builtins)
            and _holds(builtins, self._builtins, looked_at)
            and len(sys.modules) == self._modules
            and sys.path == self._path
            and sys.gettrace() is None
            and sys.getprofile() is None
            and len(vars(sys)) == self._attributes
            and _holds(sys, self._sys, looked_at)
        )

    def restore(self, named: frozenset[str]) -> None:
        """Put back what a program with these names may have changed."""
        if named.isdisjoint(RESTORED):
            return
        sys.setrecursionlimit(self.recursion_limit)
        sys.set_int_max_str_digits(self._digits)
        sys.setswitchinterval(self._switch_interval)
        threading.stack_size(0)
        decimal.setcontext(decimal.Context())
        gc.set_threshold(*self._threshold)
        gc.enable()
        self._seed(RANDOM_SEED)


def _holds(module: ModuleType, values: dict[str, object], named: Iterable[str]) -> bool:
    """By identity: a program's object may call itself equal to any other."""
    namespace = vars(module)
    for name in named:
        if name in values and namespace.get(name) is not values[name]:
            return False
    return True
