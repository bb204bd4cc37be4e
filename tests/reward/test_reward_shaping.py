"""The shaping audit: proofs by enumeration, and a check that the checker finds what is planted."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reward_worlds import configs

from data.problems import Problem, TestCase
from reward import RewardConfig, Scorer, objective
from reward.objective import true_objective
from reward.shaping import (
    FAILURES,
    KINDS,
    Drafting,
    Valued,
    break_even,
    flip,
    main,
    one_draft,
    policies,
    potential_rewards,
    several_drafts,
    solves,
    total,
)

LADDER = RewardConfig()
PAPER = RewardConfig(security_gate="off")
GATES = {"off": 0.60, "parses": 0.76, "earned": 0.60}


# --- the checker


def test_the_enumeration_is_complete_and_made_of_distributions() -> None:
    enumerated = dict(policies(10))
    assert len(enumerated) == len(KINDS) + 9 * len(FAILURES)
    assert all(sum(chances.values()) == 1 for chances in enumerated.values())
    assert len(list(Drafting(0.5).policies())) == 3**7


@given(
    st.lists(st.tuples(st.integers(0, 3).map(float), st.integers(0, 5).map(float)), min_size=1, max_size=8)
)
def test_a_flip_is_found_exactly_where_there_is_one(pairs: list[tuple[float, float]]) -> None:
    """Against all pairs, one by one."""
    valued = [Valued(str(i), true, reward) for i, (true, reward) in enumerate(pairs)]
    lost = [b.reward - a.reward for a in valued for b in valued if a.true > b.true and a.reward <= b.reward]
    found = flip(valued)
    assert (found is None) == (not lost)
    if found is not None:
        better, worse = found
        assert better.true > worse.true and worse.reward - better.reward == max(lost)


# --- one draft


@pytest.mark.parametrize("gate", GATES)
def test_the_ladder_flips_exactly_below_its_bound(gate: str) -> None:
    """A wrong answer against a policy that solves with probability q and does not parse otherwise."""
    score = total(replace(LADDER, security_gate=gate))  # type: ignore[arg-type]
    values = {v.policy: v for v in one_draft(score)}
    printer = values["always wrong"]
    losing = [
        q
        for q in range(1, 100)
        if values[f"{q / 100:.2f} solution, else syntax error"].reward < printer.reward - 1e-9
    ]
    bound = GATES[gate]
    assert losing == list(range(1, round(100 * bound)))
    assert break_even(score) == pytest.approx(bound)
    assert printer.true == 0.0  # it solves nothing: every one of them is truly better
    assert flip(one_draft(score)) is not None


@given(configs(mode="partial", top_step=0.01, smallest_weight=0.01), st.sampled_from(FAILURES))
def test_the_bound_is_where_the_two_earn_the_same(config: RewardConfig, fallback: str) -> None:
    score = total(config)
    q = break_even(score, "wrong", fallback)
    assert 0.0 <= q <= 1.0
    if q > 0.0:
        mixture = q * score(KINDS["solution"]) + (1 - q) * score(KINDS[fallback])
        assert mixture == pytest.approx(score(KINDS["wrong"]))


@given(configs(smallest_weight=0.01))
def test_the_true_objective_keeps_every_order(config: RewardConfig) -> None:
    """A form that passes, with any weights: what fails earns one and the same."""
    assert flip(one_draft(total(true_objective(config)), 20)) is None


@given(configs(mode="partial", smallest_weight=0.01))
def test_order_is_kept_exactly_where_all_failures_earn_the_same(config: RewardConfig) -> None:
    """Both ways: no dense reward on finished programs keeps every order, and no other one loses any."""
    score = total(config)
    failures = [score(KINDS[kind]) for kind in FAILURES]
    alike = max(failures) - min(failures) <= 1e-9 and score(KINDS["solution"]) > max(failures) + 1e-9
    # 0.01 of a solution against none: a difference among failures of 0.01 or more cannot hide in the grid.
    if alike or max(failures) - min(failures) > 0.02 or score(KINDS["solution"]) <= max(failures):
        assert (flip(one_draft(score)) is None) == alike


@given(st.floats(0.01, 1.0))
def test_a_mix_flips_only_below_its_share_of_the_bound(weight: float) -> None:
    """What annealing does: at weight w printing beats solving below 0.6 w, so at 0 nowhere."""
    assert break_even(total(LADDER, weight)) == pytest.approx(0.6 * weight)


def test_the_kinds_earn_what_real_programs_earn(scorer: Scorer) -> None:
    """The toy's outcomes are those of programs on a real problem of five tests."""
    tests = tuple(TestCase(f"{n}\n", f"{n + 1}\n") for n in range(1, 6))
    problem = Problem("plus-one", "Read n, print n + 1.", tests)
    programs = {
        "syntax error": "print(int(input()) + 1",
        "crash": "int(input()) + ''",
        "constant": "print(2)",
        "silent": "n = int(input())\nm = n + 1",
        "wrong": "print(input())",
        "one in five": "n = int(input())\nprint(n + 1 if n < 2 else 0)",
        "four in five": "n = int(input())\nprint(n + 1 if n < 5 else 0)",
        "solution": "print(int(input()) + 1)",
    }
    rewards = scorer.score([(problem, programs[kind]) for kind in KINDS])
    for kind, reward in zip(KINDS, rewards, strict=True):
        assert reward is not None
        assert (reward.total, reward.kind) == (objective(KINDS[kind], LADDER).total, KINDS[kind].stage.label)


# --- several drafts


@pytest.mark.parametrize("q", [0.1, 0.5, 0.7])
@pytest.mark.parametrize("config", [LADDER, PAPER], ids=["default", "paper"])
def test_stages_paid_at_the_end_lose_the_best_policy(config: RewardConfig, q: float) -> None:
    """Not only some order: what is optimal under the ladder gives up its last attempt and plays safe."""
    values = several_drafts(q, total(config))
    assert flip(values) is not None
    richest = max(values, key=lambda v: v.reward)
    best = max(v.true for v in values)
    assert best == pytest.approx(1 - (1 - q) ** 3)
    bound = GATES[config.security_gate]
    assert (richest.true < best - 1e-9) == (q < bound)


def test_above_its_bound_the_ladder_keeps_the_best_policy() -> None:
    values = several_drafts(0.8, total(LADDER))
    assert max(values, key=lambda v: v.reward).true == pytest.approx(1 - 0.2**3)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("q", [0.1, 0.5, 0.7])
def test_stages_as_a_potential_keep_every_order(q: float, gamma: float) -> None:
    """By enumeration: every policy's return moves by the same -Φ(start)."""
    values = several_drafts(q, solves, total(LADDER), gamma)
    assert flip(values) is None
    start = total(LADDER)(KINDS["silent"])
    assert all(v.reward == pytest.approx(v.true - start) for v in values)


def test_a_potential_that_stays_at_the_end_does_not_pass() -> None:
    """The condition that the ladder breaks is Φ(terminal) = 0: without it the same credits flip the order."""
    values = several_drafts(0.5, solves, total(LADDER))
    kept_at_the_end = several_drafts(0.5, lambda outcome: solves(outcome) + total(LADDER)(outcome))
    assert flip(values) is None and flip(kept_at_the_end) is not None


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.floats(-5, 5), st.floats(0.5, 1.0))
def test_potential_rewards_sum_to_the_score_less_the_start(
    potentials: list[float], score: float, gamma: float
) -> None:
    rewards = potential_rewards(potentials, score, gamma)
    assert len(rewards) == len(potentials)
    discounted = math.fsum(gamma**t * reward for t, reward in enumerate(rewards))
    assert discounted == pytest.approx(gamma ** (len(potentials) - 1) * score - potentials[0], abs=1e-9)


def test_an_episode_has_a_state() -> None:
    with pytest.raises(ValueError, match="at least one"):
        potential_rewards([], 1.0)


# --- the command


def test_the_command_prints_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    rows = {line[:32].strip(): line[32:].split() for line in capsys.readouterr().out.splitlines()}
    assert rows["the paper's ladder, gate off"] == ["flips", "0.68", "0.60", "0.92"]
    assert rows["ladder, gate earned (default)"] == ["flips", "0.00", "0.60", "0.92"]
    assert rows["ladder, gate parses"] == ["flips", "0.00", "0.76", "0.95"]
    assert rows["binary, gate passes (true)"] == ["kept", "0.00", "0.00", "0.00"]
    assert rows["stages paid at the end"] == ["flips"] and rows["stages as a potential"] == ["kept"]


def test_the_command_audits_another_objective(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--security-gate", "passes", "--alpha", "0.5", "--stage-credits", "0", "0", "0", "0", "0.8"]
    assert main(flags) == 0
    rows = {line[:32].strip(): line[32:].split() for line in capsys.readouterr().out.splitlines()}
    assert rows["as given"][:3] == ["flips", "0.00", "0.00"]  # credit for some tests is left: 4 in 5 flips
    assert float(rows["as given"][3]) == pytest.approx(0.5 * 0.64 / 0.9, abs=0.005)


@pytest.mark.parametrize(
    "flags", [["--stage-credits", "0", "1", "0", "1", "1"], ["--alpha", "2"], ["--q", "1"], ["--mode", "x"]]
)
def test_settings_that_are_no_objective_end_with_status_2(flags: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(flags)
    assert error.value.code == 2
