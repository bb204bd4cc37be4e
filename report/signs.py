"""Signs of known kinds of trouble, from the logged numbers. A sign is a reason to look, not a verdict."""

import math
from collections.abc import Callable, Iterator, Sequence

from report.markup import number, text
from report.read import Run

SHORTER = 0.2  # programs that lost this share of their length
DROP = 0.05  # All-P below its best that is worth a word; the best of many is partly luck
PLAYED = 0.1  # of the late programs; beginners' slips alone show signs in about 2 %
WORN = 0.1  # of the first entropy
LARGE_CLIP_FRAC = 0.3


def signs_section(runs: Sequence[Run], notes: Sequence[str] = ()) -> str:
    """What was found, a sentence each, as HTML; nothing where nothing was. `notes`: what else is worth it."""
    found = [
        (f"{run.name}: " if len(runs) > 1 else "") + sign
        for run in runs
        for sign in (*signs(run), *run.notes)
    ]
    items = "".join(f"<li>{text(sentence)}</li>" for sentence in (*notes, *found))
    return f'<section id="signs"><h2>Worth a look</h2><ul>{items}</ul></section>' if items else ""


def signs(run: Run) -> list[str]:
    """The sentences for one run."""
    return [sign for check in _CHECKS for sign in check(run)]


def _short_and_wrong(run: Run) -> Iterator[str]:
    length, reward, passing = (_ends(run, f"validation/{name}") for name in ("length", "reward", "all_pass"))
    if length and reward and passing:
        shorter = length[1] <= (1 - SHORTER) * length[0]
        if shorter and reward[1] > reward[0] and passing[1] <= passing[0]:
            yield (
                f"R rose from {number(reward[0])} to {number(reward[1])} while programs went from "
                f"{length[0]:.0f} to {length[1]:.0f} characters and All-P did not rise: "
                "short, valid, wrong programs? Read some samples."
            )


def _warned(run: Run) -> Iterator[str]:
    for name, words in _WARNINGS.items():
        held = [iteration for iteration, value in run.series(f"warning/{name}") if value]
        if held:
            yield f"{words} in {len(held)} iterations, first in {held[0]}."


def _alarm(run: Run) -> Iterator[str]:
    rung = [iteration for iteration, value in run.series("hack/alarm") if value]
    if rung:
        yield (
            f"The alarm for short, valid, wrong programs was on in {len(rung)} iterations, first in "
            f"{rung[0]}: R rose while programs shrank and no more of them passed."
        )


def _played(run: Run) -> Iterator[str]:
    late = _late(run, "hack/any")
    if late is not None and late >= PLAYED:
        yield (
            f"{100 * late:.0f} % of the late training programs show a sign of playing the reward. Read some "
            "samples; objective.withhold leaves such programs unpaid."
        )


def _never_better(run: Run) -> Iterator[str]:
    if run.best == 0 and _ends(run, "validation/all_pass"):
        yield (
            "All-P on validation never rose above its start: the best checkpoint is iteration 0, the policy "
            "that training began with."
        )


def _past_its_best(run: Run) -> Iterator[str]:
    ends = _ends(run, "validation/all_pass")
    if ends and run.best is not None:
        best = dict(run.series("validation/all_pass"))[run.best]
        if ends[1] < best - DROP:
            yield (
                f"All-P on validation ended at {100 * ends[1]:.1f} %, after {100 * best:.1f} % at iteration "
                f"{run.best}: take the best checkpoint, and judge it on other problems."
            )


def _no_signal(run: Run) -> Iterator[str]:
    spread = _values(run, "reward/std")
    flat = sum(value == 0 for value in spread)
    if 2 * flat > len(spread):
        yield (
            f"In {flat} of {len(spread)} iterations every program earned the same reward: nothing to learn "
            "from. A reward with partial credit, or more samples per prompt, would help."
        )


def _faults(run: Run) -> Iterator[str]:
    faults, samples = (sum(_values(run, f"rollout/{name}")) for name in ("faults", "samples"))
    if faults:
        yield f"{faults:.0f} of {samples:.0f} training programs could not be scored; they are in no mean."


def _skipped(run: Run) -> Iterator[str]:
    skipped, steps = (sum(_values(run, f"ppo/{name}")) for name in ("skipped_steps", "optimizer_steps"))
    if skipped:
        yield f"{skipped:.0f} of {steps:.0f} optimizer steps were skipped because a gradient overflowed."


def _cut(run: Run) -> Iterator[str]:
    ended = _late(run, "rollout/ended")
    if ended is not None and ended < 0.5:
        yield (
            f"{100 * (1 - ended):.0f} % of the late responses were cut at max_new_tokens: a program that "
            "never ends cannot pass."
        )


def _blind_critic(run: Run) -> Iterator[str]:
    explained = _late(run, "ppo/explained_var")
    if explained is not None and explained <= 0:
        yield (
            f"The critic is no better than a constant: explained variance {number(explained, '{:.2f}')} late "
            "in the run. Raise value_learning_rate, or look at the scale of the reward."
        )


def _large_updates(run: Run) -> Iterator[str]:
    clipped = _late(run, "ppo/clip_frac")
    if clipped is not None and clipped > LARGE_CLIP_FRAC:
        yield (
            f"{100 * clipped:.0f} % of the tokens are clipped late in the run: the updates are large. Lower "
            "learning_rate or epochs."
        )


def _worn_entropy(run: Run) -> Iterator[str]:
    entropy, late = _values(run, "ppo/entropy"), _late(run, "ppo/entropy")
    if late is not None and late < WORN * entropy[0]:
        yield (
            f"The entropy fell from {number(entropy[0])} to {number(late)} nats per token: the policy hardly "
            "explores. Raise entropy_coef or kl_coef."
        )


# What a run warned of while it went on, where no check here looks at the same.
_WARNINGS = {
    "kl_off": "The KL penalty was off: nothing held the policy near the SFT model",
    "critic_blow_up": "The critic was far worse than a constant",
    "pile_up": "Nine in ten programs ended up alike, although another kind earns more",
    "weights_still": "The weights did not move",
}

_CHECKS: tuple[Callable[[Run], Iterator[str]], ...] = (
    _short_and_wrong,
    _warned,
    _alarm,
    _played,
    _never_better,
    _past_its_best,
    _no_signal,
    _faults,
    _skipped,
    _cut,
    _blind_critic,
    _large_updates,
    _worn_entropy,
)


def _values(run: Run, metric: str) -> list[float]:
    return [value for _, value in run.series(metric) if math.isfinite(value)]


def _ends(run: Run, metric: str) -> tuple[float, float] | None:
    values = _values(run, metric)
    return (values[0], values[-1]) if len(values) > 1 else None


def _late(run: Run, metric: str) -> float | None:
    """Mean over the last quarter: one iteration alone is noise."""
    values = _values(run, metric)
    late = values[-max(1, len(values) // 4) :]
    return sum(late) / len(late) if late else None
