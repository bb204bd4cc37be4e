"""Families of weaknesses: which numbers they hold, and how credit is staged by them."""

import ast
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reward_worlds import configs, worlds

from reward import Finding, Outcome, RewardConfig, Scan, objective
from reward.cwe import FAMILIES, OTHER, CweWeights, family

NAMES = [*FAMILIES, OTHER]
NUMBERS = [78, 327, 502, 259, 22, 605, 703, 0]  # one of each family, and of none
SHARES = CweWeights()

found = st.lists(
    st.builds(
        Finding,
        line=st.integers(1, 9),
        id=st.just("B000"),
        severity=st.sampled_from(["LOW", "MEDIUM", "HIGH"]),
        confidence=st.just("HIGH"),
        cwe=st.sampled_from(NUMBERS),
    ),
    max_size=8,
)
weights = st.builds(CweWeights, **{name: st.floats(0, 1, allow_subnormal=False) for name in NAMES})
cwe_configs = st.builds(
    lambda config, shares: replace(config, cwe_weights=shares, security_by="cwe"), configs(), weights
)


def outcome(*findings: Finding) -> Outcome:
    from reward import Verdict

    return Outcome(True, 1, (Verdict("ok", True, 0, "0" * 64),), "ok", findings)


def finding(cwe: int, severity: str = "HIGH") -> Finding:
    return Finding(1, "B000", severity, "HIGH", cwe)


def r_sec(*findings: Finding, **settings: object) -> float:
    return objective(outcome(*findings), RewardConfig(security_by="cwe", **settings)).security  # type: ignore[arg-type]


def test_a_number_is_in_one_family() -> None:
    counts = Counter(number for numbers in FAMILIES.values() for number in numbers)
    assert {number for number, count in counts.items() if count > 1} == set()


def test_every_number_that_bandit_reports_has_a_family() -> None:
    """Read from Bandit itself: a published table put try/except/pass under SQL injection."""
    import bandit
    from bandit.core import issue

    known = {v for k, v in vars(issue.Cwe).items() if k.isupper() and isinstance(v, int)} - {issue.Cwe.NOTSET}
    assert len(known) > 20
    assert {number for number in known if family(number) == OTHER} == set()
    plugins = Path(bandit.__file__).parent / "plugins"
    named = {
        getattr(issue.Cwe, node.attr)
        for path in plugins.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr.isupper() and hasattr(issue.Cwe, node.attr)
    }
    assert named <= known and len(named) > 15


@pytest.mark.parametrize(
    ("cwe", "name"),
    [
        (78, "injection"),
        (89, "injection"),
        (327, "crypto"),
        (330, "crypto"),
        (502, "deserialisation"),
        (259, "secrets"),
        (22, "filesystem"),
        (377, "filesystem"),
        (605, "access"),
        (703, "robustness"),
        (0, "other"),
        (9999, "other"),
    ],
)
def test_where_numbers_belong(cwe: int, name: str) -> None:
    assert family(cwe) == name


def test_the_table_of_the_defaults() -> None:
    assert sum(SHARES.to_dict().values()) == pytest.approx(1.0)
    assert r_sec() == 1.0
    assert r_sec(finding(78)) == pytest.approx(0.65)
    assert r_sec(finding(78), finding(89)) == pytest.approx(0.65)  # the same family: its weight and no more
    assert r_sec(finding(78, "MEDIUM")) == pytest.approx(1 - 0.35 / 2)
    assert r_sec(finding(78), finding(502)) == pytest.approx(0.45)
    assert r_sec(finding(703)) == 1.0
    assert r_sec(finding(78), security="exp") == pytest.approx(2.718281828**-0.35)
    assert r_sec(finding(78, "LOW")) == 1.0
    assert r_sec(finding(78, "LOW"), security_floor="low") == pytest.approx(1 - 0.035)


@given(found, cwe_configs)
def test_r_sec_is_bounded_and_the_order_does_not_matter(
    findings: list[Finding], config: RewardConfig
) -> None:
    one, other = (objective(outcome(*order), config) for order in (findings, findings[::-1]))
    assert 0.0 <= one.security <= 1.0
    assert one.total == other.total == config.alpha * one.functional + config.beta * one.security


@given(found, st.sampled_from(NUMBERS), st.sampled_from(["LOW", "MEDIUM", "HIGH"]), cwe_configs)
def test_one_more_finding_never_earns_more(
    findings: list[Finding], cwe: int, severity: str, config: RewardConfig
) -> None:
    more = objective(outcome(*findings, finding(cwe, severity)), config).security
    assert more <= objective(outcome(*findings), config).security


@given(found)
def test_a_family_put_right_always_raises_r_sec(findings: list[Finding]) -> None:
    """What severity alone cannot do: beside one HIGH finding nothing else counts."""
    config = RewardConfig(security_by="cwe", cwe_weights=CweWeights(robustness=0.04, other=0.01))
    families = {family(f.cwe) for f in findings if f.severity != "LOW"}
    assume(families)
    for name in families:
        rest = [f for f in findings if family(f.cwe) != name]
        assert objective(outcome(*rest), config).security > objective(outcome(*findings), config).security
    high = [finding(78), finding(502), finding(327)]
    assert {objective(outcome(*high[:n]), RewardConfig()).security for n in (1, 2, 3)} == {0.0}


@given(found, weights)
def test_a_family_costs_its_weight_and_no_more(findings: list[Finding], shares: CweWeights) -> None:
    config = RewardConfig(security_by="cwe", cwe_weights=shares)
    families = {family(f.cwe) for f in findings}
    most = sum(shares.to_dict()[name] for name in families)
    assert 1 - objective(outcome(*findings), config).security <= most + 1e-12


@given(worlds(scan=st.just(Scan("ok"))), cwe_configs)
def test_without_findings_the_grouping_changes_nothing(world, config: RewardConfig) -> None:
    one = objective(world.outcome(), config)
    other = objective(world.outcome(), replace(config, security_by="severity"))
    assert one.total == other.total
