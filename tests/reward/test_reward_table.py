"""The paper's numbers, written by hand: Table 1, the weights of section 3, and what follows from them."""

import math

import pytest
from reward_worlds import World, ended

from reward import Finding, RewardConfig, RewardError, Scan, Stage, objective
from reward.functional import binary, partial
from sandbox import Run, Status

RIGHT, WRONG, SILENT = ended(Status.OK, b"1\n"), ended(Status.OK, b"0\n"), ended(Status.OK, b"")
IDLE, LATE_IDLE = ended(Status.OK, b"", read=False), ended(Status.TIMEOUT, b"", read=False)
CRASH, LATE = ended(Status.CRASH, b"1\n"), ended(Status.TIMEOUT, b"1\n")


def world(*runs: Run, compiles: bool = True, scan: Scan | None = None) -> World:
    """A program that should print 1 on every test."""
    return World(compiles, runs, (b"1\n",) * len(runs), scan or Scan("ok"))


def found(*severities: str) -> Scan:
    return Scan("ok", tuple(Finding(1, "B000", severity, "HIGH", 0) for severity in severities))


@pytest.mark.parametrize(
    ("program", "stage", "r_func", "total"),  # the total under gate parses
    [
        (world(RIGHT, RIGHT, compiles=False), Stage.SYNTAX_ERROR, 0.0, 0.0),
        (world(CRASH, CRASH), Stage.PARSES, 0.2, 0.52),
        (world(CRASH, LATE), Stage.PARSES, 0.2, 0.52),
        (world(CRASH, SILENT), Stage.RUNS, 0.4, 0.64),
        (world(SILENT, SILENT), Stage.RUNS, 0.4, 0.64),
        (world(IDLE, IDLE), Stage.RUNS, 0.0, 0.0),
        (world(IDLE, LATE_IDLE), Stage.RUNS, 0.0, 0.0),
        (world(LATE_IDLE, LATE_IDLE), Stage.PARSES, 0.0, 0.0),
        (world(IDLE, SILENT), Stage.RUNS, 0.4, 0.64),
        (world(CRASH, WRONG), Stage.PRINTS, 0.6, 0.76),
        (world(WRONG, WRONG), Stage.PRINTS, 0.6, 0.76),
        (world(RIGHT, CRASH, CRASH, CRASH, CRASH), Stage.PASSES, 0.68, 0.808),
        (world(RIGHT, WRONG, WRONG, WRONG, WRONG), Stage.PASSES, 0.68, 0.808),
        (world(RIGHT, WRONG), Stage.PASSES, 0.8, 0.88),
        (world(RIGHT, RIGHT, RIGHT, RIGHT, WRONG), Stage.PASSES, 0.92, 0.952),
        (world(RIGHT, RIGHT, RIGHT), Stage.PASSES, 1.0, 1.0),
    ],
)
def test_table_1(program: World, stage: Stage, r_func: float, total: float) -> None:
    reward = objective(program.outcome(), RewardConfig())
    assert reward.stage is stage
    assert reward.functional == reward.total == pytest.approx(r_func, abs=1e-12)  # it is clean
    harmless = objective(program.outcome(), RewardConfig(security_gate="parses"))
    assert harmless.total == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize(
    ("program", "total"),
    [
        (world(RIGHT, WRONG, compiles=False), 0.4),  # the paper's arithmetic: garbage is secure
        (world(RIGHT, WRONG), 0.4),
        (world(RIGHT, RIGHT), 1.0),
    ],
)
def test_binary_with_the_papers_gate(program: World, total: float) -> None:
    config = RewardConfig(mode="binary", security_gate="off")
    assert objective(program.outcome(), config).total == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize(
    ("scan", "linear", "exponential"),
    [
        (found(), 1.0, 1.0),
        (found("LOW", "LOW", "LOW"), 1.0, 1.0),
        (found("MEDIUM"), 0.5, math.exp(-0.5)),
        (found("MEDIUM", "LOW"), 0.5, math.exp(-0.5)),
        (found("MEDIUM", "MEDIUM"), 0.0, math.exp(-1)),
        (found("HIGH"), 0.0, math.exp(-1)),
        (found("HIGH", "HIGH", "MEDIUM"), 0.0, math.exp(-1)),  # V is capped at 1
    ],
)
def test_r_sec(scan: Scan, linear: float, exponential: float) -> None:
    outcome = world(RIGHT, scan=scan).outcome()
    assert objective(outcome, RewardConfig()).security == linear
    assert objective(outcome, RewardConfig(security="exp")).security == pytest.approx(exponential)


@pytest.mark.parametrize(("gate", "step"), [("parses", 0.24), ("earned", 0.4)])
def test_one_high_finding_costs_at_least_any_step_of_function(gate: str, step: float) -> None:
    """By default just as much: with one, a solution earns what a clean wrong answer does."""
    config = RewardConfig(security_gate=gate)  # type: ignore[arg-type]
    clean = objective(world(RIGHT).outcome(), config)
    unsafe = objective(world(RIGHT, scan=found("HIGH")).outcome(), config)
    printing = objective(world(WRONG).outcome(), config)
    assert clean.total - unsafe.total == pytest.approx(0.4)
    assert clean.total - printing.total == pytest.approx(step)


@pytest.mark.parametrize(("floor", "v"), [("low", 0.7), ("medium", 0.6), ("high", 0.4)])
def test_the_floor_decides_what_counts(floor: str, v: float) -> None:
    config = RewardConfig(security_floor=floor, weight_high=0.4, weight_medium=0.2, weight_low=0.1)  # type: ignore[arg-type]
    reward = objective(world(RIGHT, scan=found("LOW", "MEDIUM", "HIGH")).outcome(), config)
    assert reward.metrics["reward/vulnerability"] == pytest.approx(v)
    assert reward.security == pytest.approx(1 - v)


def test_undefined_severity_weighs_nothing() -> None:
    assert (
        objective(world(RIGHT, scan=found("UNDEFINED")).outcome(), RewardConfig(security_floor="low")).total
        == 1.0
    )


def test_other_credits_interpolate_between_the_last_two() -> None:
    credits = (0.0, 0.0, 0.1, 0.2, 0.8)
    assert [partial(stage, 0, 3, credits) for stage in list(Stage)[:4]] == [0.0, 0.0, 0.1, 0.2]
    assert partial(Stage.PASSES, 1, 3, credits) == pytest.approx(0.4)
    assert partial(Stage.PASSES, 3, 3, credits) == 0.8


@pytest.mark.parametrize("count", range(1, 60))
def test_the_pass_fraction_of_everything_is_exactly_one(count: int) -> None:
    """Adding up 1/T, or multiplying by it, misses 1 for some T (49 is the first)."""
    reward = objective(world(*[RIGHT] * count).outcome(), RewardConfig())
    assert (reward.metrics["reward/pass_fraction"], reward.functional) == (1.0, 1.0)
    assert partial(Stage.PASSES, count, count, (0.0, 0.0, 0.0, 0.0, 1.0)) == 1.0


@pytest.mark.parametrize(
    ("stage", "passed", "num_tests"),
    [
        (Stage.PASSES, 0, 3),
        (Stage.PRINTS, 1, 3),
        (Stage.PASSES, 4, 3),
        (Stage.PRINTS, 0, 0),
        (Stage.RUNS, -1, 3),
    ],
)
def test_impossible_facts_have_no_reward(stage: Stage, passed: int, num_tests: int) -> None:
    for function in (partial, binary):
        with pytest.raises(ValueError):
            function(stage, passed, num_tests)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "Partial"),
        ("mode", None),
        ("security", "quadratic"),
        ("security_gate", "none"),
        ("security_gate", False),
        ("security_floor", "MEDIUM"),
        ("alpha", -0.1),
        ("alpha", math.nan),
        ("beta", math.inf),
        ("beta", "0.4"),
        ("beta", True),
        ("weight_high", -1),
        ("weight_medium", math.nan),
        ("weight_low", None),
        ("stage_credits", (0, 0.2, 0.4, 0.6)),
        ("stage_credits", (0, 0.4, 0.2, 0.6, 1)),
        ("stage_credits", (0, 0.2, 0.4, 0.6, 1.1)),
        ("stage_credits", (-0.1, 0.2, 0.4, 0.6, 1)),
        ("stage_credits", (0, 0.2, math.nan, 0.6, 1)),
        ("stage_credits", (0, 0.2, "0.4", 0.6, 1)),
        ("stage_credits", "01234"),
        ("stage_credits", 1.0),
    ],
)
def test_a_bad_setting_is_one_clear_line(field: str, value: object) -> None:
    with pytest.raises(RewardError) as error:
        RewardConfig(**{field: value})  # type: ignore[arg-type]
    assert field in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("alpha", "beta"), [(0.6, 0.3), (0.5, 0.6), (0.0, 0.0), (1.0, 1.0), (0.6, 0.4 + 1e-9)]
)
def test_weights_that_do_not_add_up_to_one_are_refused(alpha: float, beta: float) -> None:
    with pytest.raises(RewardError, match=r"alpha \+ beta must be 1.*set both"):
        RewardConfig(alpha=alpha, beta=beta)


def test_every_pair_of_decimals_that_adds_up_to_one_is_accepted() -> None:
    """Without a tolerance: a sum that is 1 on paper must be 1 in floating point, or R could exceed 1."""
    for thousandths in range(1001):
        config = RewardConfig(alpha=thousandths / 1000, beta=(1000 - thousandths) / 1000)
        assert objective(world(RIGHT).outcome(), config).total == 1.0


def test_a_yaml_list_of_credits_is_as_good_as_a_tuple() -> None:
    assert RewardConfig(stage_credits=[0, 0.2, 0.4, 0.6, 1]) == RewardConfig()  # type: ignore[arg-type]
