"""What programs of each kind earn, through the sandbox: nothing for what does nothing, then the ladder.

    does not parse = silent = constant  <  honest and wrong  <=  honest and partly right  <  right

Programs are drawn from families that say what they are; the problems ask for a·x + b of two numbers.
"""

from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from reward_worlds import configs

from data import Problem, TestCase
from reward import Outcome, RewardConfig, Scorer, objective

INPUTS = ((1, 2), (3, 5), (-4, 7), (12, 0))
SILENT = (
    *("", "# {c}\n", "pass", "{c}", "x = {c}\nx += 1", "input()", "n = input()", "def f():\n    print({c})"),
    *("import sys\nsys.stdin.read()", "for _ in range({c} % 9):\n    pass", "if input():\n    pass"),
)
CONSTANT = (
    *("print({c})", "print('{c}')", "x = {c}\nprint(x)", "input()\nprint({c})", "n = input()\nprint({c})"),
    *("import sys\nsys.stdout.write('{c}\\n')", "for _ in range(2):\n    print({c})", "print({c} * 1 + 0)"),
    "def main():\n    line = input().split()\n    print({c})\nmain()",
)
READ = "x, y = map(int, input().split())\n"
HONEST = (
    *("print(x)", "print(y, x)", "print(x * y + {c})", "print([x, y])", "print('no' if x > 2 else 'yes')"),
    *("print(x + {c})\nprint(y)", "s = str(x) + str(y)\nprint(s[::-1])", "print(x)\nraise ValueError(y)"),
)
numbers = st.integers(-50, 50)


def problem(a: int, b: int) -> Problem:
    tests = (TestCase(f"{x} {y}\n", f"{a * x + b * y}\n") for x, y in INPUTS)
    return Problem("linear", "Print a x + b y.", tuple(tests))


def programs(a: int, b: int, c: int, data: st.DataObject) -> dict[str, str]:
    """One of each kind; c is any number, and may be the right answer of a test."""
    silent, constant, honest = (data.draw(st.sampled_from(f)) for f in (SILENT, CONSTANT, HONEST))
    right = f"print({a} * x + {b} * y)"
    return {
        "broken": f"print({c}",
        "silent": silent.replace("{c}", str(c)),
        "constant": constant.replace("{c}", str(c)),
        "honest": READ + honest.replace("{c}", str(c)),
        "partial": READ + f"if x < 2:\n    {right}\nelse:\n    print(x, y)",
        "right": READ + right,
    }


def outcomes_of(scorer: Scorer, task: Problem, kinds: dict[str, str]) -> dict[str, Outcome]:
    found = scorer.outcomes([(task, program) for program in kinds.values()])
    assert None not in found
    return dict(zip(kinds, found, strict=True))  # type: ignore[arg-type]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(a=numbers, b=numbers, c=numbers, data=st.data())
def test_every_program_earns_by_what_it_does(
    scorer: Scorer, a: int, b: int, c: int, data: st.DataObject
) -> None:
    """Under the default, and with any weights and credits that rise, whichever gate and mode."""
    assume(len({a * x + b * y for x, y in INPUTS}) == len(INPUTS))
    task = problem(a, b)
    if data.draw(st.booleans()):  # often the constant is right somewhere
        c = int(data.draw(st.sampled_from(task.tests)).output)
    outcomes = outcomes_of(scorer, task, programs(a, b, c, data))
    ladder = (0.0, 0.1, 0.3, 0.5, 1.0)
    drawn = data.draw(configs(smallest_weight=0.01, stage_credits=ladder, pay_idle=False, mode="partial"))
    for config in (RewardConfig(), replace(drawn, security_gate="parses"), drawn):
        earned = {kind: objective(outcome, config).total for kind, outcome in outcomes.items()}
        assert earned["silent"] == earned["constant"] == earned["broken"]
        assert earned["broken"] < earned["honest"] < earned["right"] or config.security_gate == "off"
        assert earned["honest"] <= earned["partial"] < earned["right"]
        binary = replace(config, mode="binary")
        assert objective(outcomes["constant"], binary).total <= objective(outcomes["honest"], binary).total


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(c=numbers, wrong=numbers)
def test_one_answer_to_everything_is_no_constant_where_everything_expects_it(
    scorer: Scorer, c: int, wrong: int
) -> None:
    """There is no dependence on the input to show: what prints it passes, another is an honest mistake."""
    task = Problem("same", f"Print {c}.", tuple(TestCase(f"{x} {y}\n", f"{c}\n") for x, y in INPUTS))
    kinds = {"right": f"print({c})", "reads": f"input()\nprint({c})", "wrong": f"input()\nprint({wrong})"}
    earned = {
        kind: objective(outcome, RewardConfig()).total
        for kind, outcome in outcomes_of(scorer, task, kinds).items()
    }
    assert earned["right"] == earned["reads"] == 1.0
    assert 0.0 < earned["wrong"] == (1.0 if wrong == c else earned["wrong"])


def test_one_output_that_a_tolerance_accepts_everywhere_is_paid(scorer: Scorer) -> None:
    tests = tuple(TestCase(f"{n}\n", f"0.33333{n}\n") for n in (1, 2, 3))
    task = Problem("third", "Print a third.", tests, compare="float(0.001, 0)")
    assert objective(outcomes_of(scorer, task, {"": "print(1 / 3)"})[""], RewardConfig()).total == 1.0
