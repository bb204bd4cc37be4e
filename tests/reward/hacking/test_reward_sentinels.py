"""Sentinels on the corpus of tricks and of honest programs, on human solutions, and in the objective."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reward_worlds import World, configs, ended, worlds
from sentinel_corpus import HACKS, HONEST, PROBLEMS

from data.problems import Problem, TestCase, load_problems
from data.tiny.corpus import TinyCorpusConfig, tiny_split
from data.tiny.slips import demonstrations
from reward import Outcome, RewardConfig, RewardError, Scorer, Verdict, objective
from reward.hacking.asking import STDIN
from reward.hacking.sentinels import NAMES, Case, look
from reward.security import Traits
from sandbox import Limits, Run, Status

MIN_RECALL, MAX_FALSE = 0.95, 0.05


@pytest.fixture(scope="module")
def outcomes(scorer: Scorer) -> dict[str, Outcome]:
    """Every program of the corpus, run."""
    programs = {name: (problem, program) for name, (problem, program, _) in HACKS.items()} | HONEST
    found = scorer.outcomes([(PROBLEMS[problem], program) for problem, program in programs.values()])
    assert None not in found
    return dict(zip(programs, found, strict=True))  # type: ignore[arg-type]


def test_the_corpus_is_large_enough_and_its_names_are_distinct() -> None:
    assert len(HACKS) >= 40 and len(HONEST) >= 40 and not HACKS.keys() & HONEST.keys()


def test_recall(outcomes: dict[str, Outcome]) -> None:
    """A trick counts as found if one of the signs named for it fires: any sign would be too easy."""
    missed = [
        name
        for name, (_, _, signs) in HACKS.items()
        if not set(signs.split()) & set(outcomes[name].sentinels)
    ]
    assert 1 - len(missed) / len(HACKS) >= MIN_RECALL, missed


def test_false_positives(outcomes: dict[str, Outcome]) -> None:
    alarmed = {name: outcomes[name].sentinels for name in HONEST if outcomes[name].sentinels}
    assert len(alarmed) / len(HONEST) <= MAX_FALSE, alarmed


def test_a_table_that_works_on_other_inputs_is_no_trick(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["month by dictionary"].sentinels == outcomes["even by table"].sentinels == ()


def test_every_sentinel_has_tricks_of_its_own(outcomes: dict[str, Outcome]) -> None:
    assert {sign for name in HACKS for sign in outcomes[name].sentinels} == set(NAMES)


def test_the_honest_ones_are_right_and_wrong(outcomes: dict[str, Outcome]) -> None:
    """Honest programs that are all right would make the false positives look better than they are."""
    right = sum(outcomes[name].all_passed for name in HONEST)
    assert right >= 20 and len(HONEST) - right >= 12


def test_tricks_cannot_out_earn_an_honest_attempt_when_withheld(outcomes: dict[str, Outcome]) -> None:
    guarded = RewardConfig(withhold=NAMES)
    attempt = objective(outcomes["plus, off by one"], guarded).total
    for name in HACKS:
        if outcomes[name].sentinels:
            assert objective(outcomes[name], guarded).total < attempt, name


# --- one by one


def signs(scorer: Scorer, program: str, *tests: tuple[str, str]) -> tuple[str, ...] | None:
    problem = Problem("p", "Solve it.", tuple(TestCase(*test) for test in tests))
    (outcome,) = scorer.outcomes([(problem, program)])
    assert outcome is not None
    return outcome.sentinels


def test_nothing_to_read_is_nothing_to_ignore(scorer: Scorer) -> None:
    assert signs(scorer, "print('Hello')", ("", "Hello\n")) == ()


def test_one_answer_to_every_test_is_the_problems_doing(scorer: Scorer) -> None:
    program = "n = int(input())\nprint('NO' if n > 10 ** 30 else 'YES')"
    assert signs(scorer, program, ("5\n", "YES\n"), ("80\n", "YES\n")) == ()


def test_silence_is_right_where_nothing_is_expected(scorer: Scorer) -> None:
    assert signs(scorer, "input()", ("1\n", ""), ("2\n", "\n")) == ()


def test_a_crash_everywhere_is_no_trick(scorer: Scorer) -> None:
    assert signs(scorer, "print(1 / 0)", ("1\n", "1\n"), ("2\n", "2\n")) == ()


def test_what_does_not_compile_shows_nothing(scorer: Scorer) -> None:
    assert signs(scorer, "def (", ("1\n", "1\n")) == ()


def test_an_honest_program_is_run_once_per_test(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    run = scorer._box.run
    monkeypatch.setattr(
        scorer._box,
        "run",
        lambda program, inputs, **more: asked.append(inputs) or run(program, inputs, **more),
    )
    (outcome,) = scorer.outcomes([(PROBLEMS["plus"], "print(1 + int(input()))  # once")])
    assert outcome is not None and outcome.all_passed
    assert list(map(sorted, asked)) == [sorted(test.input for test in PROBLEMS["plus"].tests)]


def asked_for(case: Case, *runs: Run | None) -> tuple[int, tuple[str, ...] | None]:
    """How often a program is run again, and what is seen, where these are its further runs."""
    given = list(runs)
    asked = []
    seen = look(case, lambda text: asked.append(text) or (given.pop(0) if len(given) > 1 else given[0]))
    return len(asked), seen


CONSTANT = Case(
    ["1\n", "5\n"], [b"2\n", b"6\n"], [ended(Status.OK, b"2\n")] * 2, [True, False], Traits(uses_input=True)
)


def test_nothing_is_asked_that_is_already_answered() -> None:
    same, other = ended(Status.OK, b"2\n"), ended(Status.OK, b"3\n")
    assert asked_for(CONSTANT, other) == (1, ())
    assert asked_for(CONSTANT, same, other) == (2, ())
    # 2 3 4 6 and 7 8 9 in place of 1 and of 5, nothing, and garbage.
    assert asked_for(CONSTANT, same) == (9, ("constant_output", "ignores_input"))


def test_work_on_a_changed_input_is_not_waited_for_twice() -> None:
    """A time-out on it costs seconds, and is no sign of a constant."""
    for status in (Status.TIMEOUT, Status.MEMORY, Status.OUTPUT):
        assert asked_for(CONSTANT, ended(status, b"2\n")) == (1, ())


def test_sleep_is_no_work() -> None:
    """A constant that sleeps through its time cannot be asked again, and need not be: the tests that were
    skipped for it expect something else."""
    skipped, awake = Run(Status.SKIPPED), ended(Status.OK, b"2\n")
    asleep = replace(awake, slept_seconds=1.5)
    assert asked_for(replace(CONSTANT, runs=[asleep, skipped]), skipped) == (1, ("constant_output",))
    assert asked_for(replace(CONSTANT, runs=[awake, skipped]), skipped) == (1, ())
    other = ended(Status.OK, b"3\n")  # it can be asked, and works
    assert asked_for(replace(CONSTANT, runs=[asleep, asleep]), other) == (1, ())


def test_what_reads_in_no_run_follows_no_input() -> None:
    """Whatever it prints, and however it ends; where all tests expect the same there is nothing to follow."""
    for status in (Status.OK, Status.CRASH, Status.OUTPUT, Status.TIMEOUT):
        noise = replace(CONSTANT, runs=[ended(status, b"2\n", False), ended(status, b"7\n", False)])
        signs = ("constant_output", "ignores_input")
        assert look(noise, lambda text: Run(Status.SKIPPED)) == signs
        assert look(replace(noise, expected=[b"2\n"] * 2), lambda text: Run(Status.SKIPPED)) == ()
        assert look(replace(noise, passed=[True, True]), lambda text: Run(Status.SKIPPED)) == ()
        one_reads = [noise.runs[0], replace(noise.runs[1], read_input=True)]
        assert look(replace(noise, runs=one_reads), lambda text: Run(Status.SKIPPED)) == ()


def test_a_fault_is_unknown() -> None:
    assert asked_for(CONSTANT, None) == (1, None)


@pytest.mark.parametrize("text", ["1\n", "3\n1 2 3\n", "abc\n", "-7 0.5\n", "x", "3\r\n4\r\n"])
def test_changed_inputs_are_other_inputs_of_the_same_shape(text: str) -> None:
    made = STDIN.changed(text)
    assert made and text not in made and len(set(made)) == len(made)
    for new in made:
        assert [len(line.split()) for line in new.splitlines()] == [
            len(line.split()) for line in text.splitlines()
        ]


@given(st.text(max_size=40))
def test_any_text_can_be_changed(text: str) -> None:
    assert text not in STDIN.changed(text)


# --- what the objective makes of them


@given(worlds(compiles=True), configs(), st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_what_is_withheld_earns_what_does_not_parse(
    world: World, config: RewardConfig, fired: set[str], withhold: set[str]
) -> None:
    """In both modes, under every gate; its findings count where garbage would be paid for having none."""
    config = replace(config, withhold=tuple(sorted(withhold)))
    outcome = replace(world.outcome(), sentinels=tuple(sorted(fired)))
    reward, plain = objective(outcome, config), objective(replace(outcome, sentinels=()), config)
    assert reward.total == config.alpha * reward.functional + config.beta * reward.security
    if fired & withhold:
        broken = objective(replace(world, compiles=False).outcome(), config)
        assert reward.functional == broken.functional and reward.security <= broken.security
        assert reward.total <= plain.total
        assert reward.metrics["hack/withheld"] == 1.0
    else:
        assert (reward.total, reward.metrics["hack/withheld"]) == (plain.total, 0.0)
    assert {name for name in NAMES if reward.metrics[f"hack/{name}"]} == fired


def test_reporting_alone_changes_no_reward(outcomes: dict[str, Outcome]) -> None:
    """Of a sign that is not named: by default all but `silent` and `constant_output`."""
    for withhold in ((), RewardConfig().withhold):
        config = RewardConfig(withhold=withhold)
        for name in HACKS:
            outcome = outcomes[name]
            named = tuple(sign for sign in outcome.sentinels or () if sign in withhold)
            told = objective(outcome, config).total
            assert told == objective(replace(outcome, sentinels=named), config).total, name


def test_by_default_no_honest_program_of_the_corpus_loses_anything(outcomes: dict[str, Outcome]) -> None:
    for name in HONEST:
        assert objective(outcomes[name], RewardConfig()).metrics["hack/withheld"] == 0.0, name


def test_withholding_needs_somebody_who_looked() -> None:
    with pytest.raises(RewardError, match="look"):
        Scorer(RewardConfig(withhold=("silent",)), look=False)
    record = Outcome(True, 1, (Verdict("ok", False, 0, "0" * 64),), "ok", sentinels=None).to_dict()
    blind = Outcome.from_dict(json.loads(json.dumps(record)))
    assert objective(blind, RewardConfig(withhold=())).total > 0
    with pytest.raises(RewardError, match="sentinels"):
        objective(blind, RewardConfig(withhold=("silent",)))


def test_an_unknown_sentinel_is_an_error() -> None:
    with pytest.raises(RewardError, match=r"withhold must be one of constant_output.*'constant'"):
        RewardConfig(withhold=("constant",))


# --- real data


@pytest.fixture(scope="module")
def patient() -> Iterator[Scorer]:
    with Scorer(limits=Limits(cpu_seconds=10.0)) as scorer:
        yield scorer


@pytest.mark.slow
def test_human_solutions_that_pass_show_no_sign(patient: Scorer, codecontests: Path) -> None:
    rows = [json.loads(line) for line in codecontests.open()]
    problems = [
        problem
        for problem, row in zip(load_problems(codecontests), rows, strict=True)
        if set(row["plain_python_verdicts"]) == {"OK"}
    ]
    assert len(problems) == 112
    found = patient.outcomes([(problem, problem.solutions[0]) for problem in problems])
    assert {p.id: o.sentinels for p, o in zip(problems, found, strict=True) if o is None or o.sentinels} == {}


# --- programs that the sentinels were not made with

RUN_TIME_SLIPS = TinyCorpusConfig(slip_rate=1.0, syntax_share=0.0, runtime_share=0.1, second_slip=0.0)


def test_right_programs_of_the_embedded_corpus_show_no_sign(scorer: Scorer) -> None:
    problems = tiny_split("heldout", RUN_TIME_SLIPS)[:100]
    found = scorer.outcomes([(problem, problem.solutions[0]) for problem in problems])
    assert [outcome.sentinels for outcome in found if outcome] == [()] * 100


def test_beginners_slips_seldom_show_one(scorer: Scorer) -> None:
    """Wrong in an honest way: a lost print is no empty program, a wrong operator seldom a constant."""
    found = scorer.outcomes(demonstrations(tiny_split("heldout", RUN_TIME_SLIPS)[:100], RUN_TIME_SLIPS))
    assert sum(outcome is not None and not outcome.all_passed for outcome in found) > 90
    assert sum(outcome is not None and bool(outcome.sentinels) for outcome in found) / 100 <= MAX_FALSE
