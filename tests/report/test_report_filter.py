"""The stage filter of the sample browser, run by node on a few plain objects in place of a page."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import report

SCRIPT = (Path(report.__file__).parent / "page.js").read_text(encoding="utf-8")
PAGE = """
const made = (stages, open) => {
  const samples = stages.map((stage) => ({ hidden: false, dataset: { stage } }));
  return { open, hidden: false, samples, querySelectorAll: () => samples };
};
const iterations = [made(["parses", "passes"], false), made(["parses"], false), made(["prints"], true)];
const button = (stage) => ({
  dataset: stage ? { stage } : {},
  addEventListener(name, f) { this.click = f; },
  setAttribute(name, value) { this.pressed = value; },
});
const buttons = [button(), button("passes"), button("prints")];
globalThis.document = { querySelectorAll: (selector) => selector.includes("button") ? buttons : iterations };
"""
AFTER = """
const seen = [];
for (const index of [1, 2, 0]) {
  buttons[index].click();
  seen.push({
    shown: iterations.map((i) => (i.hidden || !i.open ? [] : i.samples.filter((s) => !s.hidden))
      .map((s) => s.dataset.stage)),
    listed: iterations.map((i) => !i.hidden),
    pressed: buttons.map((b) => b.pressed === "true"),
  });
}
console.log(JSON.stringify(seen));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_a_filter_opens_what_matches_and_all_puts_everything_back():
    program = f"{PAGE}\n{{\n{SCRIPT}\n}}\n{AFTER}"
    done = subprocess.run(["node", "-e", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    passes, prints, everything = json.loads(done.stdout)
    assert passes["shown"] == [["passes"], [], []] and passes["listed"] == [True, False, False]
    assert prints["shown"] == [[], [], ["prints"]] and prints["pressed"] == [False, False, True]
    assert everything["shown"] == [[], [], ["prints"]] and everything["listed"] == [True, True, True]
