"""Evaluation and headline: the numbers shown are the file's."""

import html
import math
import re

import pytest
from report_inputs import evaluation_model, metrics_row

from evaluation.columns import HEADLINE
from report.evaluation import evaluation_section, paired
from report.markup import number, text
from report.read import Run
from report.summary import duration, headline, overview, progress_table


def cells(table: str) -> list[list[str]]:
    """Text of every row's cells."""
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [
        [
            html.unescape(re.sub(r"<[^>]*>", "", cell)).strip()
            for cell in re.findall(r"<t[hd].*?</t[hd]>", row)
        ]
        for row in rows
    ]


def content(*models) -> dict:
    return {"problems": 200, "samples": 4, "temperature": 0.7, "models": list(models)}


def test_the_table_shows_means_and_intervals():
    models = [evaluation_model("SFT", 0.0), evaluation_model("PPO", 0.25)]
    head, *rows = cells(evaluation_section(content(*models)))
    assert head == ["model", "Syn. %", "≥1-P %", "All-P %", "mean R", "R with k/T", "length"]
    for model, row in zip(models, rows, strict=True):
        assert row[0] == model["name"]
        for (key, _, factor, form), cell in zip(HEADLINE, row[1:], strict=True):
            mean, low, high = (form.format(factor * model[key][part]) for part in ("mean", "low", "high"))
            assert cell == f"{mean} [{low}–{high}]"


def test_a_known_row_reads_as_it_should():
    (_, row) = cells(evaluation_section(content(evaluation_model("SFT", 0.0))))
    assert row[1] == "50.0 [45.0–54.0]"
    assert row[4] == "0.432 [0.389–0.467]"


def test_stage_bars_are_as_wide_as_their_shares():
    model = evaluation_model("SFT", 0.0)
    section = evaluation_section(content(model))
    bar = section[section.index('class="stack"') : section.index('class="legend"')]
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", bar)]
    assert widths == [round(100 * share, 2) for share in model["stages"].values()]
    assert sum(widths) == pytest.approx(100)


def test_interval_bars_lie_within_their_scale():
    models = [evaluation_model("SFT", 0.0), evaluation_model("PPO", 0.25)]
    section = evaluation_section(content(*models))
    bars = re.findall(r"left:([\d.]+)%;width:([\d.]+)%", section)
    assert len(bars) == 2 * len(HEADLINE)
    assert all(0 <= float(left) and float(left) + float(width) <= 100.01 for left, width in bars)


def test_missing_columns_are_left_out_and_missing_values_dashed():
    short = {"name": "short", "syntax": {"mean": 0.5, "low": 0.4, "high": 0.6}}
    assert cells(evaluation_section(content(short)))[0] == ["model", "Syn. %"]
    assert "How far programs get" not in evaluation_section(content(short))
    both = cells(evaluation_section(content(short, evaluation_model("full", 0.0))))
    assert both[1][2:] == ["–"] * 5


def test_nan_is_shown_as_a_dash_and_zero_as_zero():
    nan, zero = ({"mean": v, "low": v, "high": v} for v in (math.nan, 0.0))
    (_, row) = cells(evaluation_section(content({"name": "x", "syntax": nan, "all_pass": zero})))
    assert row[1:] == ["– [–––]", "0.0 [0.0–0.0]"]


def test_faults_are_told():
    assert "3 not scored" in evaluation_section(content(evaluation_model("x", 0.0) | {"faults": 3}))
    assert "not scored" not in evaluation_section(content(evaluation_model("x", 0.0)))


def cards(page: str) -> dict[str, tuple[str, str]]:
    """Name -> (kind of card, text)."""
    found = re.findall(r'<div class="card (\w+)"><h3>([^<]*)</h3>(.*?)</div>', page)
    return {name: (kind, re.sub(r"<[^>]*>", " ", body)) for kind, name, body in found}


def test_the_headline_compares_with_the_first_model():
    models = [evaluation_model(name, level) for name, level in (("SFT", 0.1), ("A", 0.4), ("B", 0.0))]
    page = headline([], content(*models))
    assert re.findall(r"<h2>(.*?),", page) == ["SFT → A", "SFT → B"]
    assert page.count("95 % intervals") == 8


def test_only_intervals_that_do_not_overlap_are_coloured():
    before, better, same = (evaluation_model("m", level) for level in (0.1, 0.5, 0.105))
    up, down, unsure = (
        cards(headline([], content(*pair))) for pair in ((before, better), (better, before), (before, same))
    )
    assert {kind for kind, _ in up.values()} == {"up"}
    assert {kind for kind, _ in down.values()} == {"down"}
    assert {kind for kind, _ in unsure.values()} == {"unsure"}
    assert re.sub(r"\s+", " ", up["All-P"][1]).strip() == "15.7 % → 55.7 % +40.0 points 95 % intervals apart"
    assert "−40.0 points" in down["All-P"][1]


def test_without_an_evaluation_the_headline_is_validation_and_claims_nothing():
    run = Run("run", [metrics_row(i, 8) for i in range(9)])
    found = cards(headline([run], None))
    assert {kind for kind, _ in found.values()} == {"unsure"}
    assert re.sub(r"\s+", " ", found["Mean R"][1]).strip() == (
        "0.400 → 0.700 +0.300 iterations 0 and 8; no intervals"
    )
    assert headline([run], content(evaluation_model("one", 0.0))) == headline([run], None)


def test_one_validation_is_no_comparison():
    assert headline([Run("run", [metrics_row(0, 8)])], None) == ""


def test_the_table_of_progress_shows_first_best_and_last():
    rows = [metrics_row(i, 8) for i in range(9)]
    rows[4]["validation/all_pass"] = 0.777
    table = {row[0]: row[1:] for row in cells(progress_table([Run("run", rows)]))}
    assert table[""] == ["first", "best (iteration 4)", "last"]
    assert table["validation All-P %"][:2] == ["5.0", "77.7"]
    assert table["training R"] == [f"{rows[i]['reward/mean']:.3f}" for i in (1, 4, 8)]
    assert table["explained variance"] == ["−3.000", "0.350", "0.700"]


def test_the_overview_adds_up():
    rows = [{"iteration": i, "rollout/samples": 1000} for i in (1, 2)]
    timing = [{"iteration": i, "seconds/iteration": 2000.0} for i in (1, 2)]
    line = overview([Run("run", rows, timing)])
    assert "2 iterations, 2,000 training programs, 1 h 6 min" in line
    assert [duration(s) for s in (0, 59.6, 3599, 3600)] == ["0 s", "1 min 0 s", "59 min 59 s", "1 h 0 min"]


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (math.nan, "–"), (0.0, "0"), (-0.5, "−0.5"), (1234.5, "1.23e+03")]
)
def test_numbers_for_people(value, shown):
    assert number(value) == shown


def test_text_is_escaped_and_hidden_characters_are_spelled_out():
    assert text("<a b='c\"'>&") == "&lt;a b=&#x27;c&quot;&#x27;&gt;&amp;"
    assert text("a\x00b\u200bc\u202ed\r") == "a⟨U+0000⟩b⟨U+200B⟩c⟨U+202E⟩d⟨U+000D⟩"
    assert text("a\r\nb\tc") == "a\nb\tc"
    assert text("x" * 10, limit=4) == "xxxx\n… 6 more characters"
    assert text("&" * 5, limit=5) == "&amp;" * 5


def pair_of(a: str, b: str, mean: float, different: bool) -> dict:
    difference = {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "different": different, "p": 0.01}
    return {"a": a, "b": b, "same": False, "columns": {"all_pass": difference, "reward": difference}}


def test_paired_differences_decide_what_is_real():
    """Intervals of two models may overlap where their paired difference is real, and the other way round."""
    models = [evaluation_model(name, 0.01 * i) for i, name in enumerate(("SFT", "PPO", "other"))]
    pairs = [pair_of("SFT", "PPO", 0.05, True), pair_of("SFT", "other", 0.3, False)]
    page = {**content(*models), "comparisons": pairs, "notes": ["Read <this>."]}
    section = evaluation_section(page)
    assert "<li>Read &lt;this&gt;.</li>" in section
    rows = [row for row in cells(section) if "−" in row[0]]
    assert rows == [
        ["PPO − SFT", "+5.0 ★ [+3.0, +7.0]", "+0.050 ★ [+0.030, +0.070]"],
        ["other − SFT", "+30.0 [+28.0, +32.0]", "+0.300 [+0.280, +0.320]"],
    ]
    first, second = headline([], page).split("</section>")[:2]
    assert "paired by problem [+3.0, +7.0]</p>" in first and 'class="card up"' in first
    assert "cannot be told apart" in second and 'class="card unsure"' in second
    assert "95 % intervals overlap" in first  # of a column that has no paired difference


def test_comparisons_that_cannot_be_read_are_left_out():
    """Of another version: what has no names, no interval, no list."""
    broken = [3, {"a": "x"}, {"a": "x", "b": "y", "columns": {"all_pass": {"mean": 1}, "reward": 3}}]
    assert paired({"comparisons": broken}) == [{"a": "x", "b": "y", "columns": {}}]
    for comparisons in (None, 3, {}, [], broken):
        shown = evaluation_section({**content(evaluation_model("SFT", 0.0)), "comparisons": comparisons})
        assert "Differences" not in shown
