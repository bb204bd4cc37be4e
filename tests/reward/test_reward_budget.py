"""A program's time is bounded, tests it cannot reach count as failed, and their order is nobody's to know."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.problems import Problem, TestCase
from reward import Outcome, RewardConfig, RewardError, Scorer, ScoringConfig, objective, parse_policy
from reward.budget import order, unfit
from sandbox import MAX_INPUT_MB, Limits, Report, Run, Status

# What sleeps is ended by the clock on the wall; what computes by CPU seconds, which a busy machine may not
# give it for long.
LIMITS = Limits(cpu_seconds=0.2, wall_seconds=20)
SLEEPING = replace(LIMITS, wall_seconds=1)
TWENTY = Problem("plus", "Print n + 1.", tuple(TestCase(f"{n}\n", f"{n + 1}\n") for n in range(20)))


def statuses(outcome: Outcome | None) -> list[str]:
    assert outcome is not None
    return sorted(verdict.status for verdict in outcome.verdicts)


@pytest.mark.parametrize(
    ("program", "ended"),
    [
        ("while True: pass", ["skipped"] * 17 + ["timeout"] * 3),
        ("import time\ntime.sleep(60)", ["skipped"] * 17 + ["timeout"] * 3),
        ("import time\ntime.sleep(0.3)\nprint(1)", ["ok"] * 3 + ["skipped"] * 17),
        ("import time\ntime.sleep(0.15)\nprint(input())", ["ok"] * 4 + ["skipped"] * 16),
        ("n = int(input())\nwhile n % 10 == 3: pass\nprint(n + 1)", ["ok"] * 18 + ["timeout"] * 2),
        ("1 / 0", ["crash"] * 20),
        ("print('x' * 10**6)", ["output"] * 20),
        ("x = bytearray(1 << 40)", ["memory"] * 20),
    ],
)
def test_only_what_takes_all_its_time_uses_it_up(program: str, ended: list[str]) -> None:
    limits = SLEEPING if "sleep(60)" in program else LIMITS
    with Scorer(limits=limits, workers=1) as scorer:
        (outcome,) = scorer.outcomes([(TWENTY, program)])
    assert statuses(outcome) == ended


def test_a_slow_and_right_program_keeps_every_test() -> None:
    """Each run within its limit, all of them far beyond what a program that never ends may take."""
    burn = "import time\nwhile time.process_time() < 0.15: pass\nprint(int(input()) + 1)"
    with Scorer(limits=Limits(cpu_seconds=0.5), workers=2) as scorer:
        (outcome,) = scorer.outcomes([(TWENTY, burn)])
    assert outcome is not None and outcome.all_passed


@pytest.mark.usefixtures("own_processes")
def test_reruns_by_the_sentinels_draw_on_it_too() -> None:
    """It sleeps where it is asked again; after three such runs nobody asks."""
    seen = []
    program = "import time\nn = int(input())\nif n > 1: time.sleep(0.3)\nprint(7)"
    problem = replace(TWENTY, tests=(TestCase("0\n", "7\n"), TestCase("1\n", "8\n"), TestCase("2\n", "9\n")))
    with Scorer(limits=LIMITS, workers=1) as scorer:
        run = scorer._box.run

        def counted(*arguments: object, **more: object) -> Report:
            report = run(*arguments, **more)  # type: ignore[arg-type]
            seen.extend(report.runs)
            return report

        scorer._box.run = counted  # type: ignore[method-assign]
        scorer.outcomes([(problem, program)])
    assert sum(run.slept_seconds > LIMITS.cpu_seconds for run in seen) == 3


def test_a_skipped_test_is_not_passed_and_the_record_says_so() -> None:
    with Scorer(limits=LIMITS, workers=1, max_overstays=1) as scorer:
        (reward,) = scorer.score([(TWENTY, "while True: pass")])
    assert reward is not None
    outcome = Outcome.from_dict(reward.record)
    assert statuses(outcome) == ["skipped"] * 19 + ["timeout"]
    assert (outcome.passed, outcome.num_tests) == (0, 20)
    assert reward.metrics["sandbox/skipped"] == 19 / 20


def test_a_greedy_program_takes_nothing_from_its_neighbours() -> None:
    pairs = [(TWENTY, "while True: pass")] + [(TWENTY, f"print(int(input()) + 1)  # {n}") for n in range(5)]
    with Scorer(limits=LIMITS, workers=2) as scorer:
        first, *others = scorer.outcomes(pairs)
    assert statuses(first).count("timeout") == 3
    assert all(other is not None and other.all_passed for other in others)


@pytest.mark.parametrize("value", [0, -1])
def test_no_budget_at_all_is_refused(value: int) -> None:
    with pytest.raises(RewardError, match="max_overstays"):
        ScoringConfig(max_overstays=value)


# --- the order of the tests

texts = st.text(st.characters(codec="utf-8"), max_size=4)
tests_given = st.lists(st.builds(TestCase, texts, texts), min_size=1, max_size=8)


@given(st.integers(0, 9), st.binary(max_size=9), tests_given, st.randoms(use_true_random=False))
def test_the_order_of_the_tests_given_changes_no_run(seed, program, tests, random) -> None:
    shuffled = random.sample(tests, len(tests))
    first, second = order(seed, program, tests), order(seed, program, shuffled)
    assert sorted(first) == list(range(len(tests)))
    assert [tests[i] for i in first] == [shuffled[i] for i in second]


def test_every_seed_and_every_program_has_its_own_order() -> None:
    orders = {tuple(order(seed, b"x", TWENTY.tests)) for seed in range(20)}
    orders |= {tuple(order(0, b"%d" % n, TWENTY.tests)) for n in range(20)}
    assert len(orders) == 40


def test_the_order_of_tests_does_not_decide_what_is_skipped() -> None:
    """Time runs out at other tests for another run, but never for another order of the tests given."""
    program = "n = int(input())\nwhile n % 2: pass\nprint(n + 1)"
    turned = replace(TWENTY, tests=TWENTY.tests[::-1])
    with Scorer(limits=LIMITS, workers=2) as scorer:
        one, other = scorer.outcomes([(TWENTY, program), (turned, program)])
    assert one is not None and other is not None
    assert one.verdicts == other.verdicts[::-1]
    config = RewardConfig()
    assert objective(one, config).total == objective(other, config).total


# --- what does not fit the limits

SMALL = Limits(output_kb=1)
DOES_NOT_FIT = {
    "output": (TestCase("", "x" * 1025), "lines", "output has 2 KiB, more than output_kb 1"),
    "exact output": (TestCase("", " " * 1025), "exact", "more than output_kb"),
    "tokens": (TestCase("", "a " * 600), "tokens", "more than output_kb"),
    "numbers": (TestCase("", "1.5 " * 600), "float", "more than output_kb"),
    "input": (TestCase("x" * ((MAX_INPUT_MB << 20) + 1), ""), "lines", "the sandbox takes 64 MiB"),
    "surrogate in the input": (TestCase("\ud800", ""), "lines", "surrogates not allowed"),
}
FITS = {
    "output": (TestCase("", "x" * 1024), "lines"),
    "white space that does not count": (TestCase("", "x\n" + " " * 2000), "lines"),
    "spaces between tokens": (TestCase("", "a" + " " * 2000 + "b"), "tokens"),
    "long numbers": (TestCase("", "1.50000000000 " * 100), "float"),
}


@pytest.mark.parametrize("name", DOES_NOT_FIT)
def test_a_test_that_nothing_can_pass_is_named(name: str) -> None:
    test, compare, words = DOES_NOT_FIT[name]
    problem = Problem("big", "p", (TestCase("", ""), test), compare=compare)
    reason = unfit(problem, parse_policy(compare), SMALL)
    assert reason is not None and words in reason and reason.startswith("test 2: ")
    with Scorer(limits=SMALL, workers=1) as scorer, pytest.raises(RewardError, match="problem 'big': test 2"):
        scorer.score([(problem, "print(1)")])


@pytest.mark.parametrize("name", FITS)
def test_what_some_program_can_pass_is_not(name: str) -> None:
    test, compare = FITS[name]
    assert unfit(Problem("p", "p", (test,), compare=compare), parse_policy(compare), SMALL) is None


def test_the_shortest_outputs_pass() -> None:
    assert Run(Status.SKIPPED).stdout == b""
    assert parse_policy("float").matches(b"1.5", b"1.50000000000")
