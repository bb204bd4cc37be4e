"""How often sentinels take an honest program for one that plays the reward.

    python benchmarks/sentinels.py --problems codecontests.jsonl

Right programs of the embedded corpus (held-out split), the same problems with one slip that compiles, and the
solutions of a file of problems, of which only those count that pass all tests here. How many tricks are seen
is a test: tests/reward/hacking/test_reward_sentinels.py.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # not this folder: it has a reward.py of its own
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data import Problem, load_problems
from data.tiny.corpus import TinyCorpusConfig, tiny_split
from data.tiny.slips import demonstrations
from reward import Outcome, Scorer
from sandbox import Limits

SLIPS = TinyCorpusConfig(slip_rate=1.0, syntax_share=0.0, runtime_share=0.1, second_slip=0.0)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=Path, help="a file of problems with solutions")
    parser.add_argument("--cpu-seconds", type=float, default=10.0, help="limit of a run (10)")
    arguments = parser.parse_args()
    heldout = tiny_split("heldout", SLIPS)
    print("| programs | count | pass | show a sign | which |\n|---|---|---|---|---|")
    with Scorer(limits=Limits(cpu_seconds=arguments.cpu_seconds)) as scorer:
        print(row("right", scored(scorer, [(problem, problem.solutions[0]) for problem in heldout])))
        print(row("with a slip", scored(scorer, demonstrations(heldout, SLIPS))))
        if arguments.problems:
            problems = load_problems(arguments.problems, skipped=Counter())
            pairs = [(problem, solution) for problem in problems for solution in problem.solutions]
            passing = [outcome for outcome in scored(scorer, pairs) if outcome.all_passed]
            print(row(arguments.problems.name, passing))


def scored(scorer: Scorer, pairs: Sequence[tuple[Problem, str]]) -> list[Outcome]:
    """The outcomes, without those on which the sandbox failed."""
    return [outcome for outcome in scorer.outcomes(pairs) if outcome is not None]


def row(name: str, outcomes: Sequence[Outcome]) -> str:
    """One line of the table."""
    signs = Counter(sign for outcome in outcomes for sign in outcome.sentinels or ())
    told = ", ".join(f"{sign} {count}" for sign, count in signs.most_common()) or "-"
    passing = sum(outcome.all_passed for outcome in outcomes)
    return f"| {name} | {len(outcomes)} | {passing} | {sum(bool(o.sentinels) for o in outcomes)} | {told} |"


if __name__ == "__main__":
    main()
