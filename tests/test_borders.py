"""The borders of the house: who may import whom, and what works where torch is not installed."""

import subprocess
import sys

import pytest
from sources import ROOT, imported_names

ROOMS = {"ppo", "models", "reward", "sandbox", "data", "report", "cli"}

ALLOWED = {
    "ppo": {"models", "data"},
    "models": set(),
    "reward": {"sandbox", "data"},
    "sandbox": set(),
    "data": set(),
    "report": set(),
    "cli": ROOMS,
}
TORCH_FREE = ("reward", "sandbox", "data", "report")

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
        assert not imported_names(path) & {"torch", "transformers", "peft"}, path.name


def test_reward_sandbox_and_data_work_where_torch_is_not_installed():
    program = BLOCK_TORCH + (
        "import reward, sandbox, data\n"
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
