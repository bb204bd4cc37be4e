"""Curves: what is drawn is what was logged, and only what was logged."""

import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib
import pytest
from report_inputs import metrics_row, timing_row

from report import curves, figures, panels
from report.curves import OTHER_COLOURS, PALETTE, STAGE_COLOURS, Line, Plot, draw
from report.read import Run


def paths(svg: str, colour: str) -> list[list[tuple[float, float]]]:
    """Points of the lines of a colour, in the drawing's units."""
    found = re.findall(rf'<path d="([^"]*)"[^>]*style="fill: none; stroke: {colour}', svg)
    return [[(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)] for path in found]


def assert_proportional(drawn, data):
    """One linear map per axis takes the data to the drawing, upside down."""
    assert len(drawn) == len(data)
    for axis, sign in ((0, 1), (1, -1)):
        low, high = (f(range(len(data)), key=lambda i: data[i][axis]) for f in (min, max))
        scale = (drawn[high][axis] - drawn[low][axis]) / (data[high][axis] - data[low][axis])
        assert scale * sign > 0
        for point, value in zip(drawn, data, strict=True):
            assert point[axis] == pytest.approx(
                drawn[low][axis] + scale * (value[axis] - data[low][axis]), abs=1e-3
            )


def run(name="run", rows=None, timing=()) -> Run:
    rows = [metrics_row(i, 8) for i in range(9)] if rows is None else rows
    return Run(name, list(rows), list(timing))


@pytest.fixture
def plots(monkeypatch) -> dict[str, list[Plot]]:
    """What is handed to `draw`, by figure."""
    seen: dict[str, list[Plot]] = {}

    def record(plots, key):
        seen[key] = list(plots)
        return "<svg></svg>"

    monkeypatch.setattr(figures, "draw", record)
    return seen


def test_a_line_goes_through_its_points():
    data = [(0, 0.1), (3, 0.5), (4, 0.2), (9, 0.7)]
    svg = draw([Plot("R", [Line(data, "#112233")])], "k")
    (drawn,) = paths(svg, "#112233")
    assert_proportional(drawn, data)


def test_two_lines_share_the_scale():
    one, two = [(0, 0.1), (1, 0.5)], [(0, 0.5), (1, 1.0)]
    svg = draw([Plot("R", [Line(one, "#112233"), Line(two, "#445566")])], "k")
    (first,), (second,) = paths(svg, "#112233"), paths(svg, "#445566")
    assert_proportional([*first, second[1]], [*one, two[1]])


def test_nan_leaves_a_gap_and_infinity_does_not_stretch_the_scale():
    data = [(0, 1.0), (1, 2.0), (2, math.nan), (3, 3.0), (4, 4.0), (5, math.inf)]
    svg = draw([Plot("R", [Line(data, "#112233")])], "k")
    (drawn,) = paths(svg, "#112233")
    assert_proportional(drawn, [data[0], data[1], data[3], data[4]])
    assert drawn[3][1] > 0


@pytest.mark.parametrize(
    "values", [[0.0, 0.0], [math.nan, math.nan], [1e-5, 1e-5], [-2.0, -1.0], [1e9, 1e12]]
)
def test_constant_empty_and_extreme_series_can_be_drawn(values, recwarn):
    draw([Plot("x", [Line(list(enumerate(values)), "#112233")])], "k")
    draw([Plot("x", [Line(list(enumerate(values)), "#112233")], stacked=True)], "k")
    assert [str(w.message) for w in recwarn] == []


def test_a_single_point_is_visible():
    svg = draw([Plot("x", [Line([(3, 0.5)], "#112233")])], "k")
    assert "<use" in svg


def test_stacked_areas_have_the_height_of_their_values():
    one, two = [(1, 0.2), (2, 0.6)], [(1, 0.8), (2, 0.4)]
    svg = draw([Plot("x", [Line(one, "#112233"), Line(two, "#445566")], unit="%", stacked=True)], "k")
    heights = []
    for colour in ("#112233", "#445566"):
        (path,) = re.findall(rf'<path d="([^"]*)"[^>]*style="fill: {colour}', svg)
        points = [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path)]
        left = min(x for x, _ in points)
        ys = [y for x, y in points if x == left]
        heights.append(max(ys) - min(ys))
    assert heights[1] == pytest.approx(4 * heights[0], rel=1e-3)


def test_the_drawing_is_xml_in_the_colours_of_the_page_and_always_the_same():
    plots = [Plot("R", [Line([(0, 0.1), (1, 0.5)], PALETTE[0], kind="bold", mark=1)], unit="%")]
    svg = draw(plots, "k")
    assert svg == draw(plots, "k") != draw(plots, "other key")
    ET.fromstring(svg)
    assert "currentColor" in svg and "var(--grid)" in svg
    assert "#010203" not in svg and "#ffffff" not in svg and "<metadata" not in svg


def test_drawing_leaves_matplotlib_as_it_was():
    with matplotlib.rc_context({"font.size": 31.0, "svg.hashsalt": "mine"}):
        before = dict(matplotlib.rcParams)
        draw([Plot("R", [Line([(0, 0.1)], PALETTE[0])])], "k")
        assert dict(matplotlib.rcParams) == before


def test_every_metric_of_the_panels_is_drawn_as_logged(plots):
    every = (*panels.OUTCOMES, *panels.REWARDS, *panels.POLICY, *panels.SPEED)
    logged = run(timing=[timing_row(i) for i in range(9)])
    assert len(figures.panel_figures(every, [logged])) == len(every)
    both = [metrics | timing for metrics, timing in zip(logged.metrics, logged.timing, strict=True)]
    for panel in every:
        for axes, plot in zip(panel.axes, plots[panel.title], strict=True):
            assert [line.points for line in plot.lines] == [
                [
                    (i, row[c.metric])
                    for i, row in enumerate(both)
                    if c.metric in row and (i or "val" in c.metric)
                ]
                for c in axes.curves
            ]
            assert all(line.points for line in plot.lines)


def test_what_was_not_logged_is_left_out(plots):
    """A reward function of one's own: no parts, no stages, no tests passed in training."""
    rows = [{"iteration": i, "reward/mean": 0.1 * i, "validation/all_pass": 0.2} for i in range(4)]
    html = "".join(
        figures.panel_figures((*panels.OUTCOMES, *panels.REWARDS, *panels.POLICY), [run(rows=rows)])
    )
    assert list(plots) == ["All tests passed", "Reward", "Length beside All-P"]
    assert [len(plots[key]) for key in plots] == [1, 1, 1]
    assert re.findall(r"</i>([^<]*)", html) == ["validation", "training rollouts", "validation"]
    assert figures.stage_figures([run(rows=rows)]) == figures.phase_figures([run(rows=rows)]) == []


def test_several_runs_are_told_apart_by_colour_and_one_by_curve(plots):
    one, two = run("one"), run("two")
    figures.panel_figures(panels.REWARDS, [one])
    assert [line.colour for line in plots["Reward"][1].lines] == [PALETTE[1], PALETTE[2]]
    figures.panel_figures(panels.REWARDS, [one, two])
    parts = plots["Reward"][1].lines
    assert [(line.colour, line.dash) for line in parts] == [
        (PALETTE[0], 0),
        (PALETTE[0], 1),
        (PALETTE[1], 0),
        (PALETTE[1], 1),
    ]
    assert "one" in figures.run_legend([one, two]) and figures.run_legend([one]) == ""


def test_training_is_light_and_validation_bold_with_the_best_ringed(plots):
    logged = run()
    figures.panel_figures(panels.OUTCOMES, [logged])
    training, validation = plots["All tests passed"][0].lines
    assert (training.kind, training.mark) == ("light", None)
    assert (validation.kind, validation.mark) == ("bold", logged.best)


def test_stages_are_stacked_in_the_order_of_the_ladder(plots):
    logged = run()
    figures.stage_figures([logged])
    (plot,) = plots["Stagesshare"]
    assert [line.colour for line in plot.lines] == list(STAGE_COLOURS.values())
    assert [line.points for line in plot.lines] == [logged.series(f"stage/{s}") for s in STAGE_COLOURS]
    assert plot.stacked


def test_phases_leave_out_their_sum(plots):
    logged = run(timing=[timing_row(i) for i in range(9)])
    (html,) = figures.phase_figures([logged])
    assert re.findall(r"</i>(\w+)", html) == ["rollout", "score", "forward", "update", "validate"]
    (plot,) = plots["Seconds per phaseseconds"]
    assert plot.lines[4].points == [(0, 3.0), (4, 3.0), (8, 3.0)]


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_every_line_stands_out_from_the_light_and_the_dark_card():
    """3 : 1 is what WCAG asks of graphics."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    css = (Path(curves.__file__).parent / "web/page.css").read_text(encoding="utf-8")
    cards = re.findall(r"--card: (#\w{6})", css)
    assert len(cards) == 2
    for colour in (*PALETTE, *STAGE_COLOURS.values(), *OTHER_COLOURS):
        for card in cards:
            assert contrast(colour, card) >= 3, (colour, card)
    assert not any("alpha" in style for style in curves._STYLES.values())


def test_a_figure_says_what_it_shows():
    lines = [Line([(1, 0.25), (4, 0.5)], PALETTE[0], 'a "run" <b>'), Line([(2, 1.0)], PALETTE[1])]
    svg = draw([Plot("All-P", lines, unit="%"), Plot("KL", [])], "k")
    label = ET.fromstring(svg).attrib["aria-label"]
    assert label.startswith('All-P: a "run" <b> from 25 % in iteration 1 to 50 % in 4, value from 100 % in ')
    assert label.endswith("iteration 2 to 100 % in 2; KL: ")
    assert ET.fromstring(svg).attrib["role"] == "img"


def test_a_figure_holds_the_values_it_shows():
    """For the pointer; names are the log's own and may be anything, what is not finite is nothing to show."""
    name = "a \"run\" </svg><script> & 'b'"
    lines = [Line([(1, 0.123456), (2, math.nan), (4, 0.5)], PALETTE[0], name), Line([(2, 1.0)], PALETTE[1])]
    svg = draw([Plot("All-P", lines, unit="%"), Plot("KL", [Line([(4, -2.5)], PALETTE[0], "KL")])], "k")
    held = json.loads(ET.fromstring(svg).attrib["data-plots"])
    assert [line["name"] for line in held["lines"]] == [f"All-P: {name}", "All-P", "KL"]
    assert [line["unit"] for line in held["lines"]] == ["%", "%", ""]
    assert [line["points"] for line in held["lines"]] == [[[1, 0.1235], [4, 0.5]], [[2, 1.0]], [[4, -2.5]]]
    left, right = held["range"]
    assert left < 1 < 4 < right and 0 < held["box"][0] < held["box"][1] < 1
