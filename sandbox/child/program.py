"""What a forked child does before and after its program: descriptors, limits, stdio, compile, the end.

The aim is that a program cannot tell the child from `python prog.py < input`, as far as contest programs
look: real descriptors, `__main__`, `exit()`, atexit, threads, the exit status. Differences kept on purpose:
the hash seed is 0 and `random` is seeded, so that verdicts repeat (`random.Random()` without a seed,
`os.urandom` and `id()` do not); the environment and the file system are empty; no site-packages; `__file__`
names no file, so tracebacks show no source lines. Differences not covered: the recursion limit is reached two
frames early, and an uncaught KeyboardInterrupt gives exit status 130 instead of a signal.
"""

from __future__ import annotations

import atexit
import builtins
import gc
import io
import marshal
import os
import sys
import threading
import weakref
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import Any, NoReturn

from sandbox.child import adapt
from sandbox.child.channel import CHILD_FD, NOTE_FD, Channel
from sandbox.child.reuse import Interpreter
from sandbox.child.stateless import keeps_nothing
from sandbox.kernel import lockdown, preload
from sandbox.kernel.wire import Note, Request, Want

FILE_NAME = "program.py"

# Members of an enum are looked up by Python code in 3.11, which a child does better without.
_COMPILED, _ELSEWHERE, _BROKEN = (bytes([note]) for note in (Note.COMPILED, Note.ELSEWHERE, Note.BROKEN))
_ONLY_COMPILE = int(Want.COMPILE)
_spare_streams: list[tuple[io.TextIOWrapper, io.TextIOWrapper, io.TextIOWrapper]] = []
_exit = os._exit  # bound before any program can replace it
_modules = sys.modules
_getrecursionlimit, _setrecursionlimit = sys.getrecursionlimit, sys.setrecursionlimit
_boot = sys.modules["__main__"]  # kept: to free it in a child would touch, and so copy, the server's pages


@dataclass(frozen=True)
class Surroundings:
    """What all children of a server have in common."""

    server: int  # process id
    filter: lockdown.Filter | None
    elsewhere: frozenset[str]  # modules that another server holds
    special: frozenset[str]  # `special_names(elsewhere)`
    interpreter: Interpreter


class Program:
    """A compiled program in the process that is about to run it, on one input or on several in turn."""

    def __init__(
        self, code: CodeType, named: frozenset[str], interpreter: Interpreter, channel: Channel | None
    ) -> None:
        self._code = code
        self._harness: CodeType | None = None
        self._named = named
        self._interpreter = interpreter
        self._channel = channel

    def start(self) -> tuple[CodeType, dict[str, Any]]:
        """The code and the namespace to exec it in; installs `__main__`."""
        self._status = 0
        self._streams = (sys.stdin, sys.stdout, sys.stderr)  # ours, in case the program replaces one
        module = sys.modules["__main__"] = ModuleType("__main__")
        self._module = weakref.ref(module)
        namespace = vars(module)
        namespace.update(__file__=FILE_NAME, __cached__=None, __builtins__=builtins, __annotations__={})
        gc.enable()
        if self._harness is None:
            return self._code, namespace
        namespace["__program__"] = self._code
        return self._harness, namespace

    def put_into(self, harness: bytes) -> None:
        """Run a harness in the program's place: code of the caller's, as `marshal` writes it."""
        self._harness = marshal.loads(harness)

    def ended(self, error: BaseException | None) -> None:
        """The program has run to its end or to `error`: flush, print it and set the exit status, as the
        interpreter does before it waits for threads and calls exit handlers.
        """
        if _getrecursionlimit() < self._interpreter.recursion_limit:
            _setrecursionlimit(self._interpreter.recursion_limit)  # or we could not do all this
        self._flushed = _flush(_stream_of("stderr")) & _flush(_stream_of("stdout"))
        if error is None:
            return
        if isinstance(error, SystemExit):
            self._status = _system_exit(error.code)
            return
        self._status = 130 if isinstance(error, KeyboardInterrupt) else 1
        if isinstance(error, MemoryError):
            lockdown.lift_private_limit()  # or nothing is left to say so: 3.13 prints in Python
        trace = error.__traceback__
        error.__traceback__ = trace.tb_next if trace else None  # without boot.py's frame
        try:
            sys.excepthook(type(error), error, error.__traceback__)
        except SystemExit as wish:
            self._status = _system_exit(wish.code)
        except BaseException:  # a broken hook of the program's: the exit status already tells
            sys.__excepthook__(type(error), error, error.__traceback__)

    def finish(self) -> None:
        """Wait for the next input and return with it, if that was asked for and can be; else end here."""
        if self._channel is None or self._status != 0 or not self.is_as_new():
            self._end()
        os.closerange(3, CHILD_FD)  # what the program left open
        try:
            more = self._channel.wait()
        except OSError:  # nobody listens any more
            self._end()
        if not more:
            self._channel = None
        self.renew()

    def is_as_new(self) -> bool:
        """Whether the next input would find this process as the last one did. Ends the program's objects."""
        try:
            if not self._flushed or self._interpreter.has_more_to_do():
                return False
            self._drop_objects()
            return self._flush_own() and self._interpreter.untouched(self._named)
        except BaseException:  # from the program's objects: the ordinary end will meet it again
            return False

    def renew(self) -> None:
        """Make ready for the next input, which is at descriptors 0, 1 and 2."""
        open_stdio()
        sys.argv = [FILE_NAME]
        self._interpreter.restore()

    def _end(self) -> NoReturn:
        """In the order of the interpreter's own end, which itself would cost milliseconds."""
        try:
            if self._interpreter.has_threads():
                threading._shutdown()  # type: ignore[attr-defined]  # waits for non-daemon threads
            atexit._run_exitfuncs()
            if not _flush_present():
                self._status = 120  # CPython's own status for this
            self._drop_objects()  # its own sys.stdout may not work without them: only ours from here on
            self._flush_own()  # what finalizers printed; that this fails is nothing to CPython
            if not self._named.isdisjoint(adapt.C_LIBRARY):
                lockdown.libc.fflush(None)
        finally:
            while True:
                _exit(self._status & 0xFF)

    def _flush_own(self) -> bool:
        return all([_is_closed(stream) or _flush(stream) for stream in self._streams])

    def _drop_objects(self) -> None:
        """Finalizers of the program's objects: `out = open(1, "w")` is written only when `out` dies.

        In the order of the interpreter's own end: sys.stdout is ours again; `__main__` goes, and finalizers
        still find its names; if something holds on to it, its names are emptied. A file that the program had
        as sys.stdout may close descriptor 1 as it dies: it must, before the next output comes to lie there.
        """
        sys.stdin, sys.stdout, sys.stderr = self._streams
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = self._streams  # type: ignore[misc,assignment]
        _modules["__main__"] = _boot
        _collect()
        module = self._module()
        if module is not None:
            names = [name for name in vars(module) if name != "__builtins__"]
            for name in names:
                vars(module)[name] = None
            _collect()


def prepare(
    request: Request,
    limits: lockdown.ChildLimits,
    fds: list[int],
    channel: Channel | None,
    surroundings: Surroundings,
) -> Program:
    """Turn a fresh fork of the server into a process that holds one compiled program and nothing else.

    Never returns without a program: whatever goes wrong ends the process.
    """
    try:
        lockdown.enter_child(limits, surroundings.server)
        if surroundings.filter is not None:
            surroundings.filter.install()
        source, *harness = take(fds)
        os.closerange(3, NOTE_FD)
    except BaseException as error:
        os.write(2, _message(error))
        os.write(NOTE_FD, _BROKEN)
        _exit(1)
    program = load(source, request, channel, surroundings)
    if harness:
        program.put_into(*harness)
    return program


def take(fds: list[int]) -> list[bytes]:
    """Put the descriptors of a request where a program has them; its text, and that of a harness, if any."""
    for target, fd in enumerate(fds[:3]):
        os.dup2(fd, target)
    return [os.pread(fd, os.lseek(fd, 0, os.SEEK_END), 0) for fd in fds[3:]]


def load(source: bytes, request: Request, channel: Channel | None, surroundings: Surroundings) -> Program:
    """Compile; ends the process if the program is not to be run here."""
    try:
        # As "utf-8-sig" does, which is written in Python.
        text = str(source, "utf-8", "surrogatepass").removeprefix("\ufeff") if request.is_text else source
        code = compile(text, FILE_NAME, "exec", dont_inherit=True)
    except BaseException as error:  # SyntaxError, ValueError, RecursionError, MemoryError, OverflowError, ...
        os.write(2, _message(error))
        _exit(1)
    names = preload.names(code)
    special = not surroundings.special.isdisjoint(names)
    elsewhere = special and preload.imports(code, names, surroundings.elsewhere)
    os.write(NOTE_FD, _ELSEWHERE if elsewhere else _COMPILED)
    if elsewhere or request.want == _ONLY_COMPILE:
        _exit(0)
    os.close(NOTE_FD)
    # What compile() itself wrote, a SyntaxWarning say, is only in the first input's stderr.
    if channel is not None and (os.lseek(2, 0, os.SEEK_CUR) or not keeps_nothing(text)):
        channel.give_up()
        channel = None
    if special:
        if not names.isdisjoint(adapt.THREADS):
            lockdown.lift_private_limit()
        if not names.isdisjoint(adapt.STANDARD_STREAMS):
            adapt.open_standard_streams()
    return Program(code, names, surroundings.interpreter, channel)


def special_names(elsewhere: frozenset[str]) -> frozenset[str]:
    """A program that has none of these among its names needs no closer look."""
    return elsewhere | preload.EXECUTORS | adapt.THREADS | adapt.STANDARD_STREAMS.keys()


def _collect() -> None:
    # Of all generations only if need be: it empties the free lists too, which lie on the server's pages.
    gc.collect(2 if gc.get_objects(generation=2) else 1)


def _message(error: BaseException) -> bytes:
    return f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace")


def open_stdio() -> None:
    """Standard streams as the interpreter opens them under a UTF-8 locale."""
    sys.stdin, sys.stdout, sys.stderr = _spare_streams.pop() if _spare_streams else _streams()
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def make_spare_streams(count: int) -> None:
    """So that children need not. To be called with empty files at 0, 1 and 2, as they will be there."""
    _spare_streams.extend(_streams() for _ in range(count))


def _streams() -> tuple[io.TextIOWrapper, io.TextIOWrapper, io.TextIOWrapper]:
    return (
        _stream(0, "rb", "strict", "<stdin>"),
        _stream(1, "wb", "strict", "<stdout>"),
        _stream(2, "wb", "backslashreplace", "<stderr>"),
    )


def _stream(fd: int, mode: str, errors: str, name: str) -> io.TextIOWrapper:
    buffer = open(fd, mode, io.DEFAULT_BUFFER_SIZE, closefd=False)
    buffer.raw.name = name  # type: ignore[attr-defined]
    stream = io.TextIOWrapper(buffer, "utf-8", errors, newline="\n", line_buffering=fd == 2)
    stream.mode = mode[0]  # type: ignore[misc]
    return stream


def _system_exit(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code if -(1 << 63) <= code < 1 << 63 else -1  # the interpreter reads it into a C long
    stream = _stream_of("stderr")
    if stream is None:
        os.write(2, f"{code}\n".encode("utf-8", "backslashreplace"))
    else:
        print(code, file=stream)
    return 1


def _stream_of(name: str) -> Any:
    """One of the program's streams: it may be closed, None or no file."""
    return getattr(sys, name, None)


def _flush_present() -> bool:
    """The program's stdout and stderr, if they are open; False if that fails."""
    streams = _stream_of("stdout"), _stream_of("stderr")
    return all([_is_closed(stream) or _flush(stream) for stream in streams])


def _is_closed(stream: Any) -> bool:
    try:
        return bool(stream.closed)
    except BaseException:  # detached, or no file
        return False


def _flush(stream: Any) -> bool:
    """False if that fails."""
    try:
        if stream is not None:
            stream.flush()
    except BaseException:
        return False
    return True
