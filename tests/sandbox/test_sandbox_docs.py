"""docs/sandbox.md says what is so."""

import re
import subprocess
import sys
from pathlib import Path

from sandbox import selftest
from sandbox.worker import RECYCLE_RUNS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "sandbox.md").read_text()


def test_the_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split(" ", 1)[1] == "[('OK', b'42\\n'), ('OK', b'2\\n')]\n", done.stderr


def test_numbers_are_those_of_the_code() -> None:
    assert f"runs {len(selftest.PROBES)} probes" in TEXT
    assert f"replaced after {RECYCLE_RUNS:,} runs" in TEXT


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(links) > 2
    assert all((ROOT / "docs" / link).exists() for link in links if "://" not in link)
