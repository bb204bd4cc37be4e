"""Curves as inline SVG, by matplotlib's object interface: no pyplot, no state of the process is changed.

No text from a log enters a figure (matplotlib would read `$` as mathematics); legends are HTML beside it.
Colours of text and grid are the page's own, so one drawing serves light and dark.
"""

import io
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from report.markup import text

Points = Sequence[tuple[int, float]]

# After Okabe and Ito's palette, told apart by colour-blind readers; each at 3 : 1 or more against the cards
# of the light page and of the dark one, thin as the lines are.
PALETTE = ("#0072b2", "#c86f00", "#009e73", "#b8629a", "#3d8fc4", "#c8503f")
# The ladder of stages, from what does not parse to what passes.
STAGE_COLOURS = {
    "syntax_error": "#c04a43",
    "parses": "#c9703f",
    "runs": "#a58412",
    "prints": "#4a8fc0",
    "passes": "#1f8f6a",
}
OTHER_COLOURS = ("#8c6bb1", "#868686", "#a87a4c", "#459393", "#b9739a")

_INK, _GRID = "#010203", "#040506"  # stand for the page's colours until the drawing is done
_DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
_STYLES: dict[str, dict[str, Any]] = {
    "line": {"linewidth": 1.5},
    "light": {"linewidth": 0.9},
    "bold": {"linewidth": 2.0, "marker": "o", "markersize": 3.6, "zorder": 3},
}
# Inches. Fixed margins instead of a layout engine: half the time, and the axes of all figures line up.
WIDTH, HEIGHT = 3.7, 1.5
LEFT, RIGHT, TITLE, BOTTOM = 0.55, 0.1, 0.32, 0.42

LABEL_LIMIT = 2000  # of the words for a figure


@dataclass(frozen=True)
class Line:
    """One series of one run."""

    points: Points
    colour: str
    name: str = ""  # for who cannot see it
    dash: int = 0  # which pattern
    kind: str = "line"  # line; light: noisy, behind; bold: few points that count
    mark: int | None = None  # iteration to ring


@dataclass(frozen=True)
class Plot:
    """One pair of axes."""

    label: str
    lines: Sequence[Line]
    unit: str = ""  # "%": values are shares
    floor: float | None = None  # cut the view there: what is below would flatten the rest
    stacked: bool = False  # areas on top of each other
    height: float = 1.0  # of a usual plot's


def draw(plots: Sequence[Plot], key: str) -> str:
    """Plots above each other over the same iterations, as an <svg> element that says what it shows.

    Args:
        key: of the figure, unique in the page: element ids are derived from it.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the report
        matplotlib.rcParams.update(
            {
                "svg.hashsalt": key,
                "svg.fonttype": "none",  # text stays text: small, searchable, in the page's font
                "font.size": 9,
                "font.family": "DejaVu Sans",
                **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
                "axes.edgecolor": _GRID,
                "grid.color": _GRID,
                "path.simplify_threshold": 0.5,
            }
        )
        heights = [HEIGHT * plot.height for plot in plots]
        figure = Figure(figsize=(WIDTH, sum(heights) + BOTTOM))
        figure.patch.set_visible(False)  # the page's own background shows through
        axes = figure.subplots(len(plots), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        _place(list(axes), heights)
        for pair, plot in zip(axes, plots, strict=True):
            _draw_plot(pair, plot)
        axes[-1].set_xlabel("iteration")
        axes[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        out = io.StringIO()
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})
    label = text("; ".join(map(_said, plots)), LABEL_LIMIT)
    values = text(json.dumps(_values(plots, axes[-1]), separators=(",", ":")))
    head = f'<svg role="img" aria-label="{label}" data-plots="{values}"'
    return _inline(out.getvalue()).replace("<svg", head, 1)


def _values(plots: Sequence[Plot], axes: Axes) -> dict[str, Any]:
    """What plots.js shows under the pointer; what is not finite has no value to show."""
    return {
        "box": [round(LEFT / WIDTH, 4), round(1 - RIGHT / WIDTH, 4)],
        "range": [float(f"{edge:.6g}") for edge in axes.get_xlim()],
        "lines": [
            {
                "name": f"{plot.label}: {line.name}" if line.name and line.name != plot.label else plot.label,
                "unit": plot.unit,
                "points": [[i, float(f"{y:.4g}")] for i, y in line.points if math.isfinite(y)],
            }
            for plot in plots
            for line in plot.lines
        ],
    }


def _said(plot: Plot) -> str:
    """A plot in words, for who cannot see it: where each line begins and ends."""
    form = _formatter(plot.unit)
    ends = (
        f"{line.name or 'value'} from {form(line.points[0][1], 0)} in iteration {line.points[0][0]} "
        f"to {form(line.points[-1][1], 0)} in {line.points[-1][0]}"
        for line in plot.lines
        if line.points
    )
    return f"{plot.label}: {', '.join(ends)}"


def _place(axes: Sequence[Axes], heights: Sequence[float]) -> None:
    """Give each plot its height, its title included."""
    whole = sum(heights) + BOTTOM
    bottom = whole
    for pair, height in zip(axes, heights, strict=True):
        bottom -= height
        size = ((WIDTH - LEFT - RIGHT) / WIDTH, (height - TITLE) / whole)
        pair.set_position((LEFT / WIDTH, bottom / whole, *size))


def _draw_plot(axes: Axes, plot: Plot) -> None:
    axes.set_title(plot.label, loc="left", fontsize=9)  # beside the axis it would lie on its side
    axes.grid(True, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.patch.set_visible(False)
    axes.tick_params(length=0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(_formatter(plot.unit)))
    if plot.stacked:
        _draw_stack(axes, plot.lines)
    else:
        for line in plot.lines:
            _draw_line(axes, line)
    _fit(axes, plot)


def _draw_line(axes: Axes, line: Line) -> None:
    x, y = zip(*line.points, strict=True)
    style: dict[str, Any] = dict(_STYLES[line.kind])
    if len(x) == 1:
        style |= {"marker": "o", "markersize": 4}  # a line through one point is invisible
    axes.plot(x, y, color=line.colour, linestyle=_DASHES[line.dash % len(_DASHES)], **style)
    marked = [point for point in line.points if point[0] == line.mark]
    for point in marked:
        ring: dict[str, Any] = {
            "markersize": 9,
            "markerfacecolor": "none",
            "markeredgewidth": 1.4,
            "zorder": 4,
        }
        axes.plot(*point, marker="o", markeredgecolor=line.colour, **ring)


def _draw_stack(axes: Axes, lines: Sequence[Line]) -> None:
    """Areas in steps: a value belongs to its iteration, not to what lies between two of them."""
    x = sorted({i for line in lines for i, _ in line.points})
    # What an iteration did not do took no time and has no share: absent is 0 here.
    values = [[_finite(dict(line.points).get(i, 0.0)) for i in x] for line in lines]
    edges = [i - 0.5 for i in x] + [x[-1] + 0.5]
    bottom = [0.0] * len(x)
    for line, value in zip(lines, values, strict=True):
        top = [b + v for b, v in zip(bottom, value, strict=True)]
        axes.stairs(top, edges, baseline=bottom, fill=True, color=line.colour, linewidth=0)
        bottom = top
    axes.set_xlim(edges[0], edges[-1])


def _fit(axes: Axes, plot: Plot) -> None:
    """Zero is in view, so that a small change looks small."""
    shown = [y for line in plot.lines for _, y in line.points if math.isfinite(y)]
    low, high = min([0.0, *shown]), max([0.0, *shown])
    if plot.floor is not None:
        low = max(low, plot.floor)
    if plot.stacked:
        low, high = 0.0, axes.dataLim.y1
    if high <= low:
        high = low + 1.0
    pad = 0.0 if plot.stacked else 0.06 * (high - low)
    axes.set_ylim(low - (pad if low < 0 else 0.0), high + pad)


def _formatter(unit: str) -> Callable[[float, int], str]:
    if unit == "%":
        return lambda value, _: f"{100 * value:.3g} %".replace("-", "−")
    return lambda value, _: f"{value:.4g}".replace("e-0", "e-").replace("-", "−")


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _inline(svg: str) -> str:
    """The drawing as part of a page: no prologue, no ids that would occur twice, the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("'DejaVu Sans'", "inherit").replace(_INK, "currentColor").replace(_GRID, "var(--grid)")
    return re.sub(r"\n\s*", "\n", svg).strip()
