"""A reference's answers to the calls that its checks make. Runs in the sandbox: data/harness.py.

One line for each call that returns: {"call": ..., "result": ...}, both as data/values.py writes them, and
"security": true where the checks have said that this is what they ask for. A check that fails, or anything
else that raises, ends it with a status other than 0.
"""

import sys
from json import dumps, loads
from os import dup, dup2, write
from types import ModuleType
from typing import Any

from data.values import encode, encode_call


class Recorder:
    """Calls the reference and writes down what was asked and answered."""

    def __init__(self) -> None:
        self._out = dup(1)
        dup2(2, 1)  # what the reference prints is no record
        self._inside = False
        self._security = False

    def security_tests(self, on: bool = True) -> None:
        """What is called from now on asks whether the reference is secure, not whether it works."""
        self._security = on

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the function returns; written down unless it calls itself."""
        if self._inside:
            return function(*args, **kwargs)
        call = encode_call(args, kwargs)  # before the call, which may change them
        self._inside = True
        try:
            result = function(*args, **kwargs)
        finally:
            self._inside = False
        told = {"security": True} if self._security else {}
        self._write({"call": loads(call), "result": loads(encode(result)), **told})
        return result

    def function(self, function: Any) -> Any:
        """The function, recorded."""
        return lambda *args, **kwargs: self.call(function, args, kwargs)

    def subclass(self, base: Any, name: str) -> Any:
        """The class, its method of that name recorded."""

        def method(instance: Any, *args: Any, **kwargs: Any) -> Any:
            return self.call(getattr(super(recorded, instance), name), args, kwargs)

        recorded = type(base.__name__, (base,), {name: method})
        return recorded

    def _write(self, row: dict[str, Any]) -> None:
        data = dumps(row).encode() + b"\n"
        while data:
            data = data[write(self._out, data) :]


def record(reference: str, checks: str, entry_point: str) -> None:
    """Run the checks on the reference: asserts at the top level, `check(candidate)`, functions `test_...`."""
    recorder = Recorder()
    names = _run(reference, "reference.py", {"__name__": "reference"})
    name, dot, method = entry_point.partition(".")
    if name not in names:
        raise NameError(f"the reference defines no {name}")
    candidate = recorder.subclass(names[name], method) if dot else recorder.function(names[name])
    module = sys.modules["solution"] = ModuleType("solution")  # tests of pytest's kind import it from there
    known = {**names, name: candidate}
    vars(module).update(known, security_tests=recorder.security_tests)
    found = _run(checks, "checks.py", {**known, "__name__": "checks"})
    own = {key: value for key, value in found.items() if value is not known.get(key)}
    if "check" in own:
        own["check"](candidate)
    for key, value in own.items():
        if key.startswith("test_") and callable(value):
            value()


def _run(text: str, file: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(compile(text, file, "exec", dont_inherit=True), names)
    return names
