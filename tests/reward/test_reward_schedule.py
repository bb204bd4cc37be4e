"""Schedules: which objective judges which iteration, and resuming."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reward_worlds import World, configs, worlds

from reward import RewardConfig, RewardError, RewardSchedule, ScheduleConfig, objective

CURRICULUM = ScheduleConfig("binary-to-partial", switch_at=10)


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
    assert after == objective(outcome, config)
    assert (before.total == 0.0) or outcome.all_passed  # sparse: nothing is earned by parsing alone
    assert before.functional == float(outcome.all_passed)


def test_the_weights_are_kept_across_the_switch() -> None:
    config = RewardConfig(alpha=2.0, beta=3.0, security="exp")
    assert RewardSchedule(config, CURRICULUM).config_at(0) == RewardConfig(
        mode="binary", alpha=2.0, beta=3.0, security="exp", security_gate="passes"
    )


@given(st.lists(st.one_of(st.none(), worlds().map(World.outcome)), max_size=4))
def test_a_fault_stays_none(outcomes: list) -> None:
    rewards = RewardSchedule().rewards(outcomes, 0)
    assert [reward is None for reward in rewards] == [outcome is None for outcome in outcomes]


def test_resume_goes_on_where_it_stopped() -> None:
    schedule = RewardSchedule(RewardConfig(alpha=0.5), CURRICULUM)
    for iteration in range(3):
        schedule.observe(iteration, [])
    state = json.loads(json.dumps(schedule.state_dict()))
    resumed = RewardSchedule(RewardConfig(alpha=0.5), CURRICULUM)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    with pytest.raises(RewardError, match="iteration 2"):
        resumed.observe(2)  # seen before the checkpoint
    resumed.observe(3)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (RewardSchedule(RewardConfig(beta=0.5), CURRICULUM), "beta"),
        (RewardSchedule(RewardConfig(stage_credits=(0, 0, 0, 0, 1)), CURRICULUM), "stage_credits"),
        (RewardSchedule(RewardConfig(), ScheduleConfig("binary-to-partial", switch_at=11)), "switch_at"),
        (RewardSchedule(RewardConfig()), "kind"),
    ],
)
def test_resuming_under_another_objective_is_refused(other: RewardSchedule, named: str) -> None:
    with pytest.raises(RewardError, match=named):
        other.load_state_dict(RewardSchedule(RewardConfig(), CURRICULUM).state_dict())


@pytest.mark.parametrize("values", [("linear", 0), ("constant", -1), ("constant", 1.5), ("constant", True)])
def test_a_bad_schedule_is_refused(values: tuple) -> None:
    with pytest.raises(RewardError):
        ScheduleConfig(*values)


def test_a_curriculum_needs_a_ladder_to_end_on() -> None:
    with pytest.raises(RewardError, match="partial"):
        RewardSchedule(RewardConfig(mode="binary"), CURRICULUM)
