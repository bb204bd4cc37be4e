"""The evaluation: the paper's table with intervals, and how far each model's programs get."""

from collections.abc import Sequence

from report.curves import OTHER_COLOURS, STAGE_COLOURS
from report.markup import number, text
from report.rows import Row, as_mapping

# Key in evaluation.json -> heading, factor, format.
COLUMNS = (
    ("syntax", "Syn. %", 100, "{:.1f}"),
    ("any_pass", "≥1-P %", 100, "{:.1f}"),
    ("all_pass", "All-P %", 100, "{:.1f}"),
    ("reward", "mean R", 1, "{:.3f}"),
    ("reward_pass_fraction", "R with k/T", 1, "{:.3f}"),
    ("length", "length", 1, "{:.1f}"),
)


# What two evaluations must share for their models to stand in one table.
_SETTING = ("problems", "source", "samples", "temperature", "seed")


def evaluation_section(content: Row, number: int = 0) -> str:
    """Table and stage bars of an evaluation.json, as HTML. `number`: of several in one page."""
    name = f"evaluation-{number + 1}" if number else "evaluation"
    return (
        f'<section id="{name}"><h2>Evaluation</h2><p>{_setting(content)}</p>'
        f"{_table(content['models'])}{_stage_bars(content['models'])}</section>"
    )


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


def _table(models: list[Row]) -> str:
    """Every column has one scale for all models, so that its bars can be compared."""
    columns = [column for column in COLUMNS if any(column[0] in model for model in models)]
    head = "".join(f'<th scope="col">{text(heading)}</th>' for _, heading, _, _ in columns)
    rows = ""
    for model in models:
        cells = "".join(_cell(model, column, _top(models, column[0])) for column in columns)
        faults = model.get("faults") or 0
        note = f"<small>{text(faults)} not scored (sandbox faults)</small>" if faults else ""
        where = text(model.get("checkpoint", ""))
        rows += f'<tr><th scope="row" title="{where}">{text(model["name"])}{note}</th>{cells}</tr>'
    return (
        '<div class="wide"><table class="evaluation">'
        f'<thead><tr><th scope="col">model</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(model: Row, column: tuple[str, str, int, str], top: float) -> str:
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
