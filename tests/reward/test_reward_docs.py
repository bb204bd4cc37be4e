"""docs/reward.md is true: its tests exist, its settings parse, its figures are what the commands print."""

import json
import re
from pathlib import Path

import pytest
from sentinel_corpus import HACKS, HONEST

from benchmarks import hard_problems
from benchmarks.reward import table as cost_table
from data.comparison import NAMES
from reward import RewardConfig, Stage, objective
from reward.hacking.sentinels import NAMES as SENTINELS
from reward.scan.checks import MAX_LOOKS
from reward.scan.worker import BANDIT_VERSION, MAX_DEPTH, MAX_HELD, MAX_IMPORTS, MAX_NAME, MAX_NODES
from reward.schedule import KINDS, ScheduleConfig
from reward.shaping import KINDS as PROGRAMS
from reward.shaping import report

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "reward.md").read_text(encoding="utf-8")
TESTS = [*(ROOT / "tests" / "reward").rglob("test_*.py"), ROOT / "tests" / "cli" / "test_scoring.py"]
SUITE = "".join(path.read_text(encoding="utf-8") for path in TESTS)
CONTRACT = DOCS[DOCS.index("## The contract") : DOCS.index("## What the weights imply")]


def test_every_line_of_the_contract_names_tests_that_exist() -> None:
    rows = [line for line in CONTRACT.splitlines() if line.startswith("| ") and "`test_" in line]
    assert len(rows) >= 25
    for name in re.findall(r"`(test_\w+)`", DOCS):
        if name != "test_reward_mutation":
            assert f"def {name}(" in SUITE, name


def test_the_ladder_is_the_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| ([\d.]+)", DOCS[: DOCS.index("The five credits")], flags=re.M)
    expected = [
        (stage.label, credit) for stage, credit in zip(Stage, RewardConfig().stage_credits, strict=True)
    ]
    assert [(name, float(credit)) for name, credit in rows[:4]] == expected[:4]
    assert rows[4][0] == "passes" and "0.6 + 0.4 · k/T" in DOCS


def test_what_the_weights_imply_is_so() -> None:
    default = RewardConfig()
    totals = {kind: objective(outcome, default).total for kind, outcome in PROGRAMS.items()}
    assert totals["constant"] == totals["syntax error"] == 0.0
    assert totals["crash"] == pytest.approx(0.2) and totals["silent"] == pytest.approx(0.4)
    assert totals["wrong"] == pytest.approx(0.6) and totals["one in five"] == pytest.approx(0.68)
    paper = RewardConfig(security_gate="off", pay_idle=True, withhold=())
    assert objective(PROGRAMS["constant"], paper).total == pytest.approx(0.808)
    assert "earns 0.68, a wrong one 0.6, a crash 0.2" in DOCS and "a constant 0.76 (0.808 where" in DOCS


def test_the_audit_is_what_the_command_prints() -> None:
    assert report() in DOCS


def test_every_comparison_and_schedule_is_described() -> None:
    for name in (*NAMES, *KINDS):
        assert re.search(rf"^\| `{name}[`(]", DOCS, flags=re.M), name
    for field in ("switch_at", "over", "start", "end", "anneal_at", "anneal_over", "difficulty_memory"):
        assert f"`{field}`" in DOCS and hasattr(ScheduleConfig(), field)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", DOCS):
        assert (ROOT / "docs" / target).exists(), target


def test_the_settings_of_security_are_described_with_their_defaults() -> None:
    default = RewardConfig()
    for name in ("security", "security_floor", "security_by"):
        assert f"| `{name}` | `{getattr(default, name)}` |" in DOCS
    weights = ", ".join(f"{getattr(default, f'weight_{level}'):g}" for level in ("high", "medium", "low"))
    assert f"`weight_low` | {weights} |" in DOCS and f"| `weight_trick` | {default.weight_trick:g} |" in DOCS
    for name, weight in default.cwe_weights.to_dict().items():
        assert f"{name} {weight:g}" in DOCS, name
    assert f"Bandit {BANDIT_VERSION}" in DOCS and f"beyond {MAX_DEPTH} levels" in DOCS
    assert f"more than {MAX_NODES:,} nodes" in DOCS and f"more than {MAX_NAME:,} characters" in DOCS
    assert f"more than {MAX_IMPORTS} names imported, more than {MAX_HELD:,}\nnodes within calls" in DOCS
    assert f"more than {MAX_LOOKS:,} steps" in DOCS


def test_every_sentinel_is_described() -> None:
    for name in SENTINELS:
        assert re.search(rf"^\| `{name}` \| ", DOCS, flags=re.M), name
    assert f"all {len(HACKS)} tricks are seen and none of {len(HONEST)} honest programs" in DOCS


def test_the_costs_are_those_of_the_benchmarks_result() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "reward.json").read_text())
    assert cost_table(result) in DOCS


@pytest.mark.parametrize("name", ["hard_problems", "hard_problems_honest", "hard_problems_smollm2"])
def test_what_objectives_make_of_hard_problems_is_the_benchmarks_result(name: str) -> None:
    """The arms that the benchmark still has; the file keeps those that were tried and left out, too."""
    result = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    assert hard_problems.table([run for run in result["runs"] if run["arm"] in hard_problems.ARMS]) in DOCS


def test_what_objectives_make_of_easy_problems_is_the_benchmarks_result() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "hard_problems_easy.json").read_text())
    assert hard_problems.easy_table(result["runs"]) in DOCS
