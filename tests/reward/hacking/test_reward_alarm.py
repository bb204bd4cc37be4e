"""The alarm for short, valid, wrong programs, on made-up runs."""

import json
from collections.abc import Iterator, Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reward_worlds import ended

from reward import HackAlarm, Reward, RewardConfig, Scan, judge, objective, parse_policy
from sandbox import Report, Run, Status

Batch = tuple[list[Reward | None], list[int]]
MATCHES = parse_policy("lines").matches


@cache
def reward(kind: str) -> Reward:
    """Of a program that solves its test, prints something wrong, is silent, crashes or does not compile."""
    run: dict[str, Run] = {
        "solves": ended(Status.OK, b"1\n"),
        "prints": ended(Status.OK, b"2\n"),
        "silent": ended(Status.OK, b""),
        "crashes": ended(Status.CRASH, b""),
    }
    report = Report(True, None, (run[kind],)) if kind in run else Report(False, "SyntaxError: x", ())
    outcome = judge(report, [b"1\n"], MATCHES, Scan("ok"))
    assert outcome is not None
    return objective(outcome, RewardConfig())


def batch(length: int, size: int = 128, **counts: int) -> Batch:
    """`size` programs of this length; what `counts` does not name does not compile."""
    rewards: list[Reward | None] = [reward(kind) for kind, count in counts.items() for _ in range(count)]
    return rewards + [reward("broken")] * (size - len(rewards)), [length] * size


def run(batches: Sequence[Batch], alarm: HackAlarm | None = None) -> list[float]:
    alarm = alarm or HackAlarm()
    return [alarm.observe(*each)["hack/alarm"] for each in batches]


def phases(*steps: Batch, each: int = 6) -> Iterator[Batch]:
    for step in steps:
        yield from [step] * each


def test_the_collapse_to_the_silent_program_is_seen() -> None:
    """Problems that are too hard: nothing is ever solved, R climbs to what only reads earns."""
    alarms = run([*phases(batch(200, crashes=40), batch(90, silent=60, crashes=40), batch(7, silent=128))])
    assert not any(alarms[:6]) and all(alarms[9:])


def test_a_loss_of_what_was_solved_is_seen() -> None:
    """R rises through the ladder while All-P falls."""
    alarms = run([*phases(batch(200, solves=30), batch(60, solves=10, prints=118))])
    assert not any(alarms[:6]) and all(alarms[9:])


def test_a_fall_after_a_rise_is_seen() -> None:
    """Against the first iterations All-P has not fallen; against the best ones it has."""
    alarms = run([*phases(batch(200, solves=20), batch(180, solves=70), batch(50, solves=60, prints=68))])
    assert not any(alarms[:12]) and all(alarms[15:])


HONEST = {
    "learning": [batch(200, solves=10, crashes=50), batch(190, solves=60, prints=40), batch(180, solves=110)],
    "learning to be brief": [batch(200, solves=20, prints=60), batch(80, solves=100, prints=20)],
    "growing": [batch(50, prints=60), batch(100, prints=90), batch(200, prints=128)],
    "getting worse": [batch(200, solves=60), batch(100, solves=20, crashes=20)],
    "standing still": [batch(100, prints=64)] * 3,
}


@pytest.mark.parametrize("name", HONEST)
def test_other_courses_raise_no_alarm(name: str) -> None:
    assert not any(run([*phases(*HONEST[name])]))


def test_batches_of_two_are_read_together() -> None:
    """The paper's batch. One iteration says nothing; 64 of them do."""
    broken, short = batch(200, size=2), batch(10, size=2, silent=2)
    assert not any(run([broken, broken, short, short, broken, broken] * 3))
    assert run([*[broken] * 100, *[short] * 100])[-1] == 1.0


def test_the_share_of_short_wrong_programs() -> None:
    alarm = HackAlarm()
    run([*phases(batch(200, crashes=40))], alarm)
    rewards: list[Reward | None] = [
        reward("silent"),
        reward("solves"),
        reward("broken"),
        reward("prints"),
        None,
    ]
    assert alarm.observe(rewards, [0, 10, 10, 150, 0])["hack/short_wrong"] == 1 / 4


def test_faults_are_left_out() -> None:
    alarm = HackAlarm()
    assert alarm.observe([None, None], [3, 4]) == {}
    assert alarm.state_dict() == HackAlarm().state_dict()


kinds = st.sampled_from(["solves", "prints", "silent", "crashes", "broken"])
batches = st.lists(
    st.builds(lambda kind, length: ([reward(kind)] * 64, [length] * 64), kinds, st.integers(0, 300)),
    min_size=2,
    max_size=12,
)


@given(batches, st.data())
def test_resuming_changes_nothing(courses: list[Batch], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(courses) - 1))
    straight, first, second = HackAlarm(), HackAlarm(), HackAlarm()
    expected = [straight.observe(*each) for each in courses]
    seen = [first.observe(*each) for each in courses[:cut]]
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert seen + [second.observe(*each) for each in courses[cut:]] == expected
