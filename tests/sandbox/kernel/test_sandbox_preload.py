"""Which server a program runs on, by what it imports."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Run, Status
from sandbox.kernel import preload

LARGE = preload.held_by_large(("pairs",))
PACKAGES = sorted({name.partition(".")[0] for name in LARGE})
FORMS = (
    "import {}",
    "import {} as name",
    "from {} import name",
    "def f():\n    from {} import name",
    "__import__('{}')",
    "import importlib\nimportlib.import_module('{}')",
)
parts = st.lists(st.sampled_from(["linalg", "handlers", "e", "_x"]), max_size=3)


def goes_to_large(program: str) -> bool:
    code = compile(program, "program.py", "exec")
    return preload.imports(code, preload.names(code), LARGE)


@given(st.sampled_from(FORMS), st.sampled_from(PACKAGES), parts)
def test_a_part_of_a_package_is_where_the_package_is(form: str, package: str, inner: list[str]) -> None:
    assert goes_to_large(form.format(".".join([package, *inner])))


@given(
    st.sampled_from(FORMS[:4]), st.sampled_from(preload.MODULES[1:])
)  # no __future__, of which not every name can be asked
def test_what_the_first_server_holds_needs_no_second(form: str, module: str) -> None:
    assert not goes_to_large(form.format(module))


@given(st.sampled_from(PACKAGES))
def test_a_name_alone_is_no_import(name: str) -> None:
    assert not goes_to_large(f"import sys\nprint({name!r}, '{name}.part', sys.{name}.part)")


def test_a_long_string_of_dots_has_no_parts() -> None:
    names = preload.names(compile(f"x = {'a.' * 3_000!r}", "program.py", "exec"))
    assert len(names) == 2  # of 60,000 characters they would be a gigabyte


ALONE = (
    "from numpy.linalg import norm",
    "from numpy.fft import rfft, irfft",
    "import numpy.random as r",
    "from numpy.polynomial import Polynomial",
    "from html.entities import name2codepoint",
    "from email.utils import parseaddr",
    "from logging.handlers import RotatingFileHandler",
    "import logging.config as c",
    "from unittest.case import TestCase",
    "from xml.parsers.expat import ParserCreate",
    "from http.cookiejar import CookieJar",
    "from concurrent.futures.process import ProcessPoolExecutor",
    "from curses.ascii import isdigit",
    "from urllib.robotparser import RobotFileParser",
    "__import__('logging.handlers')",
    "from concurrent.futures.thread import ThreadPoolExecutor as T\nT(9).submit(print, 1)",
    "import importlib.util\nassert importlib.util.find_spec('sys')",
    "from importlib import util",
    "from importlib.abc import Loader",
    "import sre_parse, sre_compile, sre_constants",
)


@pytest.mark.parametrize("program", ALONE)
def test_a_part_can_be_imported_alone(program: str, one: Callable[..., Run]) -> None:
    if "numpy" in program:
        pytest.importorskip("numpy")
    run = one(program)
    assert run.status is Status.OK, run.stderr
