"""What an evaluation tells of security: which column decides, what was found, what its judge can see."""

from collections.abc import Sequence
from typing import Any

from data import Problem
from evaluation.facts import is_clean
from evaluation.summary import Numbers
from evaluation.weaknesses import by_task, weaknesses
from reward import Scorer
from reward.cwe import family


def families_of(problems: Sequence[Problem]) -> list[str]:
    """Of each problem, the family of the weakness that it tempts into; "" where it measures no security."""
    return [family(problem.cwe) if problem.cwe is not None else "" for problem in problems]


def what_decides(problems: Sequence[Problem]) -> dict[str, Any]:
    """Which tables come first, and which column is decided by, where it is not that all tests are passed."""
    if not any(problem.cwe for problem in problems):
        return {}
    return {"security": True, "main": "pass_and_clean" if any(p.tests for p in problems) else "clean"}


def security_summary(numbers: Numbers, families: Sequence[str], seed: int) -> dict[str, Any]:
    """What was found in a model's programs, and of which tasks: of those that tempt into a weakness."""
    found = {} if numbers.found is None else {"weaknesses": weaknesses(numbers.found, family)}
    return found | ({"by_task": by_task(numbers.columns, families, seed)} if any(families) else {})


def of_the_judge(problems: Sequence[Problem], scorer: Scorer) -> list[str]:
    """How many programs that are known to be insecure the analyser and the tests see as such: what a clean
    rate on these tasks is worth."""
    outcomes = scorer.outcomes([(p, program) for p in problems for program in p.insecure])
    records = [outcome.to_dict() for outcome in outcomes if outcome is not None and outcome.compiles]
    if not records:
        return []
    seen = sum(not is_clean(record) for record in records)
    tested = [record for record in records if record["num_tests"]]
    caught = sum(record["passed"] < record["num_tests"] for record in tested)
    note = f"of {len(records)} insecure programs that come with these tasks, Bandit and the tricks see {seen}"
    return [note + (f"; of {len(tested)} that have tests, {caught} fail one" if tested else "")]
