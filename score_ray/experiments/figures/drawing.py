"""What figures are put together from: each series' style, bands over seeds, panels, a legend."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from score_ray.experiments.figures.data import Band, Level, PlottedSeries
from score_ray.reporting.plot import new_figure, open_axes

# Okabe and Ito's palette, without the yellow and the black that one of the papers swallows.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
LINES: tuple[Any, ...] = (
    "-",
    (0, (5, 1)),
    (0, (3, 1, 1, 1)),
    (0, (1, 0.6)),
    "--",
    "-.",
    (0, (8, 2)),
)
MARKERS = "oDs^vPX"
WIDTH, LOW, TALL = 3.6, 3.1, 4.0  # of a panel, in inches; tall in a row alone
LETTERS = 14  # of a legend, per inch
HATCHES = ("", "//", "\\\\", "xx", "..", "--", "++")


@dataclass(frozen=True, slots=True)
class Trace:
    """A rate over the updates made; of a base model the evaluation before the first one alone."""

    training: Band | None
    evaluated: Band | None


def style_of(entry: PlottedSeries) -> dict[str, Any]:
    """The colour, line and marker of an entry's curves."""
    if entry.base:
        return {"color": rcParams["text.color"], "linestyle": ":", "marker": "x"}
    place = entry.number % len(PALETTE)
    return {"color": PALETTE[place], "linestyle": LINES[place], "marker": MARKERS[place]}


def bar_style(entry: PlottedSeries) -> dict[str, Any]:
    """The colour and hatch of an entry's bars."""
    paper = rcParams["axes.facecolor"]
    if entry.base:
        return {"color": "#888888", "edgecolor": paper}
    place = entry.number % len(PALETTE)
    return {"color": PALETTE[place], "hatch": HATCHES[place], "edgecolor": paper}


def draw_band(axes: Axes, band: Band, style: Mapping[str, Any]) -> None:
    """A line of means, and the range over seeds behind it."""
    axes.plot(band.xs, band.mean, linewidth=2, markersize=6, **style)
    if band.low != band.high:
        axes.fill_between(band.xs, band.low, band.high, color=style["color"], alpha=0.2, lw=0)


def draw_points(axes: Axes, band: Band, style: Mapping[str, Any]) -> None:
    """Markers at the means, and the range over seeds through them."""
    paper = rcParams["axes.facecolor"]
    marked = {**style, "linestyle": "none", "markeredgecolor": paper, "markersize": 8}
    axes.plot(band.xs, band.mean, zorder=4, **marked)
    draw_reach(axes, band.xs, band, style["color"])


def draw_reach(axes: Axes, xs: Sequence[float], band: Band, colour: str = "") -> None:
    """Lines from the lowest to the highest seed, where they differ."""
    drawn = [i for i, low in enumerate(band.low) if low < band.high[i]]
    low, high = [band.low[i] for i in drawn], [band.high[i] for i in drawn]
    axes.vlines([xs[i] for i in drawn], low, high, color=colour or rcParams["text.color"], lw=1.4)


def panel_grid(
    count: int, title: str, xlabel: str, ylabel: str, sharex: bool = True
) -> tuple[Figure, list[Axes]]:
    """Axes side by side, then in rows of nearly equal length; a scale for all."""
    columns = count if count <= 3 else math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    width = max(WIDTH, min(5.5, 9 / columns))
    figure = new_figure(width * columns, rows * (LOW if rows > 1 else TALL) + 0.6)
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
    """A legend of all panels below them, nothing named twice; none where nothing is named."""
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        room = figure.get_figwidth() * LETTERS / (max(map(len, handles)) + 8)  # 8: line and gaps
        place = {"loc": "outside lower center", "ncols": max(1, min(4, len(handles), int(room)))}
        figure.legend(handles.values(), handles.keys(), frameon=False, fontsize=9, **place)
    return figure


def draw_traces(axes: Axes, table: Sequence[tuple[PlottedSeries, Trace]]) -> None:
    """Rates over the updates made: lines while training, markers where evaluated.

    Without the former a line joins the latter.
    """
    for entry, trace in table:
        style = style_of(entry)
        if entry.base and trace.evaluated:
            axes.axhline(trace.evaluated.mean[0], color=style["color"], ls=":", label=entry.label)
            continue
        if line := trace.training or trace.evaluated:
            draw_band(axes, line, {**style, "marker": ""})
        if trace.evaluated:
            draw_points(axes, trace.evaluated, style)
        axes.plot([], [], label=entry.label, **style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    open_axes(axes)


def draw_flips(axes: Axes, table: Sequence[Level], name: str, number: int) -> None:
    """Bars of i_to_c (number 0) or c_to_i (1), side by side at each level, with intervals."""
    rates = [getattr(level, name) for level in table]
    values = [rate.value for rate in rates]
    xs = [i + (number - 0.5) * 0.4 for i in range(len(table))]
    colour, label = (("#009E73", "incorrect → correct"), ("#D55E00", "correct → incorrect"))[number]
    paper = rcParams["axes.facecolor"]
    axes.bar(xs, values, 0.38, color=colour, hatch=("", "//")[number], edgecolor=paper, label=label)
    reach = [[r.value - r.low for r in rates], [r.high - r.value for r in rates]]
    axes.errorbar(xs, values, reach, fmt="none", ecolor=rcParams["text.color"], capsize=3, lw=1.2)
