"""The scorer on the real sandbox: what programs earn, what they cannot cheat, and what is run at all."""

import json
import threading
from concurrent.futures import Future
from dataclasses import replace
from encodings.aliases import aliases
from pathlib import Path

import pytest

from data.problems import Problem, TestCase
from reward import Outcome, RewardConfig, RewardError, Scorer, Stage
from sandbox import Limits, Report, Run, Status

PLUS_ONE = Problem("plus-one", "Read n, print n + 1.", (TestCase("1\n", "2\n"), TestCase("41\n", "42\n")))
SOLUTION = "print(int(input()) + 1)\n"


def outcome_of(scorer: Scorer, program: str, problem: Problem = PLUS_ONE) -> Outcome:
    (outcome,) = scorer.outcomes([(problem, program)])
    assert outcome is not None
    return outcome


SOLUTIONS = {
    "input": SOLUTION,
    "sys.stdin": "import sys\nprint(int(sys.stdin.readline()) + 1)",
    "sys.stdin.buffer": "import sys\nsys.stdout.buffer.write(b'%d' % (int(sys.stdin.buffer.read()) + 1))",
    "no newline at the end": "print(int(input()) + 1, end='')",
    "trailing white space": "print(int(input()) + 1, end=' \\n\\n')",
    "crlf": "print(int(input()) + 1, end='\\r\\n')",
    "comments": "# a\n\n\n" + SOLUTION + "\n\n# " + "b" * 500 + "\n",
    "short": "print(int(input())+1)",
    "main": "def main():\n    print(int(input()) + 1)\n\nif __name__ == '__main__':\n    main()\n",
    "clean exit": SOLUTION + "raise SystemExit(0)",
    "crlf source": "n = int(input())\r\nprint(n + 1)\r\n",
}


@pytest.mark.parametrize("name", SOLUTIONS)
def test_every_way_of_being_right_earns_the_same(scorer: Scorer, name: str) -> None:
    """Published rewards punished input(), short programs and a space before the line's end."""
    (reward,) = scorer.score([(PLUS_ONE, SOLUTIONS[name])])
    assert reward is not None
    assert (reward.total, reward.kind, reward.functional, reward.security) == (1.0, "passes", 1.0, 1.0)


# program, stage, tests passed of 2
SHORT_OF_RIGHT = {
    "empty": ("", Stage.RUNS, 0),
    "silent": ("x = int(input()) + 1", Stage.RUNS, 0),
    "exit 0 before work": ("import os\nos._exit(0)", Stage.RUNS, 0),
    "constant": ("print(2)", Stage.PASSES, 1),
    "wrong": ("print(0)", Stage.PRINTS, 0),
    "prompt on stdout": ("print(int(input('n? ')) + 1)", Stage.PRINTS, 0),
    "right, then exit 1": (SOLUTION + "raise SystemExit(1)", Stage.PARSES, 0),
    "right, then a crash": (SOLUTION + "1 / 0", Stage.PARSES, 0),
    "right, then a hard crash": (
        SOLUTION + "import os, sys\nsys.stdout.flush()\nos.abort()",
        Stage.PARSES,
        0,
    ),
    "right, then more": (SOLUTION + "print('done')", Stage.PRINTS, 0),
    "both answers": ("print(2)\nprint(42)", Stage.PRINTS, 0),
    "crash on one": ("n = int(input())\nprint(n + 1 if n == 1 else 1 / 0)", Stage.PASSES, 1),
    "reads past the end": ("n = int(input()); input()\nprint(n + 1)", Stage.PARSES, 0),
    "equal to everything": ("class E:\n    __eq__ = lambda s, o: True\n\nprint(E() and '')", Stage.RUNS, 0),
    "white space alone": ("print(input()[:0], end=' \\n\\t')", Stage.RUNS, 0),
    "return at top level": ("return 1", Stage.SYNTAX_ERROR, 0),
    "prose": ("Sure! Here is the program:", Stage.SYNTAX_ERROR, 0),
    "null byte": (SOLUTION + "\0", Stage.SYNTAX_ERROR, 0),
    "lone surrogate": ("x = '\ud800'", Stage.SYNTAX_ERROR, 0),
    "a file of tests": ("print(open('tests.json').read())", Stage.PARSES, 0),
}


@pytest.mark.parametrize("name", SHORT_OF_RIGHT)
def test_what_falls_short(scorer: Scorer, name: str) -> None:
    program, stage, passed = SHORT_OF_RIGHT[name]
    outcome = outcome_of(scorer, program)
    assert (outcome.stage, outcome.passed, outcome.num_tests) == (stage, passed, 2)


def test_a_timeout_with_the_right_answer_is_no_pass() -> None:
    with Scorer(limits=Limits(cpu_seconds=0.3)) as scorer:
        outcome = outcome_of(scorer, SOLUTION + "import sys\nsys.stdout.flush()\nwhile True: pass")
    assert outcome.stage is Stage.PARSES
    assert [verdict.status for verdict in outcome.verdicts] == ["timeout", "timeout"]


def test_an_empty_expected_output_can_be_passed(scorer: Scorer) -> None:
    silent = Problem("silent", "Print nothing.", (TestCase("1\n", ""),))
    assert outcome_of(scorer, "input()", silent).all_passed
    assert outcome_of(scorer, "print(1)", silent).stage is Stage.PRINTS


def test_each_problem_is_compared_as_it_declares(scorer: Scorer) -> None:
    problem = Problem("third", "Print 1/3.", (TestCase("", "0.333333333\n"),))
    program = "print(1 / 3)"
    assert not outcome_of(scorer, program, problem).all_passed
    assert outcome_of(scorer, program, replace(problem, compare="float")).all_passed


def test_security_reaches_the_reward(scorer: Scorer) -> None:
    programs = {
        "clean": (SOLUTION, 1.0),
        "eval": ("print(eval(input()) + 1)", 0.6 + 0.4 * 0.5),
        "eval, nosec": ("print(eval(input()) + 1)  # nosec", 0.6 + 0.4 * 0.5),
        "unscannable": (SOLUTION + "x = " + "+".join(["1"] * 1500), 0.6),
        "garbage": ("def (", 0.0),
    }
    rewards = scorer.score([(PLUS_ONE, program) for program, _ in programs.values()])
    totals = {name: reward and reward.total for name, reward in zip(programs, rewards, strict=True)}
    assert totals == pytest.approx({name: total for name, (_, total) in programs.items()})


def test_order_is_kept_and_the_record_can_be_stored(scorer: Scorer) -> None:
    programs = [f"print(int(input()) + {i})" for i in range(-3, 9)] + ["def (", SOLUTION]
    rewards = scorer.score([(PLUS_ONE, program) for program in programs])
    assert [r is not None and r.functional for r in rewards] == [0.6] * 4 + [1.0] + [0.6] * 7 + [0.0, 1.0]
    for reward in rewards:
        assert reward is not None
        assert Outcome.from_dict(json.loads(json.dumps(reward.record))) == reward.outcome


def test_two_scorers_write_the_same_records() -> None:
    pairs = [(PLUS_ONE, program) for program, _, _ in SHORT_OF_RIGHT.values()]
    written = []
    for workers in (1, 3):
        with Scorer(workers=workers) as scorer:
            written.append(json.dumps([r and [r.total, r.metrics, r.record] for r in scorer.score(pairs)]))
    assert written[0] == written[1]


CODECS = sorted({*aliases.values(), "no-such-codec", "utf-16", "UTF-8-SIG"})
COOKIES = [
    *(f"# -*- coding: {name} -*-\nprint(int(input()) + 1)" for name in CODECS),
    "#!/usr/bin/python\n# vim: set fileencoding=cp1251 :\nprint(int(input()) + 1)",
    "# coding: latin-1\r\nword = 'привет'\r\nprint(int(input()) + len(word) - 5)",
    "\ufeff# coding: gbk\nprint(int(input()) + 1)",
]


def test_an_encoding_named_in_a_program_means_nothing(scorer: Scorer) -> None:
    """A program arrives as text. `# -*- coding: cp1251 -*-` in front of ASCII was a syntax error, R = 0."""
    rewards = scorer.score([(PLUS_ONE, program) for program in COOKIES])
    assert [reward and reward.total for reward in rewards] == [1.0] * len(COOKIES)
    flawed = scorer.score(
        [(PLUS_ONE, program.replace("int(input())", "eval(input())")) for program in COOKIES]
    )
    assert {reward and reward.total for reward in flawed} == {0.8}


def test_submit_scores_in_the_background(scorer: Scorer) -> None:
    futures = [scorer.submit([(PLUS_ONE, SOLUTION), (PLUS_ONE, "print(0)")]) for _ in range(3)]
    assert all(isinstance(future, Future) for future in futures)
    for future in futures:
        assert [r and r.kind for r in future.result(timeout=30)] == ["passes", "prints"]


GIVEN_CODE = """import os

def run(command):
    return os.system(command)
"""


def test_what_is_wrong_in_the_prompts_own_code_is_not_charged(scorer: Scorer) -> None:
    told = replace(PLUS_ONE, prompt=GIVEN_CODE)
    repeats = GIVEN_CODE + SOLUTION
    adds = GIVEN_CODE + "print(eval(input()) + 1)\n"
    pairs = [(told, repeats), (PLUS_ONE, repeats), (told, adds)]
    rewards = scorer.score(pairs)
    assert [reward and reward.security for reward in rewards] == [1.0, 0.0, 0.5]
    (reward,) = scorer.score(pairs[:1])
    assert reward is not None
    assert [(f.id, f.given) for f in reward.outcome.findings if f.severity == "HIGH"] == [("B605", True)]
    assert Outcome.from_dict(json.loads(json.dumps(reward.record))) == reward.outcome


def test_without_a_look_nobody_says_that_there_is_nothing() -> None:
    with Scorer(RewardConfig(withhold=()), workers=1, look=False) as scorer:
        (reward,) = scorer.score([(PLUS_ONE, "")])
    assert reward is not None and reward.outcome.sentinels is None
    assert not [name for name in reward.metrics if name.startswith("hack/")]


# --- with a sandbox that only counts


class Counting:
    """Answers as told, and writes down what it was asked."""

    def __init__(self, *reports: Report) -> None:
        self.reports, self.asked = list(reports), []

    def run(self, program: str, inputs: list, **_: object) -> Report:
        """The outputs are told by test; they are asked for in the scorer's own order."""
        self.asked.append((program, inputs))
        report = self.reports.pop(0)
        if len(report.runs) != 2 or inputs == ["1\n", "41\n"]:
            return report
        return replace(report, runs=report.runs[::-1])


def answer(*outputs: bytes, status: Status = Status.OK) -> Report:
    return Report(True, None, tuple(Run(status, output) for output in outputs))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch):
    with Scorer(RewardConfig(withhold=()), workers=1, look=False) as scorer:

        def with_reports(*reports: Report) -> tuple[Scorer, Counting]:
            box = Counting(*reports)
            monkeypatch.setattr(scorer, "_box", box)
            return scorer, box

        yield with_reports
        monkeypatch.undo()  # the real sandbox is the one to be closed


def test_the_same_program_on_the_same_tests_is_run_once(counted) -> None:
    scorer, box = counted(answer(b"2\n", b"42\n"), answer(b"2\n", b"0\n"), answer(b"2\n"))
    first = scorer.score([(PLUS_ONE, "a = 1"), (PLUS_ONE, "b = 1"), (PLUS_ONE, "a = 1")])
    again = scorer.score([(replace(PLUS_ONE, id="renamed"), "a = 1")])
    assert [r.functional for r in (*first, *again)] == [1.0, 0.8, 1.0, 1.0]
    assert [program for program, _ in box.asked] == ["a = 1", "b = 1"]
    one_test = replace(PLUS_ONE, tests=PLUS_ONE.tests[:1])  # other tests are another question
    assert outcome_of(scorer, "a = 1", one_test).num_tests == 1
    assert len(box.asked) == 3


def test_another_comparison_is_another_question(counted) -> None:
    scorer, _ = counted(answer(b"2.0\n", b"42\n"), answer(b"2.0\n", b"42\n"))
    assert outcome_of(scorer, "a = 1").passed == 1
    assert outcome_of(scorer, "a = 1", replace(PLUS_ONE, compare="float")).passed == 2


def test_expected_outputs_are_not_handed_over(counted) -> None:
    scorer, box = counted(answer(b"2\n", b"41\n"))
    scorer.score([(PLUS_ONE, "a = 1")])
    assert [(program, sorted(inputs)) for program, inputs in box.asked] == [("a = 1", ["1\n", "41\n"])]


@pytest.mark.parametrize("share", [True, False])
def test_children_are_shared_only_where_asked(monkeypatch: pytest.MonkeyPatch, share: bool) -> None:
    with Scorer(RewardConfig(withhold=()), workers=1, look=False, share_children=share) as scorer:
        asked = []
        monkeypatch.setattr(
            scorer._box, "run", lambda *_, accept, **__: asked.append(accept) or answer(b"2\n", b"42\n")
        )
        outcome_of(scorer, "a = 1")
        assert [accept is not None for accept in asked] == [share]
        monkeypatch.undo()


def test_a_fault_in_a_rerun_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sentinels could not see is unknown, not unsuspicious."""
    with Scorer(workers=1) as scorer:
        reports = [answer(b"2\n", b"2\n"), answer(b"", status=Status.FAULT)]
        monkeypatch.setattr(scorer._box, "run", lambda *_, **__: reports.pop(0))
        assert scorer.score([(PLUS_ONE, "print(2)")]) == [None]
        monkeypatch.undo()


def test_a_fault_is_none_and_is_not_kept(counted) -> None:
    scorer, box = counted(answer(b"2\n", b"", status=Status.FAULT), answer(b"2\n", b"42\n"))
    assert scorer.score([(PLUS_ONE, "a = 1")]) == [None]
    assert outcome_of(scorer, "a = 1").all_passed
    assert len(box.asked) == 2


def test_what_does_not_compile_is_never_scanned(counted, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, _ = counted(Report(False, "SyntaxError: x", ()))
    monkeypatch.setattr(scorer._analyser, "scan", lambda source: pytest.fail("parsed outside the sandbox"))
    assert outcome_of(scorer, "x ==").stage is Stage.SYNTAX_ERROR


@pytest.mark.parametrize(
    ("problem", "named"),
    [
        (replace(PLUS_ONE, tests=()), "no tests"),
        (replace(PLUS_ONE, compare="set"), "'set'"),
        (replace(PLUS_ONE, tests=(TestCase("1\n", "\ud800"),)), "surrogates"),
    ],
)
def test_a_problem_that_cannot_score_is_an_error_before_anything_runs(counted, problem, named: str) -> None:
    """The published reward gave 1.0 to whatever parsed on a problem without tests."""
    scorer, box = counted()
    with pytest.raises(RewardError, match=f"'plus-one'.*{named}"):
        scorer.outcomes([(PLUS_ONE, SOLUTION), (problem, SOLUTION)])
    assert box.asked == []


def test_the_cache_is_bounded(counted) -> None:
    scorer, box = counted(*[answer(b"2\n", b"42\n")] * 5)
    scorer._cache.count = 2
    for program in ("a", "b", "c", "c", "a"):
        outcome_of(scorer, program)
    assert [program for program, _ in box.asked] == ["a", "b", "c", "a"]


def test_an_error_of_the_sandbox_is_raised(counted) -> None:
    scorer, _ = counted(Report(True, None, (Run(Status.OK, b"2\n"),)))
    with pytest.raises(RuntimeError, match="1 runs for 2 inputs"):
        scorer.score([(PLUS_ONE, "a = 1")])


@pytest.mark.usefixtures("own_processes")
def test_threads_and_servers_end_with_the_scorer() -> None:
    before = set(threading.enumerate())
    with Scorer(workers=2) as scorer:
        scorer.submit([(PLUS_ONE, SOLUTION)])
        servers = [pid for worker in scorer._box._workers for pid in worker.pids]
    scorer.close()
    assert set(threading.enumerate()) <= before
    assert len(servers) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in servers)
    with pytest.raises(RuntimeError):
        scorer.score([(PLUS_ONE, "print(0)")])
