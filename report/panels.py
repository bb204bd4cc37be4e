"""Which curves there are, what they are called and how they are read. A metric that no run has is left out.

One run: colours tell metrics apart. Several runs: colours tell runs apart, dashes the metrics of one plot.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from report.curves import OTHER_COLOURS, PALETTE, STAGE_COLOURS, Line, Plot, draw
from report.markup import text
from report.read import Run


@dataclass(frozen=True)
class Curve:
    """One metric in a plot."""

    metric: str
    name: str
    kind: str = "line"

    def points(self, run: Run) -> list[tuple[int, float]]:
        """What the run logged. Iteration 0 only validates: its tokens per second are 0 and mean nothing."""
        start = 0 if self.metric.startswith("validation/") else 1
        return [point for point in run.series(self.metric) if point[0] >= start]


@dataclass(frozen=True)
class Axes:
    """One plot of a panel."""

    label: str
    curves: tuple[Curve, ...]
    unit: str = ""
    floor: float | None = None


@dataclass(frozen=True)
class Panel:
    """One figure: plots above each other, a heading, and a sentence on how to read it."""

    title: str
    help: str
    axes: tuple[Axes, ...]


def _outcome(label: str, training: str, validation: str, unit: str = "%") -> Axes:
    curves = (Curve(training, "training rollouts", "light"), Curve(validation, "validation", "bold"))
    return Axes(label, curves, unit)


OUTCOMES = (
    Panel(
        "All tests passed",
        "Share of programs that pass every test; it decides which checkpoint is the best (ringed).",
        (_outcome("All-P", "reward/all_pass", "validation/all_pass"),),
    ),
    Panel(
        "At least one test passed",
        "Share of programs that pass one test or more.",
        (_outcome("≥1-P", "reward/any_pass", "validation/any_pass"),),
    ),
    Panel(
        "Valid syntax",
        "Share of programs that parse.",
        (_outcome("Syn.", "reward/parses", "validation/syntax"),),
    ),
)
REWARDS = (
    Panel(
        "Reward",
        "Training: under the run's own reward; validation: always tests and analyser. R_func: how far "
        "programs get. R_sec: 1 if nothing insecure is found. Under a schedule the ladder is mixed with R of "
        "all tests passed.",
        (
            _outcome("mean R", "reward/mean", "validation/reward", unit=""),
            Axes("its parts", (Curve("reward/functional", "R_func"), Curve("reward/security", "R_sec"))),
            Axes("weight of the ladder", (Curve("reward/partial_weight", "ladder"),)),
        ),
    ),
    Panel(
        "Length beside All-P",
        "Length that falls while R rises and All-P does not: short, valid, wrong programs.",
        (
            _outcome("All-P", "reward/all_pass", "validation/all_pass"),
            _outcome("program length, characters", "rollout/program_length", "validation/length", unit=""),
        ),
    ),
    Panel(
        "Signs of playing the reward",
        "Share of training programs that show one; a program that is merely wrong seldom does.",
        (
            Axes(
                "by kind",
                (
                    Curve("hack/constant_output", "constant output"),
                    Curve("hack/hardcoded", "hardcoded"),
                    Curve("hack/silent", "silent"),
                    Curve("hack/early_exit", "early exit"),
                    Curve("hack/introspection", "introspection"),
                ),
                "%",
            ),
            Axes("short, valid, wrong", (Curve("hack/short_wrong", "short, valid, wrong"),), "%"),
        ),
    ),
)
POLICY = (
    Panel(
        "Distance from SFT",
        "ref_kl: nats per response between policy and SFT model; kl_coef: weight of the penalty on it.",
        (
            Axes("ref_kl", (Curve("ppo/ref_kl", "ref_kl"),)),
            Axes("kl_coef", (Curve("ppo/kl_coef", "kl_coef"),)),
            Axes("learning rate", (Curve("ppo/learning_rate", "learning rate"),)),
        ),
    ),
    Panel(
        "Updates",
        "Per token. Entropy near 0: the same program again and again. approx_kl: new against old policy. "
        "clip_frac: share of ratios clipped.",
        (
            Axes("entropy", (Curve("ppo/entropy", "entropy"),)),
            Axes("approx_kl", (Curve("ppo/approx_kl", "approx_kl"),)),
            Axes("clip_frac", (Curve("ppo/clip_frac", "clip_frac"),), "%"),
        ),
    ),
    Panel(
        "Critic",
        "Explained variance: 1 is a perfect critic, 0 no better than a constant (cut off below −1). "
        "Advantages: mean size before whitening.",
        (
            Axes("explained variance", (Curve("ppo/explained_var", "explained_var"),), floor=-1.0),
            Axes("value error", (Curve("ppo/value_error", "value_error"),)),
            Axes("advantages", (Curve("ppo/advantage_size", "advantage_size"),)),
        ),
    ),
)
SPEED = (
    Panel(
        "Throughput",
        "Sampled tokens per second of the whole iteration, validation included.",
        (Axes("tokens/s", (Curve("tokens_per_second", "tokens/s"),)),),
    ),
)

_PHASES = ("rollout", "score", "forward", "update", "validate")


def colour_of(runs: Sequence[Run], index: int, curve: int = 0) -> str:
    """Of a run, or of a curve when there is one run."""
    return PALETTE[(index if len(runs) > 1 else curve) % len(PALETTE)]


def run_legend(runs: Sequence[Run]) -> str:
    """Names and colours of the runs; nothing for one."""
    if len(runs) == 1:
        return ""
    return _legend([(run.name, f"background:{colour_of(runs, i)}") for i, run in enumerate(runs)])


def figures(panels: Sequence[Panel], runs: Sequence[Run]) -> list[str]:
    """The panels that have something to show, as HTML."""
    shown = (_figure(panel, runs) for panel in panels)
    return [figure for figure in shown if figure]


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
    shape = re.compile(r"outcome/(.+)/advantage")
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
