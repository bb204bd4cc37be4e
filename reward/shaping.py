"""Does a reward keep the order of policies? A checker on toy problems that are small enough to enumerate.

    python -m reward.shaping                              what this project's objectives do
    python -m reward.shaping --stage-credits 0 0 0 0.1 1  and another one

**One draft.** A policy is a distribution over kinds of programs; its true value is the probability that it
solves the problem. A reward keeps the order of all policies exactly when it is constant over the programs
that fail, and higher on those that solve: any difference among failures can be bought with solutions. The
ladder of the paper therefore flips: always printing a wrong answer beats a policy that solves with
probability q and does not parse otherwise, below q = 0.60 with `security_gate` off and below 0.76 with
`parses`. In the paper a constant is such an answer; where it is withheld, it is not.

**Several drafts.** Where a policy can go on from what it has, credit for stages has a form that keeps the
order of *all* policies, whatever the credits (Ng, Harada, Russell 1999): paid as the change of a potential,

    F(s, s') = γ Φ(s') - Φ(s),    Φ(terminal) = 0

Every return then moves by the same -Φ(start). What is paid for printing is taken back when the program is
handed in; the ladder as it stands keeps it. `potential_rewards` is that form for one episode.

With one draft there is nothing between start and end, and the potential form is the true objective itself:
there is no dense reward on finished programs that cannot be played. Hence a schedule: `anneal_at` ends on the
true objective, and a mix of weight w flips only below w times the break-even of its ladder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import NamedTuple, get_args

from entry import prepare
from reward.compare import RewardError
from reward.functional import MODES
from reward.objective import Gate, RewardConfig, mix, true_objective
from reward.outcome import Outcome, Verdict

Score = Callable[[Outcome], float]
PerKind = Mapping[str, float]

NUM_TESTS = 5
CLOSE = 1e-9  # rewards nearer than this are equal: they were added up in another order


def _runs(status: str, size: int, passed: int = 0, signs: tuple[str, ...] = ()) -> Outcome:
    verdicts = (Verdict(status, number < passed, size, "0" * 64, idle=False) for number in range(NUM_TESTS))
    return Outcome(True, NUM_TESTS, tuple(verdicts), "ok", sentinels=signs)


# Every kind of program that the ladder tells apart, all with a clean scan; worst first.
KINDS: dict[str, Outcome] = {
    "syntax error": Outcome(False, NUM_TESTS, (), "syntax"),
    "constant": _runs("ok", 2, 1, ("constant_output", "ignores_input")),  # right once, by chance
    "crash": _runs("crash", 0),
    "silent": _runs("ok", 0),  # it uses what it reads: what does not earns what a syntax error does
    "wrong": _runs("ok", 2),  # and another on another input
    "one in five": _runs("ok", 2, 1),
    "four in five": _runs("ok", 2, 4),
    "solution": _runs("ok", 2, 5),
}
RIVALS = ("constant", "wrong", "four in five")
FAILURES = tuple(kind for kind, outcome in KINDS.items() if not outcome.all_passed)


def solves(outcome: Outcome) -> float:
    """What is really wanted: 1 for a program that passes every test."""
    return float(outcome.all_passed)


def per_kind(score: Score) -> PerKind:
    """What each kind of program earns."""
    return {kind: score(outcome) for kind, outcome in KINDS.items()}


class Valued(NamedTuple):
    """A policy with what it is worth and what a reward says of it, both in expectation."""

    policy: str
    true: float
    reward: float


def flip(valued: Sequence[Valued]) -> tuple[Valued, Valued] | None:
    """The widest counter-example: a policy that is truly better and earns no more; None if order is kept."""
    found: tuple[Valued, Valued] | None = None
    richest: Valued | None = None  # among those that are truly worse
    level: list[Valued] = []
    for one in sorted(valued, key=lambda v: v.true):
        if level and one.true > level[-1].true + CLOSE:
            richest = max([*level, *([richest] if richest else [])], key=lambda v: v.reward)
            level = []
        level.append(one)
        if richest is not None and one.reward <= richest.reward + CLOSE:
            if found is None or richest.reward - one.reward > found[1].reward - found[0].reward:
                found = (one, richest)
    return found


# --- one draft


def policies(steps: int = 100) -> Iterator[tuple[str, dict[str, Fraction]]]:
    """Every kind of program for certain, and every "solves with probability q, else this failure"."""
    for kind in KINDS:
        yield f"always {kind}", {kind: Fraction(1)}
    for fallback in FAILURES:
        for step in range(1, steps):
            q = Fraction(step, steps)
            yield f"{float(q):.2f} solution, else {fallback}", {"solution": q, fallback: 1 - q}


def one_draft(score: Score, steps: int = 100) -> list[Valued]:
    """All `policies` under a reward."""
    paid = per_kind(score)
    return [
        Valued(
            name,
            float(chances.get("solution", 0)),
            sum(float(chance) * paid[kind] for kind, chance in chances.items()),
        )
        for name, chances in policies(steps)
    ]


def break_even(score: Score, rival: str = "wrong", fallback: str = "syntax error") -> float:
    """The q below which "solves with probability q, else `fallback`" earns less than "always `rival`".

    0 where it never does. Solves q * R(solution) + (1 - q) * R(fallback) = R(rival).
    """
    solved, failed, other = (score(KINDS[kind]) for kind in ("solution", fallback, rival))
    if other <= failed + CLOSE:
        return 0.0
    return (other - failed) / (solved - failed) if solved > failed + CLOSE else 1.0


# --- several drafts


def potential_rewards(potentials: Sequence[float], score: float, gamma: float = 1.0) -> list[float]:
    """Rewards of an episode whose states have these potentials and whose end earns `score`.

    r_t = γ Φ(s_{t+1}) - Φ(s_t), with Φ = 0 after the last state; the score is added to the last reward. One
    reward per state. Discounted, they sum to γ^(T-1) score - Φ(s_0): no choice of actions changes Φ(s_0).
    """
    if not potentials:
        raise ValueError("an episode has at least one state")
    rewards = [
        gamma * after - before for before, after in zip(potentials, [*potentials[1:], 0.0], strict=True)
    ]
    rewards[-1] += score
    return rewards


ACTIONS = ("hand in", "play safe", "attempt")


@dataclass(frozen=True)
class Drafting:
    """A toy with several drafts: start empty, edit up to `edits` times, hand in.

    "play safe" makes the draft one that prints a wrong answer. "attempt" makes it a solution with
    probability `q`, and breaks it otherwise. What is left when the edits are used up is handed in.
    """

    q: float
    edits: int = 3

    def after(self, action: str) -> list[tuple[float, str]]:
        """Chances and drafts that an edit leads to."""
        if action == "play safe":
            return [(1.0, "wrong")]
        return [(self.q, "solution"), (1.0 - self.q, "syntax error")]

    def decisions(self) -> list[tuple[str, int]]:
        """Every (draft, edits left) in which a policy has a choice."""
        later = range(1, self.edits)
        return [
            ("silent", self.edits),
            *((draft, left) for left in later for draft in ("syntax error", "wrong", "solution")),
        ]

    def policies(self) -> Iterator[dict[tuple[str, int], str]]:
        """All deterministic policies: an action for every decision."""
        decisions = self.decisions()
        for actions in product(ACTIONS, repeat=len(decisions)):
            yield dict(zip(decisions, actions, strict=True))

    def value(
        self, policy: dict[tuple[str, int], str], paid: PerKind, potential: PerKind, gamma: float
    ) -> float:
        """Expected discounted return: `paid` for what is handed in, shaped by `potential` on every step."""

        def follow(draft: str, left: int) -> float:
            action = policy[draft, left] if left else "hand in"
            if action == "hand in":
                return potential_rewards([potential[draft]], paid[draft], gamma)[0]
            return sum(
                chance * (gamma * potential[new] - potential[draft] + gamma * follow(new, left - 1))
                for chance, new in self.after(action)
            )

        return follow("silent", self.edits)


def several_drafts(
    q: float, score: Score, potential: Score = lambda outcome: 0.0, gamma: float = 1.0
) -> list[Valued]:
    """All policies of `Drafting` under a reward; true values are discounted alike."""
    toy, nothing = Drafting(q), dict.fromkeys(KINDS, 0.0)
    solved, paid, potentials = per_kind(solves), per_kind(score), per_kind(potential)
    return [
        Valued(
            ", ".join(f"{action} at {draft} ({left} left)" for (draft, left), action in policy.items()),
            toy.value(policy, solved, nothing, gamma),
            toy.value(policy, paid, potentials, gamma),
        )
        for policy in toy.policies()
    ]


# --- the command


def total(config: RewardConfig, weight: float = 1.0) -> Score:
    """R under a configuration, or under a mix of it with the true objective."""
    return lambda outcome: mix(outcome, config, weight).total


def _rows(config: RewardConfig | None) -> dict[str, Score]:
    if config is not None:
        return {"as given": total(config), "its true objective": total(true_objective(config))}
    default = RewardConfig()
    paper = replace(default, security_gate="off", pay_idle=True, withhold=())
    gates: dict[Gate, str] = {gate: f"ladder, gate {gate}" for gate in ("parses", "passes", "earned")}
    gates[default.security_gate] += " (default)"
    return {
        "the paper's ladder, gate off": total(paper),
        **{name: total(replace(default, security_gate=gate)) for gate, name in gates.items()},
        "binary, gate parses": total(replace(default, mode="binary", security_gate="parses")),
        "mix of default and true, 0.5": total(default, 0.5),
        "mix of default and true, 0.1": total(default, 0.1),
        "binary, gate passes (true)": total(true_objective(default)),
    }


def report(config: RewardConfig | None = None, q: float = 0.5) -> str:
    """What the checker finds, as text: one draft under each objective, then several drafts."""
    lines = [
        'One draft: is order kept, and below which q does "solves with probability q, else does not parse"',
        "earn less than always a constant that is right on one test in five, than always a wrong answer that",
        "depends on the input, or than always passing four tests in five?",
        "",
        f"{'reward':32}{'order':>10}{'constant':>10}{'wrong':>10}{'4 in 5':>10}",
    ]
    found = None
    for name, score in _rows(config).items():
        broken = flip(one_draft(score))
        found = found or broken
        bounds = "".join(f"{break_even(score, rival):10.2f}" for rival in RIVALS)
        lines.append(f"{name:32}{'flips' if broken else 'kept':>10}{bounds}")
    if found:
        better, worse = found
        lines += ["", f'e.g. "{better.policy}" (R = {better.reward:.3f}) earns less than']
        lines += [f'     "{worse.policy}" (R = {worse.reward:.3f}), which solves less often']
    score = total(config or RewardConfig())
    lines += ["", f"Several drafts, all {3**7} policies, q = {q:g}:", ""]
    for name, values in {
        "stages paid at the end": several_drafts(q, score),
        "stages as a potential": several_drafts(q, solves, score),
        "stages as a potential, γ = 0.9": several_drafts(q, solves, score, 0.9),
    }.items():
        lines.append(f"{name:32}{'flips' if flip(values) else 'kept':>10}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report. Status 2 for settings that are no objective."""
    parser = argparse.ArgumentParser(prog="python -m reward.shaping", description="Audit an objective.")
    parser.add_argument("--mode", choices=MODES)
    parser.add_argument("--alpha", type=float, help="weight of R_func; that of R_sec is 1 - alpha")
    parser.add_argument("--security-gate", choices=get_args(Gate))
    parser.add_argument("--stage-credits", type=float, nargs=5, metavar="C")
    parser.add_argument("--q", type=float, default=0.5, help="chance of an attempt, with several drafts")
    given = {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None}
    q = given.pop("q")
    if not 0.0 < q < 1.0:
        parser.error("--q must be between 0 and 1")
    if "alpha" in given:
        given["beta"] = 1.0 - given["alpha"]
    try:
        config = RewardConfig(**given) if given else None
    except RewardError as error:
        parser.error(str(error))
    print(report(config, q))
    return 0


if __name__ == "__main__":
    prepare()
    sys.exit(main())
