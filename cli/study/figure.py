"""The figures of a study as SVG: recipes side by side, and a sweep over the weights of the objective."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from evaluation.columns import MAIN, column

SHOWN = ("syntax", "any_pass", "all_pass")
SWEPT = ("all_pass", "clean", "pass_and_clean")


def draw_arms(path: Path, models: Sequence[Mapping[str, Any]]) -> None:
    """A panel for each column, recipes below each other: the mean with its interval, and All-P's seeds."""
    rows = range(len(models), 0, -1)
    figure = _figure(8, 1.2 + 0.3 * len(models))
    axes = figure.subplots(1, len(SHOWN), sharey=True)
    for panel, key in zip(axes, SHOWN, strict=True):
        for row, model in zip(rows, models, strict=True):
            interval = model[key]
            low, high = (abs(interval["mean"] - interval[end]) for end in ("low", "high"))
            panel.errorbar(100 * interval["mean"], row, xerr=[[100 * low], [100 * high]], fmt="o", capsize=3)
            if key == MAIN:
                seeds = [100 * share for share in model["by_seed"].values()]
                panel.plot(seeds, [row - 0.25] * len(seeds), "|", color="0.4")
        most = 100 * max(model[key]["high"] for model in models)
        panel.set(title=column(key).heading, xlim=(0, min(100, 1.1 * most)), ylim=(0.4, len(models) + 0.6))
        panel.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(list(rows), [model["name"] for model in models])
    _save(figure, path)


def draw_sweep(path: Path, models: Mapping[float, Mapping[str, Any]]) -> None:
    """Columns over alpha, the weight of R_func; R_sec has the rest. Side by side: none hides another."""
    figure = _figure(6, 3.4)
    axes = figure.subplots()
    for number, (key, marker) in enumerate(zip(SWEPT, "os^", strict=True)):
        points = [(alpha, model[key]) for alpha, model in models.items() if key in model]
        means = [100 * interval["mean"] for _, interval in points]
        ends = [
            [100 * abs(interval["mean"] - interval[end]) for _, interval in points] for end in ("low", "high")
        ]
        beside = [alpha + 0.01 * (number - 1) for alpha, _ in points]
        axes.errorbar(beside, means, yerr=ends, marker=marker, capsize=3, label=column(key).heading)
    axes.set(xlabel="alpha (beta = 1 - alpha)", ylabel="%", ylim=(0, 100), xticks=list(models))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=len(SWEPT), frameon=False)
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    matplotlib.rcParams["svg.hashsalt"] = "study"  # the same numbers give the same file
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
