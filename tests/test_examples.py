"""The worked examples work: the reward scores, the patches apply and pass the tests that they bring."""

import re
import shutil
import subprocess

import pytest
from mutation import copy_tree, run_tests
from sources import ROOT

from data import Problem, TestCase

PATCHES = sorted((ROOT / "examples").glob("*.patch"))


def test_there_are_three():
    assert [path.stem for path in PATCHES] == ["advantage", "kl_estimator"]
    shown = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert all(f"]({path.name})" in shown for path in [*PATCHES, ROOT / "examples" / "reward.py"])


def test_the_reward_is_the_projects_minus_a_price():
    """1 - price for a right program, 0.76 - price for one that only prints; never below 0; a group each."""
    from cli.scoring import FunctionScorer
    from reward import Scorer

    problem = Problem("a", "Print n + 1.", (TestCase("1\n", "2\n"),))
    programs = ["print(int(input()) + 1)\n", "print(7)\n", "print(", "#" * 4000 + "\nprint(2)\n"]
    example = FunctionScorer(f"{ROOT / 'examples' / 'reward.py'}:score")
    found = example([(problem, program) for program in programs], 0)
    with Scorer(workers=1) as scorer:
        plain = scorer.score([(problem, program) for program in programs])
    for score, reward, program in zip(found, plain, programs, strict=True):
        assert score is not None and reward is not None
        assert score.total == pytest.approx(max(0.0, reward.total - 0.0005 * len(program)))
        assert score.group == reward.group and "reward/price" in score.metrics
    assert [score.total for score in found if score][2:] == [0.0, 0.0]


@pytest.mark.skipif(shutil.which("git") is None, reason="git applies the patches")
@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.stem)
def test_patches_apply_and_pass_their_tests(patch, tmp_path):
    """In a copy of the sources, with the tests of the settings, which want every field read and explained."""
    tree = copy_tree(tmp_path)
    done = subprocess.run(["git", "apply", str(patch)], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    brought = re.findall(r"^\+\+\+ b/(tests/\S+)", patch.read_text(encoding="utf-8"), flags=re.M)
    assert brought
    done = run_tests(tree, [*brought, "tests/ppo/test_ppo_config.py"])
    assert done.returncode == 0, done.stdout[-2000:]
