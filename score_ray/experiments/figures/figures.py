"""The paper's figures, of one run or of several ways of training side by side.

Every figure is saved on light and on dark paper. A series has its own colour, line, marker and
hatch, so that a grey print tells them apart too; the base model is a dotted line in ink.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from score_ray.config.loading import input_errors
from score_ray.experiments.figures.curves import (
    BINS,
    Curve,
    attempt_curve,
    changed_curve,
    changed_training_curve,
    edit_histogram,
    evaluation_curve,
    flips_by_level,
    over_seeds,
    training_curve,
    voting_curves,
)
from score_ray.experiments.figures.drawing import (
    RateOverUpdates,
    bar_style,
    draw_band,
    draw_flips,
    draw_range,
    draw_rates,
    panel_grid,
    style_of,
    with_legend,
)
from score_ray.experiments.figures.series import (
    PlottedSeries,
    RunRecords,
    Series,
    with_base_models,
)
from score_ray.reporting.metrics import value_at
from score_ray.reporting.palette import ATTEMPTS, DASHED
from score_ray.reporting.plot import (
    accuracy_figure,
    look,
    new_figure,
    open_axes,
    save_figure,
)

PerSeries = list[tuple[PlottedSeries, Any]]  # a series and its numbers in a figure


@dataclass(frozen=True, slots=True)
class FigureKind:
    """A figure: its title and caption, and the functions that collect and draw its numbers.

    `collect` returns something empty where no run has the data.
    """

    title: str
    caption: str
    collect: Callable[[Sequence[PlottedSeries]], Any]
    draw: Callable[[Any], Figure]


def draw(series: Sequence[Series], out: Path) -> list[Path]:
    """Draw every figure whose data exist into a folder, as NAME.png and NAME_dark.png.

    Returns the light ones in order. Raises ConfigError, before anything is written, for a run
    folder without a config or with damaged records.
    """
    with input_errors():
        plotted, written = with_base_models(series), []
        collected = {name: kind.collect(plotted) for name, kind in FIGURES.items()}
    out.mkdir(parents=True, exist_ok=True)
    for name, data in collected.items():
        if not data:
            continue
        written.append(out / f"{name}.png")
        for dark, path in ((False, written[-1]), (True, dark_of(written[-1]))):
            with look(dark):
                save_figure(FIGURES[name].draw(data), path)
    return written


def dark_of(light: Path) -> Path:
    """Return the path of the same figure on dark paper."""
    return light.with_name(f"{light.stem}_dark.png")


def _collect_accuracy(plotted: Sequence[PlottedSeries]) -> Any:
    """Return the records of a single run, or the rates of each attempt of several runs."""
    runs = [run for series in plotted if not series.base for run in series.runs]
    if len(runs) == 1:
        return runs[0] if runs[0].steps or runs[0].evals else None
    rates = [
        _rates(
            plotted,
            lambda run, i=i: training_curve(
                run.steps, lambda s: value_at(s.accuracies.per_attempt, i)
            ),
            lambda run, i=i: evaluation_curve(run.evals, f"acc_t{i}"),
        )
        for i in (1, 2)
    ]
    return rates if any(rates) else None


def _draw_accuracy(data: Any) -> Figure:
    if isinstance(data, RunRecords):
        return accuracy_figure(data.steps, data.evals)
    figure, panels = panel_grid(2, FIGURES["accuracy"].title, "updates", "accuracy")
    for axes, rates, ordinal in zip(panels, data, ("first", "second"), strict=True):
        draw_rates(axes, rates)
        axes.set_title(f"{ordinal} attempt")
    return with_legend(figure, panels)


def _rates(
    plotted: Sequence[PlottedSeries],
    training: Callable[[RunRecords], Curve],
    evaluated: Callable[[RunRecords], Curve],
) -> list[tuple[PlottedSeries, RateOverUpdates]]:
    """Return a rate while training and in evaluations, of every series that has one."""
    rates = []
    for series in plotted:
        curves = [evaluated(run) for run in series.runs]
        if series.base:
            before = [{0: curve[0]} for curve in curves if 0 in curve]
            rate = RateOverUpdates(None, over_seeds(before))
        else:
            trained = over_seeds([training(run) for run in series.runs])
            rate = RateOverUpdates(trained, over_seeds(curves))
        if rate.training or rate.evaluated:
            rates.append((series, rate))
    return rates


def _draw_changed(rates: Sequence[tuple[PlottedSeries, RateOverUpdates]]) -> Figure:
    figure = new_figure(9, 4.6)
    axes = figure.add_subplot()
    draw_rates(axes, rates)
    axes.set(xlabel="updates", ylabel="share of problems", title=FIGURES["changed"].title)
    axes.set_ylim(
        bottom=-0.03 * axes.get_ylim()[1]
    )  # so that a curve at 0 does not hide in the axis
    return with_legend(figure, [axes])


def _collect_edits(plotted: Sequence[PlottedSeries]) -> PerSeries:
    return _bands(plotted, lambda run, base: edit_histogram(run.greedy(base)))


def _draw_edits(data: PerSeries) -> Figure:
    """Draw a panel for each series, with the outline of the first base model in all."""
    scales = "edit distance / length of both texts", "share of problems"
    figure, panels = panel_grid(len(data), FIGURES["edit_distance"].title, *scales)
    last = max(x for _, band in data for x, y in zip(band.xs, band.high, strict=True) if y)
    edges = [i / BINS for i in range(BINS + 1)]
    first, first_band = data[0]
    for axes, (series, band) in zip(panels, data, strict=True):
        if first.base and series is not first:
            axes.stairs(first_band.mean, edges, color=rcParams["text.color"], ls=":", lw=1.6,
                        label=first.label)  # fmt: skip
        axes.bar(edges[:-1], band.mean, width=1 / BINS, align="edge", **bar_style(series))
        draw_range(axes, [edge + 0.5 / BINS for edge in edges[:-1]], band)
        axes.set_title(series.label)
        open_axes(axes)
    panels[0].set_xlim(0, max(10, last + 1) / BINS)
    return with_legend(figure, panels)


def _collect_attempts(plotted: Sequence[PlottedSeries]) -> PerSeries:
    return _bands(plotted, lambda run, base: attempt_curve(run.extra_samples("attempts", base)))


def _draw_attempts(data: PerSeries) -> Figure:
    figure = new_figure(9, 4.6)
    axes = figure.add_subplot()
    for series, band in data:
        draw_band(axes, band, {**style_of(series), "label": series.label})
    axes.set(xlabel="attempt", ylabel="accuracy", title=FIGURES["attempts"].title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    open_axes(axes)
    return with_legend(figure, [axes])


def _collect_sampling(plotted: Sequence[PlottedSeries]) -> PerSeries:
    data = []
    for series in plotted:
        curves = [
            voting_curves(run.extra_samples("samples", series.base), run.read_answer)
            for run in series.runs
        ]
        bands = [over_seeds([pair[i] for pair in curves]) for i in (0, 1)]
        if all(bands):
            data.append((series, bands))
    return data


def _draw_sampling(data: PerSeries) -> Figure:
    scales = "attempts sampled per problem", "accuracy of the vote"
    figure, panels = panel_grid(len(data), FIGURES["sampling"].title, *scales)
    first, second = ATTEMPTS
    styles = (
        {"label": "parallel: first attempts", "color": first, "marker": "s", "ls": DASHED},
        {"label": "sequential: second attempts", "color": second, "marker": "o", "ls": "-"},
    )
    for axes, (series, bands) in zip(panels, data, strict=True):
        for band, style in zip(bands, styles, strict=True):
            draw_band(axes, band, style)
        axes.set_title(series.label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(bands[0].xs, [str(x) for x in bands[0].xs])
        axes.minorticks_off()
        open_axes(axes)
    return with_legend(figure, panels)


def _collect_levels(plotted: Sequence[PlottedSeries]) -> PerSeries:
    answers = [(series, [run.greedy(series.base) for run in series.runs]) for series in plotted]
    return [(series, levels) for series, runs in answers if (levels := flips_by_level(runs))]


def _draw_levels(data: PerSeries) -> Figure:
    scales = "", "share of the level's problems"
    figure, panels = panel_grid(len(data), FIGURES["levels"].title, *scales, sharex=False)
    for axes, (series, levels) in zip(panels, data, strict=True):
        draw_flips(axes, levels)
        crowded = sum(len(level.name) for level in levels) > 34
        ticks = [f"{level.name}\nn = {level.n}" for level in levels]
        axes.set_xticks(range(len(levels)), ticks, rotation=45 * crowded, fontsize=9)
        axes.set_title(series.label)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        open_axes(axes)
        axes.grid(visible=False, axis="x")
    return with_legend(figure, panels)


def _bands(
    plotted: Sequence[PlottedSeries], curve: Callable[[RunRecords, bool], Curve]
) -> PerSeries:
    """Return the band of each series that has one."""
    bands = [(s, over_seeds([curve(run, s.base) for run in s.runs])) for s in plotted]
    return [(series, band) for series, band in bands if band]


FIGURES = {
    "accuracy": FigureKind(
        "Accuracy over training",
        "Lines: episodes while training, smoothed; markers: greedy evaluation on the test split; "
        "dotted: the base model. Several seeds: their mean and range.",
        _collect_accuracy,
        _draw_accuracy,
    ),
    "edit_distance": FigureKind(
        "How much the second attempt changes",
        "Edit distance of the first two attempts over the length of both, greedy; dotted: the "
        "base model.",
        _collect_edits,
        _draw_edits,
    ),
    "changed": FigureKind(
        "How often the second answer differs from the first",
        "Lines: episodes while training, smoothed; markers: greedy evaluation; dotted: the base "
        "model. A model that never changes its answer has collapsed to a single attempt.",
        lambda plotted: _rates(plotted, changed_training_curve, changed_curve),
        _draw_changed,
    ),
    "attempts": FigureKind(
        "Accuracy over repeated attempts",
        "Greedy, each attempt sees all attempts before it. Several seeds: their mean and range.",
        _collect_attempts,
        _draw_attempts,
    ),
    "sampling": FigureKind(
        "Majority vote: sampling in parallel or in sequence",
        "At an equal number of attempts: a vote over first attempts, or over the second attempts "
        "of half as many episodes. Smaller votes are averaged over all samples drawn.",
        _collect_sampling,
        _draw_sampling,
    ),
    "levels": FigureKind(
        "What the second attempt fixes and breaks, by difficulty",
        "Shares of all problems of a level, greedy, with 95 % Wilson intervals; several seeds: "
        "their mean, with the interval of one.",
        _collect_levels,
        _draw_levels,
    ),
}
