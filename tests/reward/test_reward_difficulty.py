"""Tests weighed by how seldom they are passed: what holds of the ladder holds under every history."""

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reward_worlds import World, configs, unpaid, worlds

from reward import Outcome, RewardConfig, RewardError, RewardSchedule, ScheduleConfig, Verdict, objective
from reward.difficulty import PassRates
from reward.objective import true_objective

Programs = list[list[bool] | None]  # which tests each program passes; None: it does not compile

WEIGHED = ScheduleConfig(difficulty=4.0)
LADDER = RewardConfig(alpha=1.0, beta=0.0)


def program(passed: Sequence[bool] | None, num_tests: int = 2) -> Outcome:
    """One that prints in every run, and is right on these tests."""
    if passed is None:
        return Outcome(False, num_tests, (), "syntax")
    verdicts = tuple(Verdict("ok", right, 2, "0" * 64, idle=False) for right in passed)
    return Outcome(True, len(passed), verdicts, "ok")


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, Programs]:
    """A number of tests, and what earlier programs did; of tests that are hard to different degrees."""
    num_tests = draw(st.integers(1, 6))
    vectors = st.lists(st.booleans(), min_size=num_tests, max_size=num_tests)
    return num_tests, draw(st.lists(st.one_of(st.none(), vectors), max_size=12))


schedules = st.builds(
    ScheduleConfig,
    difficulty=st.one_of(st.sampled_from([1.0, 1.5, 4.0, 1000.0]), st.floats(1, 1000)),
    difficulty_memory=st.integers(1, 20),
)


def after(
    history: Programs, num_tests: int, schedule: ScheduleConfig = WEIGHED, config: RewardConfig = LADDER
) -> RewardSchedule:
    """A schedule that saw these programs for problem `p`, three to an iteration."""
    running = RewardSchedule(config, schedule)
    for iteration, start in enumerate(range(0, len(history), 3)):
        outcomes = [program(passed, num_tests) for passed in history[start : start + 3]]
        running.observe(iteration, outcomes, ["p"] * len(outcomes))
    return running


def rates(history: Programs, num_tests: int, schedule: ScheduleConfig = WEIGHED) -> PassRates:
    found = PassRates(schedule.difficulty, schedule.difficulty_memory)
    for passed in history:
        found.observe("p", program(passed, num_tests))
    return found


# --- the contract of the ladder


@given(histories(), schedules, st.data())
def test_what_prints_earns_from_the_rung_of_printing_to_one(
    history: tuple[int, Programs], schedule: ScheduleConfig, data: st.DataObject
) -> None:
    """Nothing passed is 0.6, everything passed is 1, exactly; everything else lies strictly between."""
    num_tests, seen = history
    running = after(seen, num_tests, schedule)
    passed = data.draw(st.lists(st.booleans(), min_size=num_tests, max_size=num_tests))
    earned = running.reward(program(passed), 99, "p").functional
    if all(passed) or not any(passed):
        assert earned == (1.0 if all(passed) else 0.6)
    else:
        assert 0.6 < earned < 1.0


@given(histories(), schedules, st.data())
def test_more_tests_of_the_same_problem_earn_strictly_more(
    history: tuple[int, Programs], schedule: ScheduleConfig, data: st.DataObject
) -> None:
    """Those passed by one program and others too: a superset, whatever the tests weigh."""
    num_tests, seen = history
    running = after(seen, num_tests, schedule)
    fewer = data.draw(st.lists(st.booleans(), min_size=num_tests, max_size=num_tests))
    added = data.draw(st.lists(st.booleans(), min_size=num_tests, max_size=num_tests))
    more = [a or b for a, b in zip(fewer, added, strict=True)]
    low, high = (running.reward(program(passed), 99, "p").functional for passed in (fewer, more))
    assert low < high if more != fewer else low == high


@given(worlds(), configs(mode="partial"), st.lists(st.sampled_from(["all", "none", "broken"]), max_size=9))
def test_at_equal_rates_it_is_the_plain_ladder_to_the_last_digit(
    world: World, config: RewardConfig, kinds: list[str]
) -> None:
    """Also at the start, where no test of the problem has been run."""
    outcome = world.outcome()
    vectors = {"all": [True] * outcome.num_tests, "none": [False] * outcome.num_tests, "broken": None}
    running = after([vectors[kind] for kind in kinds], outcome.num_tests, WEIGHED, config)
    assert running.total(outcome, 99, "p") == objective(outcome, config).total
    assert running.total(outcome, 99, "another") == objective(outcome, config).total


@given(histories(), schedules)
def test_no_test_weighs_more_than_most_times_another(
    history: tuple[int, Programs], schedule: ScheduleConfig
) -> None:
    num_tests, seen = history
    weights = rates(seen, num_tests, schedule).weights("p", num_tests)
    assert all(1.0 <= weight <= schedule.difficulty for weight in weights)
    assert max(weights) <= schedule.difficulty * min(weights)


@given(histories())
def test_what_is_passed_more_seldom_never_weighs_less(history: tuple[int, Programs]) -> None:
    num_tests, seen = history
    counts = [sum(passed[test] for passed in seen if passed) for test in range(num_tests)]
    weights = rates(seen, num_tests).weights("p", num_tests)
    for (count, weight), (other, beside) in product(zip(counts, weights, strict=True), repeat=2):
        assert weight == beside if count == other else (weight >= beside) or count > other


@given(histories(), schedules, st.data())
def test_the_order_of_tests_decides_nothing_of_what_they_weigh(
    history: tuple[int, Programs], schedule: ScheduleConfig, data: st.DataObject
) -> None:
    num_tests, seen = history
    order = data.draw(st.permutations(range(num_tests)))
    passed = data.draw(st.lists(st.booleans(), min_size=num_tests, max_size=num_tests))

    def turned(vector: list[bool] | None) -> list[bool] | None:
        return None if vector is None else [vector[place] for place in order]

    straight = after(seen, num_tests, schedule)
    other = after([turned(vector) for vector in seen], num_tests, schedule)
    ours, theirs = straight.reward(program(passed), 99, "p"), other.reward(program(turned(passed)), 99, "p")
    assert ours.total == theirs.total and ours.metrics == theirs.metrics


@given(worlds(), configs(), schedules, histories())
def test_what_passes_nothing_or_everything_or_is_unpaid_earns_what_it_did(
    world: World, config: RewardConfig, schedule: ScheduleConfig, history: tuple[int, Programs]
) -> None:
    """And never is anything but R_func another, nor R outside [0, 1], nor the parts no sum."""
    config = replace(config, mode="partial")
    outcome, (_, seen) = world.outcome(), history
    cut = [None if passed is None else (passed * outcome.num_tests)[: outcome.num_tests] for passed in seen]
    weighed = after(cut, outcome.num_tests, schedule, config).reward(outcome, 99, "p")
    plain = objective(outcome, config)
    assert 0.0 <= weighed.total <= 1.0
    assert weighed.total == config.alpha * weighed.functional + config.beta * weighed.security
    if outcome.passed in (0, outcome.num_tests) or unpaid(world, config):
        assert weighed.total == plain.total
    elif config.security_gate != "earned":
        assert weighed.security == plain.security


def test_numbers_by_hand() -> None:
    """Eight programs, each right on the first test and none on the second: rates 9/10 and 1/10 by Laplace."""
    running = after([[True, False]] * 8, 2)
    easy, hard = Fraction(10, 9), 4  # 1 / (9/10), and at most 4
    for passed, weight in (([True, False], easy), ([False, True], hard)):
        expected = 0.6 + 0.4 * float(weight / (easy + hard))
        assert running.reward(program(passed), 99, "p").functional == pytest.approx(expected, rel=1e-12)
    loose = after([[True, False]] * 8, 2, replace(WEIGHED, difficulty=100.0))  # 1 / (1/10) is within it
    assert loose.reward(program([False, True]), 99, "p").functional == pytest.approx(0.6 + 0.4 * 0.9)


# --- the rates


@given(histories())
def test_a_rate_is_laplaces_while_memory_lasts(history: tuple[int, Programs]) -> None:
    num_tests, seen = history
    found = rates(seen, num_tests, replace(WEIGHED, difficulty=1000.0)).weights("p", num_tests)
    for test, weight in enumerate(found):
        passed = sum(vector[test] for vector in seen if vector)
        assert weight == pytest.approx((len(seen) + 2) / (passed + 1), rel=1e-12)


def test_what_is_longer_ago_than_memory_fades() -> None:
    """A test that was never passed, and then always: soon it weighs what the easy one does."""
    schedule = replace(WEIGHED, difficulty_memory=8)
    before, behind = [[True, False]] * 50, [[True, True]] * 50
    assert rates(before, 2, schedule).weights("p", 2)[1] == 4.0
    assert rates(before + behind, 2, schedule).weights("p", 2)[1] == pytest.approx(1.0, abs=0.01)


def test_programs_of_an_iteration_are_paid_by_those_before_it() -> None:
    running = after([[True, False]] * 3, 2)
    outcomes = [program([True, False]), None, program([True, False])]
    first, fault, third = running.rewards(outcomes, 9, ["p"] * 3)
    assert first == third and fault is None
    before = running.state_dict()["pass_rates"]
    running.observe(9, [None], ["p"])
    assert running.state_dict()["pass_rates"] == before  # a fault is no news
    running.observe(10, outcomes, ["p"] * 3)
    assert running.rewards(outcomes[:1], 11, ["p"])[0].functional < first.functional  # type: ignore[union-attr]


def test_problems_are_kept_apart() -> None:
    running = after([[True, False]] * 8, 2)
    assert running.total(program([False, True]), 99, "q") == 0.8
    assert running.total(program([False, True]), 99, "p") > 0.9


def test_the_true_objective_knows_no_weights() -> None:
    """A mix weighs the ladder alone."""
    half = RewardSchedule(RewardConfig(), replace(WEIGHED, kind="linear", start=0.5, end=0.5, over=1))
    half.observe(0, [program([True, False])] * 8, ["p"] * 8)
    ladder = after([[True, False]] * 8, 2, config=RewardConfig()).total(program([False, True]), 99, "p")
    assert half.total(program([False, True]), 1, "p") == pytest.approx(ladder / 2)
    assert objective(program([False, True]), true_objective(RewardConfig())).total == 0.0


# --- logs, checkpoints, settings


def test_logs_keep_the_plain_share_of_tests_beside_the_weighed_one() -> None:
    metrics = after([[True, False]] * 8, 2).reward(program([True, False]), 99, "p").metrics
    assert metrics["reward/pass_fraction"] == 0.5
    assert metrics["reward/weighed_fraction"] == pytest.approx(10 / 46)
    assert "reward/weighed_fraction" not in RewardSchedule().reward(program([True, False]), 0).metrics


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("pq"), st.sampled_from([[True, False], [True, True], None]))),
        max_size=6,
    ),
    schedules,
    st.data(),
)
def test_a_resumed_run_pays_what_the_uninterrupted_one_does(
    rollouts: list[list[tuple[str, list[bool] | None]]], schedule: ScheduleConfig, data: st.DataObject
) -> None:
    """To the last digit, through a checkpoint's JSON; and so does one that replays the outcomes."""
    stop = data.draw(st.integers(0, len(rollouts)))

    def paid(running: RewardSchedule, first: int, last: int) -> list[list[float]]:
        totals = []
        for iteration in range(first, last):
            problems = [problem for problem, _ in rollouts[iteration]]
            outcomes = [program(passed) for _, passed in rollouts[iteration]]
            totals.append([r.total for r in running.rewards(outcomes, iteration, problems) if r])
            running.observe(iteration, outcomes, problems)
        return totals

    straight, begun, resumed = (RewardSchedule(RewardConfig(), schedule) for _ in range(3))
    expected = paid(straight, 0, len(rollouts))
    before = paid(begun, 0, stop)
    resumed.load_state_dict(json.loads(json.dumps(begun.state_dict())))
    assert before + paid(resumed, stop, len(rollouts)) == expected
    assert json.dumps(resumed.state_dict()) == json.dumps(straight.state_dict())


def test_by_default_nothing_is_kept_and_a_state_without_it_goes_on() -> None:
    running = after([[True, False]] * 8, 2, ScheduleConfig())
    state = running.state_dict()
    assert state["pass_rates"] == {}
    assert running.total(program([True, False]), 99) == 0.8  # no problem is asked for
    del state["pass_rates"], state["schedule"]["difficulty"], state["schedule"]["difficulty_memory"]
    RewardSchedule(LADDER).load_state_dict(state)
    with pytest.raises(RewardError, match="differs in difficulty: resume with the same"):
        RewardSchedule(LADDER, WEIGHED).load_state_dict(state)


def test_what_cannot_be_weighed_is_one_clear_line() -> None:
    with pytest.raises(RewardError, match="which mode binary has not: leave it at 1"):
        RewardSchedule(RewardConfig(mode="binary"), WEIGHED)
    running = after([[True, False]], 2)
    with pytest.raises(RewardError, match="which problem a program is for"):
        running.total(program([True, False]), 1)
    with pytest.raises(RewardError, match="problem 'p' has 3 tests, and had 2 before"):
        running.total(program([True] * 3), 1, "p")


@pytest.mark.parametrize("name", ["difficulty", "difficulty_memory"])
@pytest.mark.parametrize("value", [0, -1, 0.5, float("nan"), float("inf"), True, "4", None])
def test_a_bad_setting_of_difficulty_is_one_clear_line(name: str, value: object) -> None:
    with pytest.raises(RewardError, match=f"{name} must be a "):
        ScheduleConfig(**{name: value})  # type: ignore[arg-type]
