"""Other trainers beside this one: what their scripts may import, turns on one core, ratios."""

import re
import sys

import pytest
from sources import ROOT, imported_modules, imported_names

from benchmarks.peers.meter import Meter
from benchmarks.peers.run import compare, ratios, table

PEERS = ROOT / "benchmarks" / "peers"
SHARED = {"benchmarks.peers.meter", "benchmarks.peers.task"}


@pytest.mark.parametrize("name", ["trl_classic", "trl_last"])
def test_a_peer_needs_what_its_venv_has_and_nothing_of_this_project(name):
    named = {re.split(r"[=\s]", line)[0] for line in (PEERS / f"{name}.txt").read_text().splitlines()}
    named |= {"datasets"}  # which TRL needs itself
    for path in (PEERS / f"{name}.py", PEERS / "meter.py", PEERS / "task.py"):
        foreign = imported_names(path) - set(sys.stdlib_module_names) - {"benchmarks"}
        assert foreign <= named, path.name
        ours = {module for module in imported_modules(path) if module.startswith("benchmarks")}
        assert ours <= SHARED, path.name


TRAINER = """
import sys
sys.path[0] = {root!r}
from benchmarks.peers.meter import Meter
name, steps = {name!r}, {steps}
meter = Meter(in_turn=True)
for step in range(steps):
    meter.begin()
    print("chatter of a library")
    open({order!r}, "a").write(f"{{name}}{{step}} ")
    meter.mark("rollout")
    meter.end()
import json
json.dump(meter.report(8), open(sys.argv[sys.argv.index("--json") + 1], "w"))
"""


def commands(tmp_path, **steps):
    order = tmp_path / "order"
    found = {}
    for name, count in steps.items():
        script = tmp_path / f"{name}.py"
        script.write_text(TRAINER.format(root=str(ROOT), name=name, steps=count, order=str(order)))
        found[name] = [sys.executable, str(script)]
    return found, order


def test_processes_take_a_step_each_in_turn(tmp_path):
    started, order = commands(tmp_path, a=3, b=3, c=2)
    found = compare(started, tmp_path)
    assert order.read_text().split() == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2"]
    assert [len(found[name]["cpu.steps"]) for name in "abc"] == [2, 2, 1]


def test_one_that_fails_says_why(tmp_path):
    (tmp_path / "a.py").write_text("raise ValueError('no such model')")
    with pytest.raises(SystemExit, match="no such model"):
        compare({"a": [sys.executable, str(tmp_path / "a.py")]}, tmp_path)


def test_a_meter_counts_memory_that_lived_for_a_moment():
    meter = Meter(in_turn=False)
    meter.begin()
    meter.mark("other")
    bytearray(2**28)
    meter.mark("rollout")
    meter.end()
    found = meter.report(1)
    assert found["rss.rollout"] - found["rss.other"] == pytest.approx(0.25, abs=0.02)
    assert found["rss.above_imports"] == pytest.approx(0.25, abs=0.05)
    assert found["rss.steps"] == [found["rss.peak"]] == [found["rss.rollout"]]


def figures(steps, rollout, memory, **more):
    speed = {"tokens_per_second": 100 / rollout, "cpu.rollout": rollout, "rss.peak": memory + 0.5}
    return {"cpu.steps": steps, "cpu.total": steps[0], "rss.above_imports": memory, **speed, **more}


def test_ratios_are_of_steps_in_the_same_round():
    """A round in which the machine was slow for both says the same as the others."""
    found = {
        "ours": figures([1.0, 9.0, 2.0], 2.0, 0.3, **{"cpu.update": 1.0}),
        "other": figures([2.0, 18.0, 4.0], 3.0, 0.6, **{"cpu.update": 1.0}),
        "sampler": figures([1.0, 1.0, 1.0], 4.0, 0.1),
    }
    against = ratios(found)
    assert against["other"] == {"cpu.total": 0.5, "tokens_per_second": 1.5, "rss.above_imports": 0.5}
    assert against["sampler"] == {"tokens_per_second": 2.0}
    shown = table(found, against).splitlines()
    assert len(shown) == 5 and shown[3].endswith("| 0.50 | 1.50 | 0.50 |") and "| – | 2.00 | – |" in shown[4]
