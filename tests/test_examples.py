"""The worked examples work: the reward scores, the patches apply and pass the tests that they bring."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from mutation import copy_tree, run_tests
from sources import ROOT

from data import Problem, TestCase

PATCHES = sorted((ROOT / "examples").glob("*.patch"))
NAMES = ["jeffreys"]
"""What the patches bring, as their tests call it"""


def test_there_are_one():
    assert [path.stem for path in PATCHES] == ["kl_estimator"]
    shown = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert all(f"]({path.name})" in shown for path in [*PATCHES, ROOT / "examples" / "reward.py"])


def test_the_reward_is_the_projects_minus_a_price():
    """Of a right program, of one that only prints, of one that does not parse, and of a long one."""
    from cli.scoring import FunctionScorer

    problem = Problem("a", "Print n + 1.", (TestCase("1\n", "2\n"),))
    programs = {
        "print(int(input()) + 1)\n": 1.0,
        "print(7)\n": 0.6,
        "print(": 0.0,
        "#" * 4000 + "\nprint(2)\n": 0.0,  # its price is more than it earns
    }
    example = FunctionScorer(f"{ROOT / 'examples' / 'reward.py'}:score")
    found = example([(problem, program) for program in programs], 0)
    for score, (program, reward) in zip(found, programs.items(), strict=True):
        assert score is not None and score.metrics["reward/price"] == 0.0005 * len(program)
        assert score.total == pytest.approx(max(0.0, reward - 0.0005 * len(program)))
    assert [score.kind for score in found if score] == ["passes", "prints", "syntax_error", "passes"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git applies the patches")
def test_patches_apply_and_pass_their_tests(tmp_path):
    """All in one copy of the sources, with the tests of the settings: every field is read and explained.

    Of the table of options the rows that a patch brings: the others are run on the sources as they are.
    """
    tree, brought = copy_tree(tmp_path), []
    for patch in PATCHES:
        done = subprocess.run(["git", "apply", str(patch)], cwd=tree, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        brought += re.findall(r"^\+\+\+ b/(tests/\S+)", patch.read_text(encoding="utf-8"), flags=re.M)
    assert len(brought) == 2 * len(PATCHES)
    chosen = ["-v", "-k", f"{' or '.join(NAMES)} or test_ppo_config or every_field"]
    done = run_tests(tree, [*sorted({*brought, "tests/ppo/test_ppo_config.py"}), *chosen])
    assert done.returncode == 0, done.stdout[-2000:]
    for path in brought:
        assert Path(path).name in done.stdout, "none of its tests was run"
