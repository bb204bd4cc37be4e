"""References: what passes is kept, what does not is told by its first failed test."""

from data import Problem, TestCase
from reward.outcome import Outcome, judge
from reward.references import NO_REFERENCE, check_references
from reward.security import NOT_PARSED, Scan
from sandbox import Report, Run, Status

TESTS = (TestCase("1", "2"), TestCase("2", "3"))


def run(status: Status, stdout: bytes) -> Run:
    return Run(status, stdout, "", 0 if status is Status.OK else 1, None, 0.0, 0.0, 0)


ENDINGS = {
    "right": [(Status.OK, b"2"), (Status.OK, b"3")],
    "wrong": [(Status.OK, b"2"), (Status.OK, b"4")],
    "slow": [(Status.OK, b"2"), (Status.TIMEOUT, b"")],
    "skipped": [(Status.SKIPPED, b""), (Status.TIMEOUT, b"")],
    "crash": [(Status.CRASH, b""), (Status.TIMEOUT, b"")],
}


class Judge:
    """Outcomes by the program's text, and how many were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def outcomes(self, pairs):
        pairs = list(pairs)
        self.asked += [(problem.id, program) for problem, program in pairs]
        return [self.outcome(program) for _, program in pairs]

    def outcome(self, program: str) -> Outcome | None:
        if program == "fault":
            return None
        if program == "broken":
            return judge(Report(False, "SyntaxError", ()), [b"2", b"3"], lambda a, b: a == b, NOT_PARSED)
        runs = tuple(run(*ending) for ending in ENDINGS[program])
        return judge(Report(True, None, runs), [b"2", b"3"], lambda a, b: a == b, Scan("ok"))


def problem(name: str, *solutions: str) -> Problem:
    return Problem(name, "x", TESTS, solutions)


def test_problems_keep_the_solutions_that_pass_and_tell_why_none_does():
    problems = [
        problem("a", "right"),
        problem("b", "wrong", "right", "right"),
        problem("c", "wrong", "slow"),
        problem("d", "skipped"),
        problem("e", "crash"),
        problem("f", "broken"),
        problem("g", "fault"),
        problem("h"),
    ]
    done: list[int] = []
    checked = check_references(Judge(), problems, 2, done.append)
    assert [c.failure for c in checked] == [
        *(None, None, "wrong output", "timeout", "crash", "does not compile", "fault of the sandbox"),
        NO_REFERENCE,
    ]
    assert [c.problem.solutions for c in checked[:2]] == [("right",), ("right",)]
    assert [c.problem for c in checked[2:]] == problems[2:]
    assert done == [8]


def test_no_more_than_so_many_are_run():
    judge_ = Judge()
    check_references(judge_, [problem("a", "wrong", "wrong", "right")] * 100, 2)
    assert judge_.asked == [("a", "wrong")] * 200
