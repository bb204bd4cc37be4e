"""The answer in ten seconds: did training help? Before and after, as large numbers and as a table."""

from collections.abc import Sequence

from report.evaluation import paired
from report.markup import number, text
from report.read import Run
from report.rows import Row, as_mapping

# Metric -> name, factor, format; rows of the table of progress.
PROGRESS = (
    ("validation/all_pass", "validation All-P %", 100, "{:.1f}"),
    ("validation/any_pass", "validation ≥1-P %", 100, "{:.1f}"),
    ("validation/syntax", "validation Syn. %", 100, "{:.1f}"),
    ("validation/reward", "validation R", 1, "{:.3f}"),
    ("validation/length", "validation length, characters", 1, "{:.1f}"),
    ("reward/mean", "training R", 1, "{:.3f}"),
    ("reward/functional", "training R_func", 1, "{:.3f}"),
    ("reward/security", "training R_sec", 1, "{:.3f}"),
    ("reward/all_pass", "training All-P %", 100, "{:.1f}"),
    ("ppo/ref_kl", "ref_kl, nats per response", 1, "{:.3f}"),
    ("ppo/entropy", "entropy, nats per token", 1, "{:.3f}"),
    ("ppo/explained_var", "explained variance", 1, "{:.3f}"),
)
CARDS = (
    ("all_pass", "All-P", 100, "{:.1f} %", "points"),
    ("any_pass", "≥1-P", 100, "{:.1f} %", "points"),
    ("syntax", "Syntax", 100, "{:.1f} %", "points"),
    ("reward", "Mean R", 1, "{:.3f}", ""),
)

_SIGNED = {100: "{:+.1f}", 1: "{:+.3f}"}
"""How a change is written, by the factor of its column."""


def overview(runs: Sequence[Run]) -> str:
    """One line per run: how long it was."""
    lines = ""
    for run in runs:
        programs = sum(value for _, value in run.series("rollout/samples"))
        seconds = sum(value for _, value in run.series("seconds/iteration"))
        parts = [f"{run.metrics[-1]['iteration']} iterations"]
        parts += [f"{programs:,} training programs"] if programs else []
        parts += [duration(seconds)] if seconds else []
        lines += f"<p><b>{text(run.name)}</b>: {text(', '.join(parts))}</p>"
    return f'<div class="overview">{lines}</div>' if lines else ""


def duration(seconds: float) -> str:
    """A time for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def headline(runs: Sequence[Run], evaluation: Row | None) -> str:
    """Before and after: held-out problems where there is an evaluation, else validation."""
    models = [] if evaluation is None else evaluation["models"]
    if len(models) > 1:
        pairs = {(pair["a"], pair["b"]): pair["columns"] for pair in paired(evaluation or {})}
        first = models[0]
        return "".join(_compared(first, m, pairs.get((first["name"], m["name"]), {})) for m in models[1:])
    return "".join(map(_validated, runs))


def _compared(before: Row, after: Row, differences: Row) -> str:
    """Two models of an evaluation; the first one named is what the others are held against.

    Where the evaluation has paired differences they decide which is real, else whether intervals are apart.
    """
    cards = ""
    for key, name, factor, form, unit in CARDS:
        old, new = as_mapping(before.get(key)), as_mapping(after.get(key))
        if "mean" in old and "mean" in new:
            difference = differences.get(key)
            if difference is None:
                real = new["low"] > old["high"] or new["high"] < old["low"]
                note = "95 % intervals apart" if real else "95 % intervals overlap"
            else:
                real = difference.get("different") is True
                low, high = (number(factor * difference[part], _SIGNED[factor]) for part in ("low", "high"))
                note = f"paired by problem [{low}, {high}]" + ("" if real else ": cannot be told apart")
            cards += _card(name, old["mean"], new["mean"], factor, form, unit, note, sure=real)
    title = f"{text(before['name'])} → {text(after['name'])}, evaluation"
    return _group(title, cards)


def _validated(run: Run) -> str:
    """A run's own validation has no intervals, so nothing here is called better or worse."""
    cards = ""
    for key, name, factor, form, unit in CARDS:
        points = run.series(f"validation/{key}")
        if len(points) > 1:
            (start, old), (end, new) = points[0], points[-1]
            note = f"iterations {start} and {end}; no intervals"
            cards += _card(name, old, new, factor, form, unit, note, sure=False)
    return _group(f"{text(run.name)}: validation, first → last", cards)


def _group(title: str, cards: str) -> str:
    return (
        f'<section class="headline"><h2>{title}</h2><div class="cards">{cards}</div></section>'
        if cards
        else ""
    )


def _card(
    name: str, old: float, new: float, factor: int, form: str, unit: str, note: str, *, sure: bool
) -> str:
    change = factor * (new - old)
    direction = "up" if change > 0 else "down" if change < 0 else "same"
    values = f"{number(factor * old, form)} <span>→</span> <strong>{number(factor * new, form)}</strong>"
    return (
        f'<div class="card {direction if sure else "unsure"}"><h3>{text(name)}</h3>'
        f'<p class="values">{values}</p><p class="change">{number(change, _SIGNED[factor])} {unit}</p>'
        f'<p class="note">{note}</p></div>'
    )


def progress_table(runs: Sequence[Run]) -> str:
    """First, best and last value of the metrics that matter, as numbers."""
    tables = "".join(_progress(run, len(runs) > 1) for run in runs)
    return f"<h3>In numbers</h3>{tables}"


def _progress(run: Run, named: bool) -> str:
    best = run.best
    body = ""
    for metric, name, factor, form in PROGRESS:
        points = dict(run.series(metric))
        if not points:
            continue
        values = (points[min(points)], points.get(best) if best is not None else None, points[max(points)])
        cells = "".join(
            f"<td>{number(None if value is None else factor * value, form)}</td>" for value in values
        )
        body += f'<tr><th scope="row">{text(name)}</th>{cells}</tr>'
    best_head = "best" if best is None else f"best (iteration {best})"
    head = f"<th>{text(run.name) if named else ''}</th><th>first</th><th>{best_head}</th><th>last</th>"
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
