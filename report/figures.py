"""Panels as figures: captions, drawings, legends. A metric that no run has is left out.

One run: colours tell metrics apart. Several runs: colours tell runs apart, dashes the metrics of one plot.
"""

import re
from collections.abc import Sequence

from report.curves import OTHER_COLOURS, PALETTE, STAGE_COLOURS, Line, Plot, draw
from report.markup import details, text
from report.panels import OUTCOMES, POLICY, REWARDS, SPEED, Axes, Curve, Panel
from report.read import Run

_PHASES = ("rollout", "score", "forward", "update", "validate")


def colour_of(runs: Sequence[Run], index: int, curve: int = 0) -> str:
    """Of a run, or of a curve when there is one run."""
    return PALETTE[(index if len(runs) > 1 else curve) % len(PALETTE)]


def run_legend(runs: Sequence[Run]) -> str:
    """Names and colours of the runs; nothing for one."""
    if len(runs) == 1:
        return ""
    return _legend([(run.name, f"background:{colour_of(runs, i)}") for i, run in enumerate(runs)])


def panel_figures(panels: Sequence[Panel], runs: Sequence[Run]) -> list[str]:
    """The panels that have something to show, as HTML."""
    shown = (_figure(panel, runs) for panel in panels)
    return [figure for figure in shown if figure]


def not_logged(runs: Sequence[Run]) -> str:
    """Which of the usual curves are missing because nothing was logged for them, in a sentence per run."""
    sentences = ""
    for run in runs:
        missing = [
            curve.metric
            for panel in (*OUTCOMES, *REWARDS, *POLICY, *SPEED)
            for axes in panel.axes
            for curve in axes.curves
            if not run.series(curve.metric)
        ]
        if missing:
            sentences += f"<p>Not logged by {text(run.name)}: {text(', '.join(dict.fromkeys(missing)))}.</p>"
    return details("Curves that are not there", sentences) if sentences else ""


def stage_figures(runs: Sequence[Run]) -> list[str]:
    """Shares of the stages, one figure per run: areas cannot be overlaid."""
    sentence = "How far the programs of training rollouts get, as shares."
    return [
        _stack(run, f"Stages{_of(run, runs)}", sentence, metrics, "%", height=2)
        for run in runs
        if (metrics := stage_metrics(run))
    ]


def outcome_figures(runs: Sequence[Run]) -> list[str]:
    """What the update did to the programs of each outcome, one figure per run."""
    sentence = (
        "By the kind of outcome. advantage: above 0, the update makes such programs likelier. approx_kl and "
        "clip_frac: how far it went with them."
    )
    return [
        _frame(
            f"Updates by outcome{_of(run, runs)}",
            sentence,
            draw(plots, f"updates by outcome {run.name}"),
            _legend([(outcome, f"background:{colour}") for outcome, colour in outcomes.items()]),
        )
        for run in runs
        if (outcomes := _outcome_colours(run))
        and (
            plots := [_outcome_plot(run, outcomes, name) for name in ("advantage", "approx_kl", "clip_frac")]
        )
    ]


def phase_figures(runs: Sequence[Run]) -> list[str]:
    """Seconds of every phase, one figure per run."""
    title, sentence = "Seconds per phase", "Where the time of an iteration goes."
    return [
        _stack(run, f"{title}{_of(run, runs)}", sentence, metrics, "")
        for run in runs
        if (metrics := _phase_metrics(run))
    ]


def stage_metrics(run: Run) -> dict[str, str]:
    """Metric -> colour, in the ladder's order; the stages of a newer version come after."""
    logged = {name for row in run.metrics for name in row if name.startswith("stage/")}
    known = [f"stage/{stage}" for stage in STAGE_COLOURS]
    colours = {f"stage/{stage}": colour for stage, colour in STAGE_COLOURS.items()}
    ordered = [name for name in known if name in logged] + sorted(logged - set(known))
    return {name: colours.get(name, OTHER_COLOURS[i % len(OTHER_COLOURS)]) for i, name in enumerate(ordered)}


def _outcome_colours(run: Run) -> dict[str, str]:
    """Outcome -> colour; stages have theirs."""
    shape = re.compile(r"outcome/(.+)/advantage", re.DOTALL)
    logged = {found[1] for row in run.metrics for name in row if (found := shape.fullmatch(name))}
    ordered = [outcome for outcome in STAGE_COLOURS if outcome in logged] + sorted(
        logged - set(STAGE_COLOURS)
    )
    others = {outcome: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, outcome in enumerate(ordered)}
    return {outcome: STAGE_COLOURS.get(outcome, others[outcome]) for outcome in ordered}


def _outcome_plot(run: Run, outcomes: dict[str, str], name: str) -> Plot:
    lines = [
        Line(points, colour, outcome)
        for outcome, colour in outcomes.items()
        if (points := run.series(f"outcome/{outcome}/{name}"))
    ]
    return Plot(name, lines, "%" if name == "clip_frac" else "", height=0.8)


def _phase_metrics(run: Run) -> dict[str, str]:
    """Metric -> colour, in the order of the loop; the sum of all is no phase."""
    logged = {name for row in run.timing for name in row if name.startswith("seconds/")}
    known = [f"seconds/{phase}" for phase in _PHASES]
    names = [*known, *sorted(logged - {*known, "seconds/iteration"})]
    colours = (*PALETTE, *OTHER_COLOURS)
    return {name: colours[i % len(colours)] for i, name in enumerate(names) if name in logged}


def _figure(panel: Panel, runs: Sequence[Run]) -> str:
    plots = [plot for axes in panel.axes if (plot := _plot(axes, runs, len(panel.axes))) is not None]
    if not plots:
        return ""
    # The curves that one run at least has; a legend of one entry says nothing.
    curves = {
        curve.name: _swatch(curve, position, runs)
        for axes in panel.axes
        for position, curve in enumerate(axes.curves)
        if len(axes.curves) > 1 and any(run.series(curve.metric) for run in runs)
    }
    legend = _legend(list(curves.items())) if curves else ""
    return _frame(panel.title, panel.help, draw(plots, panel.title), legend)


def _plot(axes: Axes, runs: Sequence[Run], rows: int) -> Plot | None:
    several = sum(curve.kind == "line" for curve in axes.curves) > 1
    lines = [
        Line(
            points,
            colour_of(runs, index, position + 1 if several else 0),
            f"{curve.name} of {run.name}" if len(runs) > 1 else curve.name,
            dash=position if several and len(runs) > 1 else 0,
            kind=curve.kind,
            mark=run.best if curve.metric == "validation/all_pass" else None,
        )
        for index, run in enumerate(runs)
        for position, curve in enumerate(axes.curves)
        if (points := curve.points(run))
    ]
    height = 0.8 if rows > 2 else 1.0
    return Plot(axes.label, lines, axes.unit, axes.floor, height=height) if lines else None


def _stack(run: Run, title: str, sentence: str, metrics: dict[str, str], unit: str, height: float = 1) -> str:
    lines = [Line(run.series(name), colour, name.partition("/")[2]) for name, colour in metrics.items()]
    label = "share" if unit else "seconds"
    svg = draw([Plot(label, lines, unit, stacked=True, height=height)], f"{title}{label}")
    names = [(name.partition("/")[2], f"background:{colour}") for name, colour in metrics.items()]
    return _frame(title, sentence, svg, _legend(names))


def _of(run: Run, runs: Sequence[Run]) -> str:
    return f": {run.name}" if len(runs) > 1 else ""


def _swatch(curve: Curve, position: int, runs: Sequence[Run]) -> str:
    """CSS of a curve's sample in the legend."""
    if curve.kind != "line":
        colour = PALETTE[0] if len(runs) == 1 else "currentColor"
        return f"background:{colour};height:1px" if curve.kind == "light" else f"background:{colour}"
    if len(runs) == 1:
        return f"background:{colour_of(runs, 0, position + 1)}"
    style = ("solid", "dashed", "dotted", "double")[position % 4]
    return f"height:0;border-top:2px {style} currentColor"


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    items = "".join(f'<li><i style="{css}"></i>{text(name)}</li>' for name, css in entries)
    return f'<ul class="legend">{items}</ul>'


def _frame(title: str, sentence: str, svg: str, legend: str) -> str:
    head = f"<figcaption><b>{text(title)}</b><span>{text(sentence)}</span></figcaption>"
    return f"<figure>{head}{svg}{legend}</figure>"
