"""The script of a server process: `python -S -s -P -X utf8 boot.py <arguments of server.Settings>`.

`serve` yields only in a forked child, once, with the program to run. The child therefore runs it here, at
the bottom of the stack: the recursion limit counts as under `python prog.py`, and no frame of the server is
left that a program which breaks `os._exit` could return into. A generator, not a function that returns: what
the server holds stays held, for a child that freed it would touch, and so copy, every page it lies on.
"""

import sys
from os.path import dirname
from types import ModuleType

# A bare package: `sandbox/__init__.py` would import the caller's half (subprocess, threads) into every child.
_package = ModuleType("sandbox")
_package.__path__ = [dirname(dirname(__file__))]
sys.modules["sandbox"] = _package

from sandbox.server.serve import serve  # noqa: E402

serving = serve(sys.argv[1:])
program = next(serving)
while True:
    code, namespace = program.start()
    try:
        exec(code, namespace)
    except BaseException as error:
        program.ended(error)
    else:
        program.ended(None)
    del code, namespace
    program.finish()  # returns only with another input for the same program
