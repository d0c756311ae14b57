"""Draws the parts of figures: each series' style, bands over seeds, panels, a legend."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from score_ray.experiments.figures.curves import Band, Level
from score_ray.experiments.figures.series import PlottedSeries
from score_ray.reporting.palette import FLIPS, HATCHES, LINES, MARKERS, MUTED, SERIES
from score_ray.reporting.plot import new_figure, open_axes

PANEL_WIDTH, PANEL_HEIGHT, SINGLE_ROW_HEIGHT = 3.6, 3.1, 4.0  # in inches
LETTERS_PER_INCH = 14  # of a legend


@dataclass(frozen=True, slots=True)
class RateOverUpdates:
    """A rate by the updates made, while training and in evaluations.

    A base model has only the evaluation before the first update.
    """

    training: Band | None
    evaluated: Band | None


def style_of(series: PlottedSeries) -> dict[str, Any]:
    """Return the colour, line and marker of a series' curves."""
    if series.base:
        return {"color": rcParams["text.color"], "linestyle": ":", "marker": "x"}
    place = series.number % len(SERIES)
    return {"color": SERIES[place], "linestyle": LINES[place], "marker": MARKERS[place]}


def bar_style(series: PlottedSeries) -> dict[str, Any]:
    """Return the colour and hatch of a series' bars."""
    paper = rcParams["axes.facecolor"]
    if series.base:
        return {"color": MUTED, "edgecolor": paper}
    place = series.number % len(SERIES)
    return {"color": SERIES[place], "hatch": HATCHES[place], "edgecolor": paper}


def draw_band(axes: Axes, band: Band, style: Mapping[str, Any]) -> None:
    """Draw a line of means, and the range over seeds behind it."""
    axes.plot(band.xs, band.mean, linewidth=2, markersize=6, **style)
    if band.low != band.high:
        axes.fill_between(band.xs, band.low, band.high, color=style["color"], alpha=0.2, lw=0)


def draw_points(axes: Axes, band: Band, style: Mapping[str, Any]) -> None:
    """Draw markers at the means, and the range over seeds through them."""
    paper = rcParams["axes.facecolor"]
    marked = {**style, "linestyle": "none", "markeredgecolor": paper, "markersize": 8}
    axes.plot(band.xs, band.mean, zorder=4, **marked)
    draw_range(axes, band.xs, band, style["color"])


def draw_range(axes: Axes, xs: Sequence[float], band: Band, colour: str = "") -> None:
    """Draw lines from the lowest to the highest seed, where they differ."""
    differing = [i for i, low in enumerate(band.low) if low < band.high[i]]
    low, high = [band.low[i] for i in differing], [band.high[i] for i in differing]
    colour = colour or rcParams["text.color"]
    axes.vlines([xs[i] for i in differing], low, high, color=colour, lw=1.4)


def panel_grid(
    count: int, title: str, xlabel: str, ylabel: str, sharex: bool = True
) -> tuple[Figure, list[Axes]]:
    """Return a figure of axes with one scale: up to three in a row, more in several rows."""
    columns = count if count <= 3 else math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    width = max(PANEL_WIDTH, min(5.5, 9 / columns))
    height = PANEL_HEIGHT if rows > 1 else SINGLE_ROW_HEIGHT
    figure = new_figure(width * columns, rows * height + 0.6)
    grid = figure.subplots(rows, columns, sharex=sharex, sharey=True, squeeze=False)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, count - columns) : count]:  # also above an empty place
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(xlabel)
    figure.supylabel(ylabel, fontsize=10)
    figure.suptitle(title, fontsize=11)
    return figure, list(grid.flat[:count])


def with_legend(figure: Figure, panels: Sequence[Axes]) -> Figure:
    """Add a legend of all panels below them, each label once; none if there are no labels."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        letters = max(map(len, handles)) + 8  # the line and the gaps are 8 letters wide
        fitting = int(figure.get_figwidth() * LETTERS_PER_INCH / letters)
        place = {"loc": "outside lower center", "ncols": max(1, min(4, len(handles), fitting))}
        figure.legend(handles.values(), handles.keys(), frameon=False, fontsize=9, **place)
    return figure


def draw_rates(axes: Axes, rates: Sequence[tuple[PlottedSeries, RateOverUpdates]]) -> None:
    """Draw rates over the updates made: lines while training, markers where evaluated.

    Where nothing is known of training, a line joins the evaluations.
    """
    for series, rate in rates:
        style = style_of(series)
        if series.base and rate.evaluated:
            axes.axhline(rate.evaluated.mean[0], color=style["color"], ls=":", label=series.label)
            continue
        if line := rate.training or rate.evaluated:
            draw_band(axes, line, {**style, "marker": ""})
        if rate.evaluated:
            draw_points(axes, rate.evaluated, style)
        axes.plot([], [], label=series.label, **style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    open_axes(axes)


def draw_flips(axes: Axes, levels: Sequence[Level]) -> None:
    """Draw bars of i_to_c and c_to_i side by side at each level, with intervals."""
    ink, paper = rcParams["text.color"], rcParams["axes.facecolor"]
    bars = (
        ("incorrect → correct", FLIPS["i_to_c"], "", -0.2, [level.i_to_c for level in levels]),
        ("correct → incorrect", FLIPS["c_to_i"], "//", 0.2, [level.c_to_i for level in levels]),
    )
    for label, colour, hatch, shift, rates in bars:
        xs, values = [i + shift for i in range(len(rates))], [rate.value for rate in rates]
        axes.bar(xs, values, 0.38, color=colour, hatch=hatch, edgecolor=paper, label=label)
        reach = [[r.value - r.low for r in rates], [r.high - r.value for r in rates]]
        axes.errorbar(xs, values, reach, fmt="none", ecolor=ink, capsize=3, lw=1.2)
