"""The script of a server process: `python -S -s -P -X utf8 boot.py <arguments of server.Settings>`.

`serve` returns only in a forked child, with a program to run. The child therefore runs its program here, at
the bottom of the stack: the recursion limit counts as under `python prog.py`, and no frame of the server is
left that a program which breaks `os._exit` could return into.
"""

import sys
from os.path import dirname
from types import ModuleType

# A bare package: `sandbox/__init__.py` would import the caller's half (subprocess, threads) into every child.
_package = ModuleType("sandbox")
_package.__path__ = [dirname(__file__)]
sys.modules["sandbox"] = _package

from sandbox.server import serve  # noqa: E402

program = serve(sys.argv[1:])
while True:
    code, namespace = program.start()
    try:
        exec(code, namespace)
    except BaseException as error:
        program.failed(error)
    del code, namespace
    program.finish()  # returns only with another input for the same program
