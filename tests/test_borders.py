"""The borders of the house: who may import whom, and what works where torch is not installed."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest
from sources import ROOT, imported_modules, imported_names

ROOMS = {"ppo", "models", "reward", "sandbox", "data", "evaluation", "report", "cli"}

ALLOWED = {
    "ppo": {"models", "data"},
    "models": set(),
    "reward": {"sandbox", "data"},
    "sandbox": set(),
    "data": set(),
    "evaluation": set(),
    "report": {"evaluation"},
    "cli": ROOMS,
}
TORCH_FREE = ("reward", "sandbox", "data", "evaluation", "report")
# Its caller wants tensors, and has torch: imported in the call.
TENSORS_WANTED = {"reward/adapters/openrlhf.py"}

FLOORS = {
    # What a floor may import of its own room: those below it. A folder is a floor, and so are single files.
    "sandbox": ["sandbox/kernel", "sandbox/child", "sandbox/server", "sandbox"],
    "ppo": ["ppo", "ppo/run", "ppo/loop.py"],
    "reward": ["reward/scan", "reward/hacking"],
}
"""Inner rooms, lowest first. The caller of the sandbox starts a server, which forks children; all three talk
to the kernel. What keeps a run knows the algorithm and not the other way; the loop stands on both."""

INNER = sorted(path.parent for room in ROOMS for path in (ROOT / room).glob("*/__init__.py"))

BLOCK_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "peft"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_rooms_import_one_way(room):
    for path in (ROOT / room).rglob("*.py"):
        foreign = (imported_names(path) & ROOMS) - ALLOWED[room] - {room}
        assert not foreign, f"{path.name} imports {foreign}"


@pytest.mark.parametrize("room", TORCH_FREE)
def test_no_torch_in_the_source(room):
    for path in (ROOT / room).rglob("*.py"):
        if str(path.relative_to(ROOT)) not in TENSORS_WANTED:
            assert not imported_names(path) & {"torch", "transformers", "peft"}, path.name


@pytest.mark.parametrize("room", sorted(FLOORS))
def test_inner_rooms_import_downwards(room):
    for path in (ROOT / room).rglob("*.py"):
        height = floor(room, str(path.relative_to(ROOT)))
        for module in imported_modules(path):
            above = floor(room, module.replace(".", "/") + ".py")
            assert height is None or above is None or above <= height, f"{path.name} imports {module}"


def floor(room: str, path: str) -> int | None:
    """The floor of a file of a room, by the most specific entry; None where no rule says."""
    fits = [entry for entry in FLOORS[room] if path == entry or path.rpartition("/")[0] == entry]
    return FLOORS[room].index(max(fits, key=len)) if fits else None


def test_what_every_entry_point_does_imports_nothing_of_ours():
    assert imported_names(ROOT / "entry.py") <= sys.stdlib_module_names


def test_floors_are_told_apart():
    assert floor("sandbox", "sandbox/kernel/wire.py") == 0 and floor("sandbox", "sandbox/pool.py") == 3
    assert floor("ppo", "ppo/losses.py") == 0 and floor("ppo", "ppo/loop.py") == 2
    assert floor("reward", "reward/scorer.py") is None


def test_modules_make_no_circle():
    paths = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    modules = {module_name(path): imported_modules(path) for path in paths}
    graph = {name: sorted(found & modules.keys() - {name}) for name, found in modules.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def module_name(path: Path) -> str:
    """`ppo/run/log.py` -> `ppo.run.log`; a package goes by its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("package", INNER, ids=lambda path: path.name)
def test_inner_packages_hand_nothing_on(package):
    """Some are run by path, where their package is a bare one; and names handed on make circles."""
    assert (package / "__init__.py").read_text(encoding="utf-8") == ""


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_name_handed_on_is_not_that_of_another_module(room):
    """`data.demonstrations` would be the function, or the file of that name, by what was imported last."""
    tree = ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for name in (alias.asname or alias.name for alias in node.names):
                taken = (ROOT / room / f"{name}.py").exists() or (ROOT / room / name).is_dir()
                assert not taken or node.module == f"{room}.{name}", f"{room} hands on {name}"


def test_reward_sandbox_and_data_work_where_torch_is_not_installed():
    program = BLOCK_TORCH + (
        "import reward, sandbox, data, reward.adapters.openrlhf\n"
        "from data import Problem, TestCase\n"
        "problem = Problem(id='a', prompt='Print 1.', tests=(TestCase('', '1'),))\n"
        "with reward.Scorer(workers=1) as scorer:\n"
        "    print(scorer.score([(problem, 'print(1)')])[0].total)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1.0"


def test_the_blocker_of_the_test_above_blocks():
    done = subprocess.run(
        [sys.executable, "-c", BLOCK_TORCH + "import torch"], capture_output=True, text=True
    )
    assert "ModuleNotFoundError" in done.stderr
