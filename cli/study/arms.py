"""The arms of the study: what each changes about `train.py ppo`, and which of them are compared.

A new arm is one entry of ARMS; its flags are those of `train.py ppo`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cli.errors import UsageError

SFT = "SFT"
"""Name of the start in tables."""


def _gate(name: str, *more: str) -> tuple[str, ...]:
    """An objective that withholds nothing, whatever the default does."""
    return ("--objective.security-gate", name, "--objective.withhold", *more)


_ONE_OBJECTIVE = ("--schedule.kind", "constant", "--schedule.anneal-at", "None", "--schedule.difficulty", "1")
_BINARY = _gate("passes", "--objective.mode", "binary", *_ONE_OBJECTIVE)
_PAPER = _gate("off", "--objective.pay-idle", "--objective.weight-trick", "0")


@dataclass(frozen=True)
class Arm:
    """One recipe of training, from the SFT model of a seed."""

    key: str
    """What --arms takes, and the run's folder."""
    title: str
    """Its name in tables."""
    flags: tuple[str, ...] = ()
    """Of `train.py ppo`, over the preset's; HALF stands for half of the arm's iterations."""
    phases: int = 1
    """How many times the preset's iterations it trains."""
    after: str | None = None
    """The arm whose weights it starts from, in the place of SFT's."""


HALF = "HALF"

ARMS = (
    Arm("simple", "PPO-simple", _BINARY),
    Arm("fresh", "PPO-fresh"),
    Arm("continue", "PPO-continue", after="simple"),
    Arm("fresh-twice", "PPO-fresh x2", phases=2),
    # Beside the paper's:
    Arm("simple-twice", "PPO-simple x2", _BINARY, phases=2),
    Arm("switch", "PPO-switch", ("--schedule.kind", "binary-to-partial", "--schedule.switch-at", HALF)),
    Arm("auto", "PPO-auto", ("--schedule.kind", "auto")),
    Arm("difficulty", "PPO-difficulty", ("--schedule.difficulty", "4")),
    Arm("off", "gate off", _gate("off")),
    Arm("parses", "gate parses", _gate("parses")),
    Arm("earned", "gate earned", _gate("earned")),
    Arm("paper", "paper's arithmetic", _PAPER),
)
DEFAULT = ("simple", "fresh", "continue", "fresh-twice")

ALPHA = "alpha="
"""`alpha=0.8`: PPO-fresh under alpha 0.8 and beta 0.2."""

GROUPS = {
    "options": ("fresh", "difficulty", "auto", "off", "parses", "earned", "paper"),
    "sweep": ("fresh", "alpha=0.2", "alpha=0.4", "alpha=0.8", "alpha=1"),
}
"""Names that --arms takes for several arms. PPO-fresh is in each: what the others are held against, and the
sweep's point at the preset's own alpha."""

_PAIRS = (
    ("simple", "fresh"),
    ("simple", "continue"),
    ("fresh", "continue"),
    ("fresh-twice", "continue"),
    ("fresh", "fresh-twice"),
    ("simple-twice", "fresh-twice"),
    ("simple-twice", "continue"),
)
"""The questions that arms of the paper answer, the second against the first."""


def chosen(keys: Sequence[str]) -> list[Arm]:
    """The arms of these names, in their order, those of a group in its place.

    Raises UsageError for one that is none, or named twice; what several groups hold is one arm.
    """
    if not keys:
        raise UsageError("--arms: name at least one arm")
    if twice := [key for number, key in enumerate(keys) if key in keys[:number]]:
        raise UsageError(f"--arms: {twice[0]} is named twice")
    single = dict.fromkeys(one for key in keys for one in GROUPS.get(key, (key,)))
    return [arm_of(key) for key in single]


def arm_of(key: str) -> Arm:
    """The arm of one name."""
    if key.startswith(ALPHA):
        return _weighted(key)
    for arm in ARMS:
        if arm.key == key:
            return arm
    known, groups = ", ".join(arm.key for arm in ARMS), " and ".join(GROUPS)
    raise UsageError(
        f"--arms {key}: no such arm; there are {known}, {ALPHA}0.8 for any weight in [0, 1], and the groups "
        f"{groups}"
    )


def needed(arms: Sequence[Arm]) -> list[Arm]:
    """These arms and those that they start from, each after what it starts from."""
    found: dict[str, Arm] = {}
    for arm in arms:
        chain = [arm]
        while chain[0].after is not None:
            chain.insert(0, arm_of(chain[0].after))
        found |= {one.key: one for one in chain}
    return list(found.values())


def phases_in_all(arm: Arm) -> int:
    """Phases of training from SFT to the end of an arm."""
    return arm.phases + (phases_in_all(arm_of(arm.after)) if arm.after else 0)


def pairs(start: str, arms: Sequence[Arm]) -> list[tuple[str, str]]:
    """What is compared, by titles: the paper's arms with SFT and by its questions, all others with PPO-fresh
    (with SFT where that is not there).

    Few and known before the runs: each more would raise the p of all.
    """
    titles = {arm.key: arm.title for arm in arms}
    of_paper = {key for pair in _PAIRS for key in pair}
    options = [key for key in titles if key not in of_paper and "fresh" in titles]
    asked = [pair for pair in _PAIRS if titles.keys() >= set(pair)] + [("fresh", key) for key in options]
    return [(start, titles[key]) for key in titles if key not in options] + [
        (titles[a], titles[b]) for a, b in asked
    ]


def flags(arm: Arm, iterations: int) -> list[str]:
    """Of `train.py ppo`, for an arm whose single phase has so many iterations."""
    whole = iterations * arm.phases
    own = [str(whole // 2) if flag == HALF else flag for flag in arm.flags]
    return [*own, "--iterations", str(whole)]


def swept(arms: Sequence[Arm], alpha: float) -> dict[float, str]:
    """The titles of a sweep's arms by their weight of R_func, rising, where one of these arms is of a sweep.

    PPO-fresh, which trained under `alpha`, is a point of it where no other arm has that weight.
    """
    found = {float(arm.key.removeprefix(ALPHA)): arm.title for arm in arms if arm.key.startswith(ALPHA)}
    if found and (fresh := arm_of("fresh")) in arms:
        found.setdefault(alpha, fresh.title)
    return dict(sorted(found.items()))


def _weighted(key: str) -> Arm:
    try:
        alpha = float(key.removeprefix(ALPHA))
    except ValueError:
        alpha = -1.0
    if not 0.0 <= alpha <= 1.0:
        raise UsageError(f"--arms {key}: give a weight in [0, 1], such as {ALPHA}0.8")
    beta = f"{round(1 - alpha, 12):g}"  # 1 - 0.9 is not 0.1
    weights = ("--objective.alpha", f"{alpha:g}", "--objective.beta", beta)
    return replace(arm_of("fresh"), key=key, title=f"alpha {alpha:g}, beta {beta}", flags=weights)
