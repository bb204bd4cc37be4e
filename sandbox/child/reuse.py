"""One child for several inputs: is it as good as new for the next one, and the small repair.

Only programs that provably keep nothing come here (`stateless`). What is looked at afterwards is a second
line, should that proof have a hole: no thread, no exit handler, no change to `builtins` or `sys` under a name
of the program's, no module added, no hook. The recursion limit, which such a program may set, is put back.
"""

from __future__ import annotations

import _thread
import atexit
import builtins
import random
import sys
import threading
from collections.abc import Iterable
from types import ModuleType

RANDOM_SEED = 0
_OWN_STREAMS = {"stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__", "argv"}


class Interpreter:
    """The state of a fresh child, taken in the server before it forks."""

    def __init__(self) -> None:
        self._builtins = dict(vars(builtins))
        self._sys = {name: value for name, value in vars(sys).items() if name not in _OWN_STREAMS}
        self._attributes = len(vars(sys))
        self._path = list(sys.path)
        self._modules = len(sys.modules)
        self._exit_handlers = atexit._ncallbacks()
        self._thread_handlers = len(threading._threading_atexits)  # type: ignore[attr-defined]
        self.recursion_limit = sys.getrecursionlimit()
        random.seed(RANDOM_SEED)

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
        return (
            not self.has_more_to_do()
            and len(vars(builtins)) == len(self._builtins)
            and _holds(builtins, self._builtins, named)
            and len(sys.modules) == self._modules
            and sys.path == self._path
            and sys.gettrace() is None
            and sys.getprofile() is None
            and len(vars(sys)) == self._attributes
            and _holds(sys, self._sys, named)
        )

    def restore(self) -> None:
        """Put back what a program may have changed."""
        sys.setrecursionlimit(self.recursion_limit)


def _holds(module: ModuleType, values: dict[str, object], named: Iterable[str]) -> bool:
    """By identity: a program's object may call itself equal to any other."""
    namespace = vars(module)
    for name in named:
        if name in values and namespace.get(name) is not values[name]:
            return False
    return True
