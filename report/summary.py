"""The answer in ten seconds: did training help? And signs of known trouble, from the logged numbers."""

from collections.abc import Sequence

from report.markup import number, text
from report.read import Row, Run, as_mapping

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


def headline(runs: Sequence[Run], evaluation: Row | None) -> str:
    """Before and after: held-out problems where there is an evaluation, else validation."""
    groups = []
    if evaluation is not None and len(evaluation["models"]) > 1:
        first, *others = evaluation["models"]
        groups = [_compared(first, other) for other in others]
    elif evaluation is None:
        groups = [_validated(run) for run in runs]
    return "".join(groups)


def _compared(before: Row, after: Row) -> str:
    """Two models of an evaluation; the first one named is what the others are held against."""
    cards = ""
    for key, name, factor, form, unit in CARDS:
        old, new = as_mapping(before.get(key)), as_mapping(after.get(key))
        if "mean" in old and "mean" in new:
            apart = new["low"] > old["high"] or new["high"] < old["low"]
            note = "95 % intervals apart" if apart else "95 % intervals overlap"
            cards += _card(name, old["mean"], new["mean"], factor, form, unit, note, sure=apart)
    title = f"{text(before['name'])} → {text(after['name'])}, held-out problems"
    return _group(title, cards)


def _validated(run: Run) -> str:
    cards = ""
    for key, name, factor, form, unit in CARDS:
        points = run.series(f"validation/{key}")
        if len(points) > 1:
            (start, old), (end, new) = points[0], points[-1]
            cards += _card(
                name, old, new, factor, form, unit, f"validation, iteration {start} to {end}", sure=True
            )
    return _group(f"{text(run.name)}: start → last validation", cards)


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
    digits = "{:+.1f}" if factor == 100 else "{:+.3f}"
    return (
        f'<div class="card {direction if sure else "unsure"}"><h3>{text(name)}</h3>'
        f"<p class=values>{number(factor * old, form)} <span>→</span> <strong>{number(factor * new, form)}</strong></p>"
        f"<p class=change>{number(change, digits)} {unit}</p><p class=note>{note}</p></div>"
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


def signs(runs: Sequence[Run]) -> str:
    """Known kinds of trouble that the logs show, one sentence each; nothing where there are none."""
    found = [(run, sign) for run in runs for sign in (*_signs(run), *run.notes)]
    items = "".join(
        f"<li>{text(f'{run.name}: ' if len(runs) > 1 else '')}{text(sign)}</li>" for run, sign in found
    )
    return f'<section id="signs"><h2>Worth a look</h2><ul>{items}</ul></section>' if items else ""


def _signs(run: Run) -> list[str]:
    return []
