"""The script a scan process is started on: `python -P -W ignore boot.py`, standard input a socket."""

import sys
from os.path import dirname
from types import ModuleType

# A bare package: `reward/__init__.py` would import sandbox, data and the caller's half of the scan.
_package = ModuleType("reward")
_package.__path__ = [dirname(dirname(__file__))]
sys.modules["reward"] = _package

from reward.scan.worker import serve  # noqa: E402

serve()
