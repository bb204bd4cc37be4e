"""From an answer's text to its reward: fences change nothing, and nothing to run earns nothing.

The task is to read n and print n + 1.
"""

import pytest

from data import Problem, TestCase, extract
from reward import Scorer

FENCE = "```"
P = "n = int(input())\nprint(n + 1)\n"
WRONG = "n = int(input())\nprint(n)\n"
PROBLEM = Problem("next", "Read n. Print n + 1.", (TestCase("1\n", "2\n"), TestCase("5\n", "6\n")))

RIGHT = {
    "bare": P,
    "a fence": f"Sure!\n{FENCE}python\n{P}{FENCE}\nDone.",
    "an empty fence first": f"{FENCE}python\n{FENCE}\n{FENCE}\n{P}{FENCE}",
    "empty fences around": f"{FENCE}\n{FENCE}\n{FENCE}\n{P}{FENCE}\n{FENCE}\n{FENCE}\n",
    "between mispaired fences": f"{FENCE}\n{FENCE}\n{P}{FENCE}\nThat is all.\n{FENCE}\n",
    "a second instruction": f"{P}\n### Instruction:\nWrite a Python program.\n### Response:\n{WRONG}",
    "single backticks": f"`{P}`",
    "pandoc": f"{FENCE}{{.python}}\n{P}{FENCE}",
    "a title": f'{FENCE}python title="x"\n{P}{FENCE}',
    "tildes": f"~~~\n{P}~~~",
    "tags": f"[PYTHON]\n{P}[/PYTHON]",
    "one line": f"{FENCE}print(int(input()) + 1){FENCE}",
    "an indented fence": f"1. So:\n   {FENCE}python\n{P}   {FENCE}\n",
    "a draft in thinking": f"<think>\n{FENCE}python\n{WRONG}{FENCE}\n</think>\n{FENCE}python\n{P}{FENCE}",
    "a first try": f"Here is a first try:\n{FENCE}python\n{WRONG}{FENCE}\nNo:\n{FENCE}python\n{P}{FENCE}",
    "C++ behind it": f"{P}\n#include <iostream>\nusing namespace std;\nint main() {{}}\n",
}
NOTHING = {
    "nothing": "",
    "empty fences": f"{FENCE}\n" * 4,
    "an empty Python fence": f"{FENCE}python\n{FENCE}",
    "two comments": "# Read n.\n# Print n + 1.\n",
    "two comments in a fence": f"{FENCE}python\n# Read n.\n# Print n + 1.\n{FENCE}",
    "a number in a fence": f"{FENCE}\n0.9375\n{FENCE}",
    "prose": "I would read n and print n + 1.",
}


@pytest.fixture(scope="module")
def earned(scorer: Scorer) -> dict[str, float]:
    """R of every answer under the default objective, scored in one batch."""
    answers = RIGHT | NOTHING
    rewards = scorer.score([(PROBLEM, extract(answer)[0]) for answer in answers.values()])
    assert None not in rewards
    return {name: reward.total for name, reward in zip(answers, rewards, strict=True) if reward is not None}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_program_earns_all_however_it_stands(earned, name):
    assert earned[name] == 1.0


@pytest.mark.parametrize("name", NOTHING)
def test_an_answer_with_nothing_to_run_earns_nothing(earned, name):
    assert earned[name] == 0.0
