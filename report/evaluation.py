"""The evaluation: the paper's table with intervals, what stands beside it, paired differences, and how far
each model's programs get. What an evaluation of an earlier version does not have is left out."""

from collections.abc import Sequence

from evaluation.columns import HEADLINE, MORE, SECURITY, Column
from report.curves import OTHER_COLOURS, STAGE_COLOURS
from report.markup import details, number, text
from report.rows import Row, as_mapping, is_number

# What two evaluations must share for their models to stand in one table.
_SETTING = ("problems", "source", "samples", "temperature", "seed")


def evaluation_section(content: Row, number: int = 0) -> str:
    """Table and stage bars of an evaluation.json, as HTML. `number`: of several in one page."""
    name = f"evaluation-{number + 1}" if number else "evaluation"
    return (
        f'<section id="{name}"><h2>Evaluation</h2><p>{_setting(content)}</p>'
        f"{_table(content['models'], _headline(content))}{_differences(content)}{_notes(content)}"
        f"{_more(content['models'])}{_stage_bars(content['models'])}</section>"
    )


def _headline(content: Row) -> Sequence[Column]:
    return SECURITY if content.get("security") is True else HEADLINE


def joined(contents: Sequence[Row]) -> list[Row]:
    """The evaluations, those of the same problems, samples and seed as one: files of one model each."""
    found: list[Row] = []
    for content in contents:
        setting = [content.get(key) for key in _SETTING]
        for place, other in enumerate(found):
            if setting == [other.get(key) for key in _SETTING]:
                found[place] = {**other, "models": [*other["models"], *content["models"]]}
                break
        else:
            found.append(content)
    return found


def _setting(content: Row) -> str:
    samples = content.get("samples", 1)
    parts = [f"{content['problems']} problems"] if "problems" in content else []
    parts += [f"{samples} program{'s' * (samples != 1)} each"]
    parts += [f"{key} {content[key]}" for key in ("temperature", "seed", "source") if key in content]
    note = "Brackets: 95 % interval, with problems as the unit. Length: mean, in characters."
    return f"{text(', '.join(parts))}. {note}"


def paired(content: Row) -> list[Row]:
    """Comparisons of two models whose differences have intervals: {"a", "b", "columns"}, names and key ->
    difference."""
    found = []
    pairs = content.get("comparisons")
    for pair in pairs if isinstance(pairs, list) else ():
        if isinstance(pair, dict) and isinstance(pair.get("a"), str) and isinstance(pair.get("b"), str):
            columns = {
                key: difference
                for key, difference in as_mapping(pair.get("columns")).items()
                if isinstance(difference, dict)
                and all(is_number(difference.get(part)) for part in ("mean", "low", "high"))
            }
            found.append({"a": pair["a"], "b": pair["b"], "columns": columns})
    return found


def _differences(content: Row) -> str:
    """Pairs of models in rows; a star where a difference is real, by the evaluation's own word."""
    pairs = paired(content)
    columns = [c for c in _headline(content) if any(c.key in pair["columns"] for pair in pairs)]
    if not columns:
        return ""
    head = "".join(f'<th scope="col">{text(column.heading)}</th>' for column in columns)
    rows = ""
    for pair in pairs:
        cells = "".join(_difference(pair["columns"].get(column.key), column) for column in columns)
        rows += f'<tr><th scope="row">{text(pair["b"])} − {text(pair["a"])}</th>{cells}</tr>'
    return (
        '<h3>Differences, paired by problem</h3><div class="wide"><table><thead><tr><th scope="col">pair</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div><p>★: 0 is outside the 95 % interval, and "
        "p &lt; 0.05 by a test of signs. Without it two models cannot be told apart by these problems.</p>"
    )


def _difference(difference: Row | None, column: Column) -> str:
    if difference is None:
        return "<td>–</td>"
    form = column.form.replace("{:", "{:+")
    mean, low, high = (number(column.factor * difference[part], form) for part in ("mean", "low", "high"))
    star = " ★" if difference.get("different") is True else ""
    return f"<td><strong>{mean}{star}</strong> <small>[{low}, {high}]</small></td>"


def _notes(content: Row) -> str:
    """What the evaluation itself says that its reader must know: other tokenizers or prompts, prompts cut."""
    notes = content.get("notes")
    items = "".join(f"<li>{text(note)}</li>" for note in notes) if isinstance(notes, list) else ""
    return f"<ul>{items}</ul>" if items else ""


def _more(models: list[Row]) -> str:
    """The columns beside the paper's, behind a click."""
    if not any(column.key in model for column in MORE for model in models):
        return ""
    return details("More columns: parts of R, security, signs of playing the reward", _table(models, MORE))


def _table(models: list[Row], every: Sequence[Column]) -> str:
    """Every column has one scale for all models, so that its bars can be compared."""
    columns = [column for column in every if any(column.key in model for model in models)]
    head = "".join(f'<th scope="col">{text(column.heading)}</th>' for column in columns)
    rows = ""
    for model in models:
        cells = "".join(_cell(model, column, _top(models, column.key)) for column in columns)
        faults = model.get("faults") or 0
        note = f"<small>{text(faults)} not scored (sandbox faults)</small>" if faults else ""
        where = text(model.get("checkpoint", ""))
        rows += f'<tr><th scope="row" title="{where}">{text(model["name"])}{note}</th>{cells}</tr>'
    return (
        '<div class="wide"><table class="evaluation">'
        f'<thead><tr><th scope="col">model</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(model: Row, column: Column, top: float) -> str:
    key, _, factor, form = column
    interval = as_mapping(model.get(key))
    if "mean" not in interval:
        return "<td>–</td>"
    mean, low, high = (interval[part] for part in ("mean", "low", "high"))
    shown = [number(factor * value, form) for value in (mean, low, high)]
    left, width, dot = (100 * _within(value / top) for value in (low, high - low, mean))
    bar = (
        f'<span class="interval" aria-hidden="true"><i style="left:{left:.2f}%;width:{width:.2f}%"></i>'
        f'<b style="left:{dot:.2f}%"></b></span>'
    )
    return f"<td><strong>{shown[0]}</strong> <small>[{shown[1]}–{shown[2]}]</small>{bar}</td>"


def _top(models: list[Row], key: str) -> float:
    highs = [as_mapping(model.get(key)).get("high", 0.0) for model in models]
    return max([value for value in highs if value > 0], default=1.0)


def _stage_bars(models: list[Row]) -> str:
    """One bar per model, its parts in the ladder's order."""
    shares = {index: as_mapping(model.get("stages")) for index, model in enumerate(models)}
    seen = dict.fromkeys(label for stages in shares.values() for label in stages)
    if not seen:
        return ""
    order = [label for label in STAGE_COLOURS if label in seen]
    order += [label for label in seen if label not in STAGE_COLOURS]
    colours = {label: _colour(label, i) for i, label in enumerate(order)}
    bars = "".join(
        f'<div class="bar"><span>{text(models[index]["name"])}</span>{_bar(stages, colours)}</div>'
        for index, stages in shares.items()
    )
    keys = "".join(f'<li><i style="background:{colours[label]}"></i>{text(label)}</li>' for label in order)
    return f'<h3>How far programs get</h3><div class="bars">{bars}</div><ul class="legend">{keys}</ul>'


def _bar(stages: Row, colours: dict[str, str]) -> str:
    parts = ""
    for label, colour in colours.items():
        share = _within(stages.get(label, 0.0))
        percent = number(100 * share, "{:.1f}")
        # Below 8 % the number does not fit into its part; the tooltip has it.
        inside = percent if share >= 0.08 else ""
        style = f"width:{100 * share:.2f}%;background:{colour}"
        parts += f'<i style="{style}" title="{text(label)} {percent} %">{inside}</i>' if share else ""
    return f'<div class="stack">{parts}</div>'


def _colour(label: str, index: int) -> str:
    return STAGE_COLOURS.get(label, OTHER_COLOURS[index % len(OTHER_COLOURS)])


def _within(share: float) -> float:
    """For drawing only: the numbers beside it are the file's. NaN has no place on a scale."""
    return min(1.0, max(0.0, share)) if share == share else 0.0
