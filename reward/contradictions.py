"""Tests that contradict each other: one input, and two outputs that the problem does not count as equal.

No program that answers by its input passes both, so such a problem teaches nothing but to guess.
"""

from data.problem import Problem
from reward.compare import parse_policy


def contradiction(problem: Problem) -> str | None:
    """Which two tests contradict each other, in words; None if no two do. RewardError: unknown comparison."""
    policy = parse_policy(problem.compare)
    first: dict[str, int] = {}
    for number, test in enumerate(problem.tests):
        earlier = first.setdefault(test.input, number)
        known, expected = problem.tests[earlier].output, test.output
        if known != expected and not policy.matches(known.encode(), expected.encode()):
            return f"tests {earlier} and {number} have the same input and different outputs"
    return None
