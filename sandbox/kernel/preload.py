"""Modules every server imports before it forks: once the filter is in force, nothing can be read from disk.

`MODULES` is what contest programs use, and what those load lazily. `LARGE`, the rest of the standard library
that programs name, would double the cost of a fork, as would numpy, where the caller has it, and the packages
that it allows: a second server holds them, and only programs that name one of them, or a part of one, run
there. What neither server holds cannot be imported.
"""

from __future__ import annotations

import dis
import importlib
import os
import pwd
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType

MODULES = (
    # what programs import by name
    "__future__ abc array ast atexit base64 binascii bisect builtins calendar cmath codecs collections "
    "collections.abc contextlib contextvars copy ctypes dataclasses datetime decimal enum errno fcntl "
    "fnmatch fractions functools gc graphlib heapq importlib importlib.util inspect io itertools json "
    "keyword linecache locale math mmap numbers operator os os.path pathlib pickle pprint queue random re "
    "resource select selectors signal sre_compile sre_constants sre_parse stat statistics string stringprep "
    "struct sys textwrap threading time timeit token tokenize traceback types typing unicodedata "
    "urllib.parse warnings weakref zlib "
    # what those load on first use
    "_strptime _compat_pickle copyreg dis opcode reprlib encodings.ascii encodings.base64_codec "
    "encodings.cp1252 encodings.cp437 encodings.hex_codec encodings.idna encodings.latin_1 "
    "encodings.punycode encodings.raw_unicode_escape encodings.rot_13 encodings.unicode_escape "
    "encodings.utf_7 encodings.utf_8 encodings.utf_8_sig encodings.utf_16 encodings.utf_16_le "
    "encodings.utf_16_be encodings.utf_32 encodings.utf_32_le encodings.utf_32_be encodings.zlib_codec "
).split()
LARGE = (
    "numpy argparse asyncio bdb bz2 cProfile cmd code codeop colorsys concurrent.futures "
    "concurrent.futures.process concurrent.futures.thread configparser csv curses curses.ascii "
    "curses.textpad difflib doctest email email.message email.mime.multipart email.mime.text filecmp "
    "fileinput ftplib getopt getpass gettext glob grp gzip hashlib hmac html html.parser http http.client "
    "http.cookiejar http.cookies http.server imaplib importlib.abc ipaddress logging logging.config "
    "logging.handlers lzma mimetypes multiprocessing multiprocessing.dummy multiprocessing.pool "
    "multiprocessing.popen_fork multiprocessing.queues optparse pdb pickletools pkgutil platform plistlib "
    "poplib profile pstats pty pydoc pyexpat quopri runpy sched secrets shelve shlex shutil smtplib socket "
    "socketserver sqlite3 ssl subprocess symtable sysconfig tarfile telnetlib tempfile termios tomllib "
    "trace tracemalloc tty unittest unittest.async_case unittest.mock urllib urllib.error urllib.request "
    "urllib.robotparser uuid wave xml xml.dom.minidom xml.etree.ElementTree xml.sax xmlrpc.client "
    "xmlrpc.server zipfile zoneinfo "
).split()
EXECUTORS = frozenset({"exec", "eval"})
_IMPORTERS = frozenset({"__import__", "import_module", "importlib"})
_HERE = frozenset(MODULES)
_LONGEST = 100  # characters of a name that may be a module's
_NUMPY_PARTS = ("numpy.fft", "numpy.linalg", "numpy.random", "numpy.polynomial", "numpy.ma", "numpy.matlib")


def load(large: bool, libraries: Sequence[str], packages: Sequence[str] = ()) -> None:
    """Import everything in `MODULES`, and in `LARGE` if asked, that there is; then `packages`, which must be.

    `libraries`: the directories where numpy and the packages lie. Raises ImportError.
    """
    for name in MODULES:
        _import(name)
    time.tzset()  # reads the local time zone
    _look_up_user()
    if large:
        sys.path += libraries
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a forked child has none of the library's threads
        for name in (*LARGE, *_NUMPY_PARTS):
            _import(name)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(0)  # or every server would draw other numbers
        for name in packages:
            importlib.import_module(name)
        del os.environ["OPENBLAS_NUM_THREADS"]
        sys.path = sys.path[: len(sys.path) - len(libraries)]
        sys.path_importer_cache.clear()


def held_by_large(packages: Sequence[str]) -> frozenset[str]:
    """The names of modules that only the server with the large libraries may hold, and of what they lie in.

    What else lies in those packages goes without saying: see `imports`.
    """
    return with_packages([*LARGE, *packages]) - _HERE


def _look_up_user() -> None:
    """As `os.path.expanduser("~")` does: the C library then knows that there is no cache daemon to ask."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:  # a container's user without a name
        pass


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:  # not in this version of Python, or built without it
        pass


def with_packages(modules: Iterable[str]) -> frozenset[str]:
    """The names, and those of the packages they lie in."""
    parts = (name.split(".") for name in modules)
    return frozenset(".".join(path[: i + 1]) for path in parts for i in range(len(path)))


def names(code: CodeType) -> frozenset[str]:
    """Every name and string in a program, and what of a dotted one stands before a dot: a module that it
    imports, whichever way, is among them, as is the package it lies in, if the name is not put together as
    the program runs."""
    found: list[str] = []
    for part in _parts(code):
        found += part.co_names
        pending: list[Iterable[object]] = [part.co_consts]
        for constants in pending:
            for constant in constants:
                if isinstance(constant, str):
                    found.append(constant)
                elif isinstance(constant, (tuple, frozenset)):
                    pending.append(constant)
    return frozenset(found).union(with_packages(name for name in found if _may_be_dotted(name)))


def _may_be_dotted(name: str) -> bool:
    """No module's name is longer; of a long string of dots there would be a quadratic number of parts."""
    return "." in name and len(name) <= _LONGEST


def imports(code: CodeType, named: frozenset[str], modules: frozenset[str]) -> bool:
    """Whether a program, of which these are the `names`, imports one of `modules`, or what lies in one: all
    of a package is on the side of its root, but for what `MODULES` lists.

    A variable may be called `code` or `html`. For imports by function, a string that is a module's name
    will do; for those in text that is executed, any import.
    """
    if not modules:
        return False
    if not named.isdisjoint(EXECUTORS) and any("import" in text for text in named - _IMPORTERS):
        return True
    if named.isdisjoint(modules):
        return False
    if not named.isdisjoint(_IMPORTERS):
        return True
    instructions = (instruction for part in _parts(code) for instruction in dis.get_instructions(part))
    return any(i.opname == "IMPORT_NAME" and _is_of(i.argval, modules) for i in instructions)


def _is_of(name: str, modules: frozenset[str]) -> bool:
    return name in modules or (name.partition(".")[0] in modules and name not in _HERE)


def _parts(code: CodeType) -> Iterator[CodeType]:
    pending = [code]
    while pending:
        part = pending.pop()
        yield part
        pending += [constant for constant in part.co_consts if isinstance(constant, CodeType)]
