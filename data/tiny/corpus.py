"""The problems of the embedded default: micro-tasks made here, small enough for a model trained in a minute.

Everything follows from the seed. The splits are disjoint by prompt, and a part of the validation and held-out
problems (`unseen_share`) is worded in ways that no training problem uses; `Problem.source` says which:
tiny/<family>/seen or /unseen.
"""

from dataclasses import dataclass
from functools import lru_cache
from random import Random

from data.problems import Problem
from data.tiny.families_conditions import CONDITIONS
from data.tiny.families_digits import DIGITS
from data.tiny.families_lists import LISTS
from data.tiny.families_loops import LOOPS
from data.tiny.families_numbers import ARITHMETIC
from data.tiny.families_pairs import PAIRS
from data.tiny.families_text import TEXT
from data.tiny.family import Family, Task, draw_task, make_tests

FAMILIES: tuple[Family, ...] = ARITHMETIC + DIGITS + CONDITIONS + LOOPS + PAIRS + LISTS + TEXT

# The smallest is drawn first: the held-out problems of a seed stay the same when training counts change.
SPLITS = ("heldout", "validation", "rl", "sft")

_SHARES = ("unseen_share", "slip_rate", "syntax_share", "runtime_share", "second_slip", "eval_share")
_ATTEMPTS = 1000


@dataclass(frozen=True)
class TinyCorpusConfig:
    seed: int = 0
    """Everything is drawn from it; another seed gives another corpus of the same families."""
    sft: int = 4000
    """Problems with demonstrations, for the supervised warm start."""
    rl: int = 2000
    """Problems for reinforcement learning; none has a demonstration."""
    validation: int = 200
    """Problems to choose checkpoints and settings by."""
    heldout: int = 300
    """Problems to report on; look at them last."""
    unseen_share: float = 0.25
    """Of validation and heldout, the part that is worded in ways no training problem uses."""
    slip_rate: float = 0.95
    """Probability that a demonstration carries a slip. At 0 RL finds little to repair."""
    syntax_share: float = 0.8
    """Of the slips, those that do not compile. Raise it for a start that parses less often."""
    runtime_share: float = 0.1
    """Of the slips, those that compile and crash when run. The rest prints something wrong, or nothing."""
    second_slip: float = 0.45
    """Of the demonstrations with a slip, those that carry a second one, of syntax."""
    eval_share: float = 0.25
    """Probability that an integer is read with eval(input()): right, but a finding for the security term."""

    def __post_init__(self) -> None:
        for name in ("sft", "rl", "validation", "heldout"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; a count is 0 or more")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a share is between 0 and 1")
        if self.syntax_share + self.runtime_share > 1:
            raise ValueError("syntax_share + runtime_share is above 1; they are shares of the same slips")


def tiny_split(name: str, config: TinyCorpusConfig | None = None) -> list[Problem]:
    """The problems of "sft", "rl", "validation" or "heldout"; `solutions` holds the right program."""
    if name not in SPLITS:
        raise ValueError(f"no split {name!r}; the splits are {', '.join(sorted(SPLITS))}")
    return list(_all_splits(config or TinyCorpusConfig())[name])


@lru_cache(maxsize=4)
def _all_splits(config: TinyCorpusConfig) -> dict[str, tuple[Problem, ...]]:
    used: set[str] = set()
    splits = {}
    for name in SPLITS:
        # A string seeds the same generator on every platform, and gives each split a stream of its own.
        rng = Random(f"tiny/{config.seed}/{name}")
        splits[name] = tuple(_draw_split(name, config, rng, used))
    return splits


def _draw_split(name: str, config: TinyCorpusConfig, rng: Random, used: set[str]) -> list[Problem]:
    count: int = getattr(config, name)
    unseen_count = round(count * config.unseen_share) if name in ("validation", "heldout") else 0
    plan = _spread(unseen_count, rng, unseen=True) + _spread(count - unseen_count, rng, unseen=False)
    rng.shuffle(plan)
    tasks = [(_new_task(family, rng, used, unseen), unseen) for family, unseen in plan]
    return [
        _problem(f"tiny-{name}-{number:04d}", name, task, rng, unseen)
        for number, (task, unseen) in enumerate(tasks)
    ]


def _spread(count: int, rng: Random, *, unseen: bool) -> list[tuple[Family, bool]]:
    """`count` families, each as often as any other, give or take one."""
    order = rng.sample(FAMILIES, len(FAMILIES))
    return [(order[index % len(order)], unseen) for index in range(count)]


def _new_task(family: Family, rng: Random, used: set[str], unseen: bool) -> Task:
    for _ in range(_ATTEMPTS):
        task = draw_task(family, rng, unseen=unseen)
        if task.prompt not in used:
            used.add(task.prompt)
            return task
    raise ValueError(f"family {family.name} has no new prompts left; ask for fewer problems")


def _problem(identifier: str, split: str, task: Task, rng: Random, unseen: bool) -> Problem:
    wording = "unseen" if unseen else "seen"
    return Problem(
        id=identifier,
        prompt=task.prompt,
        tests=make_tests(task, rng),
        solutions=(task.program,),
        source=f"tiny/{task.family.name}/{wording}",
        split=split,
    )
