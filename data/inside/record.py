"""A reference's answers to the calls that its checks make. Runs in the sandbox: data/harness.py.

One line for each call that returns: {"call": ..., "result": ...}, both as data/values.py writes them. A check
that fails, or anything else that raises, ends it with a status other than 0.
"""

import json
import os
import sys
from types import ModuleType
from typing import Any

from data.values import encode, encode_call


class Recorder:
    """Calls the reference and writes down what was asked and answered."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(2, 1)  # what the reference prints is no record
        self._inside = False

    def wrapped(self, function: Any) -> Any:
        """The function, recorded; not where it calls itself."""

        def recorded(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return function(*args, **kwargs)
            call = encode_call(args, kwargs)  # before the call, which may change them
            self._inside = True
            try:
                result = function(*args, **kwargs)
            finally:
                self._inside = False
            self._write({"call": json.loads(call), "result": json.loads(encode(result))})
            return result

        recorded.__name__ = getattr(function, "__name__", "recorded")
        return recorded

    def _write(self, row: dict[str, Any]) -> None:
        data = json.dumps(row).encode() + b"\n"
        while data:
            data = data[os.write(self._out, data) :]


def record(reference: str, checks: str, entry_point: str) -> None:
    """Run the checks on the reference: asserts at the top level, `check(candidate)`, functions `test_...`."""
    recorder = Recorder()
    names = _run(reference, "reference.py", {"__name__": "reference"})
    name, dot, method = entry_point.partition(".")
    if name not in names:
        raise NameError(f"the reference defines no {name}")
    whole = names[name]
    if dot:
        known = {method: recorder.wrapped(getattr(whole, method))}
        candidate = type(name, (whole,), known)
    else:
        candidate = recorder.wrapped(whole)
    module = sys.modules["solution"] = ModuleType("solution")  # tests of pytest's kind import it from there
    vars(module).update({**names, name: candidate})
    found = _run(checks, "checks.py", {**names, name: candidate, "__name__": "checks"})
    if "check" in found and found["check"] is not names.get("check"):
        found["check"](candidate)
    for key, value in list(found.items()):
        if key.startswith("test_") and callable(value) and value is not names.get(key):
            value()


def _run(text: str, file: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(compile(text, file, "exec", dont_inherit=True), names)
    return names
