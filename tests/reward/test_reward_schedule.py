"""Schedules: which objective judges which iteration, what a change of it voids, and resuming."""

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reward_worlds import World, configs, ended, unpaid, worlds

from reward import Outcome, RewardConfig, RewardError, RewardSchedule, Scan, ScheduleConfig, objective
from reward.controller import Thresholds
from reward.objective import mix, true_objective
from sandbox import Status

CURRICULUM = ScheduleConfig("binary-to-partial", switch_at=10)
LINEAR = ScheduleConfig("linear", switch_at=2, over=4, start=0.2, end=1.0)
AUTO = ScheduleConfig("auto", auto=Thresholds(step=0.5, window=2))


def program(status: Status = Status.OK, stdout: bytes = b"0\n", compiles: bool = True) -> Outcome:
    """What one run that should print 1 did."""
    return World(compiles, (ended(status, stdout),), (b"1\n",), Scan("ok")).outcome()


SOLVED, PRINTED = program(stdout=b"1\n"), program()
CRASHED, BROKEN = program(Status.CRASH), program(compiles=False)


def weights(schedule: RewardSchedule, batches: Iterable[list[Outcome | None]]) -> list[float]:
    """The weight in force in each iteration, when its programs do what its batch says."""
    seen = []
    for iteration, batch in enumerate(batches):
        seen.append(schedule.weight(iteration))
        schedule.observe(iteration, batch)
    return seen


# --- the mix


@given(worlds(), configs(mode="partial"), st.floats(0, 1))
def test_a_mix_is_bounded_and_adds_up(world: World, config: RewardConfig, weight: float) -> None:
    reward = mix(world.outcome(), config, weight)
    assert 0.0 <= reward.total <= 1.0
    assert reward.total == config.alpha * reward.functional + config.beta * reward.security


@given(worlds(), configs(mode="partial"), st.floats(0, 1))
def test_a_mix_lies_between_its_ends_and_meets_them(
    world: World, config: RewardConfig, weight: float
) -> None:
    outcome = world.outcome()
    true, ladder = objective(outcome, true_objective(config)), objective(outcome, config)
    assert (mix(outcome, config, 0.0), mix(outcome, config, 1.0)) == (true, ladder)
    mixed = mix(outcome, config, weight)
    for part in ("functional", "security"):
        low, high = sorted((getattr(true, part), getattr(ladder, part)))
        assert low <= getattr(mixed, part) <= high


@given(worlds(compiles=True), worlds(compiles=True), configs(mode="partial"), st.floats(0, 1))
def test_a_mix_keeps_the_order_of_more_tests_passed(
    one: World, other: World, config: RewardConfig, weight: float
) -> None:
    count = min(len(one.expected), len(other.expected))
    first, second = (
        replace(w, runs=w.runs[:count], expected=w.expected[:count], scan=Scan("ok")) for w in (one, other)
    )
    both = sorted((first, second), key=lambda world: (world.outcome().stage, world.outcome().passed))
    assume(not unpaid(both[1], config))
    low, high = (world.outcome() for world in both)
    assert mix(low, config, weight).total <= mix(high, config, weight).total + 1e-15


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_outside_the_unit_interval_is_refused(weight: float) -> None:
    with pytest.raises(RewardError, match=r"\[0, 1\]"):
        mix(SOLVED, RewardConfig(), weight)


# --- kinds


@given(worlds(), configs(), st.integers(0, 1000))
def test_constant_is_the_objective_itself(world: World, config: RewardConfig, iteration: int) -> None:
    schedule = RewardSchedule(config)
    assert schedule.total(world.outcome(), iteration) == objective(world.outcome(), config).total
    assert schedule.active(iteration) == config.mode


@given(worlds(), configs(mode="partial"))
def test_binary_to_partial_switches_at_its_iteration(world: World, config: RewardConfig) -> None:
    outcome = world.outcome()
    schedule = RewardSchedule(config, CURRICULUM)
    before, after = schedule.reward(outcome, 9), schedule.reward(outcome, 10)
    assert (schedule.active(0), schedule.active(9), schedule.active(10)) == ("binary", "binary", "partial")
    assert after.total == objective(outcome, config).total
    assert (before.total == 0.0) or outcome.all_passed  # sparse: nothing is earned by parsing alone
    assert before.functional == float(outcome.all_passed)


def test_the_weights_are_kept_across_the_switch() -> None:
    config = RewardConfig(alpha=0.25, beta=0.75, security="exp")
    assert true_objective(config) == RewardConfig(
        mode="binary", alpha=0.25, beta=0.75, security="exp", security_gate="passes"
    )


def test_linear_goes_from_start_to_end_in_equal_steps() -> None:
    schedule = RewardSchedule(RewardConfig(), LINEAR)
    assert [schedule.weight(i) for i in range(8)] == pytest.approx([0.2, 0.2, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert schedule.weight(6) == 1.0  # exactly: it decides whether a mix is computed at all
    assert [schedule.active(i) for i in (0, 5, 6)] == ["mix 0.2", "mix 0.8", "partial"]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (ScheduleConfig(anneal_at=2, anneal_over=4), [1, 1, 1, 0.75, 0.5, 0.25, 0, 0]),
        (ScheduleConfig("binary-to-partial", switch_at=1, anneal_at=3, anneal_over=2), [0, 1, 1, 1, 0.5, 0]),
        (replace(LINEAR, anneal_at=4, anneal_over=1), [0.2, 0.2, 0.2, 0.4, 0.6, 0, 0]),  # never reached 1
        (replace(AUTO, start=1.0, anneal_at=1, anneal_over=2), [1, 1, 0.5, 0, 0]),
    ],
)
def test_annealing_ends_on_the_true_objective(schedule: ScheduleConfig, expected: list[float]) -> None:
    annealed = RewardSchedule(RewardConfig(), schedule)
    assert weights(annealed, [[BROKEN]] * len(expected)) == pytest.approx(expected)
    last = len(expected)
    assert annealed.active(last) == "binary"
    assert annealed.total(PRINTED, last) == 0.0 and annealed.total(SOLVED, last) == 1.0


@given(st.lists(st.lists(st.sampled_from([SOLVED, PRINTED, CRASHED, BROKEN]), max_size=4), max_size=12))
def test_annealing_never_rises_whatever_happens(batches: list[list[Outcome | None]]) -> None:
    """Under `auto` too: a policy that gets worse must not bring the ladder back."""
    schedule = RewardSchedule(RewardConfig(), replace(AUTO, start=0.5, anneal_at=4, anneal_over=6))
    seen = weights(schedule, batches)[4:]
    assert seen == sorted(seen, reverse=True)


# --- auto


def test_auto_brings_the_ladder_where_nothing_is_solved() -> None:
    schedule = RewardSchedule(RewardConfig(), AUTO)
    assert weights(schedule, [[BROKEN, PRINTED]] * 7) == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.0]


def test_auto_takes_the_ladder_away_where_enough_is_solved() -> None:
    schedule = RewardSchedule(RewardConfig(), replace(AUTO, start=1.0))
    assert weights(schedule, [[SOLVED, PRINTED]] * 6) == [1.0, 1.0, 0.5, 0.5, 0.0, 0.0]


def test_auto_brings_it_back_when_syntax_is_lost_though_some_are_solved() -> None:
    """The stage histogram, not the solve rate, decides here: it is 1 in 4, with the rest broken."""
    schedule = RewardSchedule(RewardConfig(), AUTO)
    assert weights(schedule, [[SOLVED, BROKEN, BROKEN, CRASHED]] * 3) == [0.0, 0.0, 0.5]


@pytest.mark.parametrize(
    "batch",
    [
        [SOLVED] + [PRINTED] * 9,  # solve rate 0.1, between its two limits
        [SOLVED, SOLVED, CRASHED],  # enough solved; climbed 0.67 between its two limits
    ],
)
def test_auto_stays_between_its_limits(batch: list[Outcome | None]) -> None:
    schedule = RewardSchedule(RewardConfig(), replace(AUTO, start=0.5))
    assert weights(schedule, [batch] * 8) == [0.5] * 8


@given(st.lists(st.integers(2, 4), min_size=1, max_size=10))
def test_auto_does_not_flutter(solved: list[int]) -> None:
    """Hysteresis: no noise between the two limits moves the mix, in whichever direction it moved last."""
    schedule = RewardSchedule(RewardConfig(), AUTO)
    weights(schedule, [[PRINTED]] * 2)  # one move up
    for iteration, count in enumerate(solved, 2):  # 10 to 20 %, where the limits are 5 and 25
        schedule.observe(iteration, [SOLVED] * count + [PRINTED] * (20 - count))
        assert schedule.weight(iteration + 1) == 0.5


def test_auto_begins_a_new_window_after_a_move() -> None:
    schedule = RewardSchedule(RewardConfig(), replace(AUTO, auto=Thresholds(step=0.25, window=3)))
    assert weights(schedule, [[BROKEN]] * 8) == [0.0, 0.0, 0.0, 0.25, 0.25, 0.25, 0.5, 0.5]


def test_auto_leaves_faults_out() -> None:
    schedule = RewardSchedule(RewardConfig(), replace(AUTO, start=1.0))
    batches: list[list[Outcome | None]] = [[SOLVED, None, None, None], [None], [SOLVED], [SOLVED]]
    assert weights(schedule, batches) == [1.0, 1.0, 1.0, 0.5]


def test_auto_follows_a_policy_that_learns_and_then_breaks() -> None:
    """A whole life: hopeless, then able, then broken by its own sparse objective."""
    hopeless, able, broken = [BROKEN, PRINTED], [SOLVED, PRINTED], [BROKEN, BROKEN]
    schedule = RewardSchedule(RewardConfig(), AUTO)
    seen = weights(schedule, [hopeless] * 5 + [able] * 5 + [broken] * 5)
    assert seen[4] == 1.0 and seen[9] == 0.0 and schedule.weight(15) == 1.0


# --- what a trainer is told


def test_the_weight_is_in_the_metrics_of_every_program() -> None:
    schedule = RewardSchedule(RewardConfig(), LINEAR)
    shown = [schedule.reward(BROKEN, i).metrics["reward/partial_weight"] for i in (0, 4, 6)]
    assert shown == pytest.approx([0.2, 0.6, 1.0])
    constant = RewardSchedule(RewardConfig()).reward(BROKEN, 0)
    assert "reward/partial_weight" not in constant.metrics  # nothing to see where nothing moves


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (ScheduleConfig(), []),
        (replace(CURRICULUM, switch_at=3), [3]),
        (ScheduleConfig("linear", over=20), [2, 4, 6]),  # 0.05 each: statistics never mix 0.1 and more
        (ScheduleConfig("linear", over=5), [1, 2, 3, 4, 5]),
        (AUTO, [2, 4]),
        (ScheduleConfig(anneal_at=4, anneal_over=1), [5]),
    ],
)
def test_the_objective_has_another_name_once_scores_mean_something_else(
    schedule: ScheduleConfig, expected: list[int]
) -> None:
    running = RewardSchedule(RewardConfig(), schedule)
    names, changes = [], []
    for iteration in range(8):
        names.append(running.active(iteration))
        changes.append(running.changes(iteration))
        running.observe(iteration, [BROKEN])
    assert [i for i in range(1, 8) if names[i] != names[i - 1]] == expected
    assert [i for i in range(8) if changes[i]] == expected
    assert len(set(names)) == len(expected) + 1


@given(st.lists(st.one_of(st.none(), worlds().map(World.outcome)), max_size=4))
def test_a_fault_stays_none(outcomes: list) -> None:
    rewards = RewardSchedule().rewards(outcomes, 0)
    assert [reward is None for reward in rewards] == [outcome is None for outcome in outcomes]


# --- resuming and replaying


@pytest.mark.parametrize("schedule", [ScheduleConfig(), CURRICULUM, LINEAR, AUTO], ids=lambda s: s.kind)
@given(
    batches=st.lists(st.lists(st.sampled_from([SOLVED, PRINTED, BROKEN, None]), max_size=4), max_size=9),
    data=st.data(),
)
def test_resumed_and_replayed_runs_are_the_uninterrupted_one(
    schedule: ScheduleConfig, batches: list[list[Outcome | None]], data: st.DataObject
) -> None:
    straight = RewardSchedule(RewardConfig(), schedule)
    expected = []
    stop = data.draw(st.integers(0, len(batches)))
    state = json.dumps(straight.state_dict())
    for iteration, batch in enumerate(batches):
        expected.append((straight.active(iteration), straight.rewards(batch, iteration)))
        straight.observe(iteration, batch)
        if iteration + 1 == stop:
            state = json.dumps(straight.state_dict())
    resumed, replayed = RewardSchedule(RewardConfig(), schedule), RewardSchedule(RewardConfig(), schedule)
    resumed.load_state_dict(json.loads(state))
    for iteration, batch in enumerate(batches):
        for run in [resumed, replayed] if iteration >= stop else [replayed]:
            assert (run.active(iteration), run.rewards(batch, iteration)) == expected[iteration]
            run.observe(iteration, batch)
    assert resumed.state_dict() == replayed.state_dict() == straight.state_dict()


def test_an_iteration_is_observed_once() -> None:
    schedule = RewardSchedule(RewardConfig(), AUTO)
    schedule.observe(2, [BROKEN])
    with pytest.raises(RewardError, match="iteration 2 observed after iteration 2"):
        schedule.observe(2, [BROKEN])


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (RewardSchedule(RewardConfig(alpha=0.5, beta=0.5), CURRICULUM), "beta"),
        (RewardSchedule(RewardConfig(stage_credits=(0, 0, 0, 0, 1)), CURRICULUM), "stage_credits"),
        (RewardSchedule(RewardConfig(), ScheduleConfig("binary-to-partial", switch_at=11)), "switch_at"),
        (RewardSchedule(RewardConfig(), replace(CURRICULUM, auto=Thresholds(window=2))), "auto"),
        (RewardSchedule(RewardConfig()), "kind"),
    ],
)
def test_resuming_under_another_objective_is_refused(other: RewardSchedule, named: str) -> None:
    with pytest.raises(RewardError, match=named):
        other.load_state_dict(RewardSchedule(RewardConfig(), CURRICULUM).state_dict())


# --- bad input


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "quadratic"),
        ("switch_at", -1),
        ("switch_at", 1.5),
        ("switch_at", True),
        ("over", 0),
        ("start", -0.1),
        ("start", float("nan")),
        ("end", 1.1),
        ("end", "1"),
        ("anneal_at", -1),
        ("anneal_over", 0),
    ],
)
def test_a_bad_schedule_is_one_clear_line(field: str, value: object) -> None:
    with pytest.raises(RewardError, match=field):
        ScheduleConfig(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"step": 0.0}, "step"),
        ({"step": 1.5}, "step"),
        ({"window": 0}, "window"),
        ({"window": 2.5}, "window"),
        ({"solve_low": 0.3}, "solve_low"),
        ({"solve_high": 1.2}, "solve_high"),
        ({"climbed_low": 0.8}, "climbed_low"),
        ({"climbed_high": float("nan")}, "climbed_high"),
    ],
)
def test_bad_thresholds_are_one_clear_line(values: dict, named: str) -> None:
    with pytest.raises(RewardError, match=named):
        Thresholds(**values)


@pytest.mark.parametrize("schedule", [CURRICULUM, LINEAR, AUTO, ScheduleConfig(anneal_at=5)])
def test_a_schedule_needs_a_ladder(schedule: ScheduleConfig) -> None:
    with pytest.raises(RewardError, match="leave mode at partial"):
        RewardSchedule(RewardConfig(mode="binary"), schedule)
