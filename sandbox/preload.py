"""Modules every server imports before it forks: what contest programs use, and what those load lazily.

A preloaded module costs a program nothing. One that is missing here still imports, from disk.
"""

from __future__ import annotations

import importlib

MODULES = (
    # what programs import by name
    "__future__ abc array ast atexit base64 bisect calendar cmath codecs collections collections.abc "
    "contextlib copy dataclasses datetime decimal enum errno fcntl fractions functools gc hashlib heapq "
    "inspect io itertools json keyword linecache locale math mmap numbers operator os os.path pickle "
    "platform pprint queue random re resource select selectors signal stat statistics string struct sys "
    "tempfile textwrap threading time timeit token tokenize traceback types typing unicodedata warnings "
    "weakref zlib ctypes "
    # what those load on first use
    "_strptime _compat_pickle copyreg encodings.ascii encodings.idna encodings.latin_1 encodings.utf_8 "
    "encodings.utf_8_sig encodings.utf_16 encodings.cp1252 encodings.raw_unicode_escape "
    "encodings.unicode_escape stringprep reprlib opcode dis graphlib secrets hmac "
).split()


def load() -> None:
    """Import everything in `MODULES` that this interpreter has (some are gone in later versions)."""
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue
