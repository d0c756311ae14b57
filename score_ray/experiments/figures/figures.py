"""The paper's figures, of one run or of several ways of training side by side.

Every figure is saved on light and on dark paper. A series has a colour, a line, a marker and a
hatch of its own, so that it is told apart in a grey print too; the base model is in ink, dotted.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from score_ray.experiments.figures.data import (
    BINS,
    Curve,
    PlottedSeries,
    RunRecords,
    Series,
    attempt_curve,
    changed_curve,
    changed_training_curve,
    edit_histogram,
    entries_of,
    evaluation_curve,
    levels,
    over_seeds,
    training_curve,
    voting_curves,
)
from score_ray.experiments.figures.drawing import (
    Trace,
    bar_style,
    draw_band,
    draw_flips,
    draw_reach,
    draw_traces,
    panel_grid,
    style_of,
    with_legend,
)
from score_ray.reporting.plot import (
    COLOURS,
    accuracy_figure,
    look,
    new_figure,
    open_axes,
    save_figure,
)

Named = list[tuple[PlottedSeries, Any]]  # an entry and what of it is drawn


@dataclass(frozen=True, slots=True)
class Kind:
    """A figure: what it is called, how it is read, and where its numbers come from.

    `collect` gives nothing where no run has the data.
    """

    title: str
    caption: str
    collect: Callable[[Sequence[PlottedSeries]], Any]
    draw: Callable[[Any], Figure]


def draw(series: Sequence[Series], out: Path) -> list[Path]:
    """Draw every figure whose data exist into a folder, NAME.png and NAME_dark.png.

    Returns the light ones in order. Raises ConfigError for a folder without a config.
    """
    entries, written = entries_of(series), []
    out.mkdir(parents=True, exist_ok=True)
    for name, kind in FIGURES.items():
        if not (found := kind.collect(entries)):
            continue
        written.append(out / f"{name}.png")
        for dark, path in ((False, written[-1]), (True, dark_of(written[-1]))):
            with look(dark):
                save_figure(kind.draw(found), path)
    return written


def dark_of(light: Path) -> Path:
    """Where the same figure is on dark paper."""
    return light.with_name(f"{light.stem}_dark.png")


def picture(light: Path) -> str:
    """A figure as HTML: both papers embedded, the reader's colour scheme chooses."""
    urls = [
        f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        for path in (light, dark_of(light))
    ]
    alt = escape(FIGURES[light.stem].title, quote=True)
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{urls[1]}">'
        f'<img alt="{alt}" src="{urls[0]}"></picture>'
    )


def figure_html(light: Path) -> str:
    """A figure with its caption."""
    caption = escape(FIGURES[light.stem].caption)
    return f"<figure>{picture(light)}<figcaption>{caption}</figcaption></figure>"


def _collect_accuracy(entries: Sequence[PlottedSeries]) -> Any:
    """A single run with all it has; of several ones each attempt's traces."""
    runs = [run for entry in entries if not entry.base for run in entry.runs]
    if len(runs) == 1:
        return runs[0] if runs[0].metrics or runs[0].evals else None
    tables = [
        _traces(
            entries,
            lambda run, i=i: training_curve(run.metrics, f"train/acc_t{i}"),
            lambda run, i=i: evaluation_curve(run.evals, f"acc_t{i}"),
        )
        for i in (1, 2)
    ]
    return tables if any(tables) else None


def _draw_accuracy(found: Any) -> Figure:
    if isinstance(found, RunRecords):
        return accuracy_figure(found.metrics, found.evals)
    figure, panels = panel_grid(2, FIGURES["accuracy"].title, "updates", "accuracy")
    for axes, table, ordinal in zip(panels, found, ("first", "second"), strict=True):
        draw_traces(axes, table)
        axes.set_title(f"{ordinal} attempt")
    return with_legend(figure, panels)


def _traces(
    entries: Sequence[PlottedSeries],
    training: Callable[[RunRecords], Curve],
    evaluated: Callable[[RunRecords], Curve],
) -> list[tuple[PlottedSeries, Trace]]:
    """A rate while training and in evaluations, of every entry that has one."""
    table = []
    for entry in entries:
        curves = [evaluated(run) for run in entry.runs]
        if entry.base:
            before = [{0: curve[0]} for curve in curves if 0 in curve]
            trace = Trace(None, over_seeds(before))
        else:
            trace = Trace(over_seeds([training(run) for run in entry.runs]), over_seeds(curves))
        if trace.training or trace.evaluated:
            table.append((entry, trace))
    return table


def _draw_changed(table: Sequence[tuple[PlottedSeries, Trace]]) -> Figure:
    figure = new_figure(9, 4.6)
    axes = figure.add_subplot()
    draw_traces(axes, table)
    axes.set(xlabel="updates", ylabel="share of problems", title=FIGURES["changed"].title)
    axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])  # 0 apart from the axis
    return with_legend(figure, [axes])


def _collect_edits(entries: Sequence[PlottedSeries]) -> Named:
    return _named(entries, lambda run, base: edit_histogram(run.greedy(base)))


def _draw_edits(found: Named) -> Figure:
    """A panel each, with the outline of the first base model in all."""
    scales = "edit distance / length of both texts", "share of problems"
    figure, panels = panel_grid(len(found), FIGURES["edit_distance"].title, *scales)
    last = max(x for _, band in found for x, y in zip(band.xs, band.high, strict=True) if y)
    edges = [i / BINS for i in range(BINS + 1)]
    for axes, (entry, band) in zip(panels, found, strict=True):
        if found[0][0].base and entry is not found[0][0]:
            axes.stairs(found[0][1].mean, edges, color=rcParams["text.color"], ls=":", lw=1.6,
                        label=found[0][0].label)  # fmt: skip
        axes.bar(edges[:-1], band.mean, width=1 / BINS, align="edge", **bar_style(entry))
        draw_reach(axes, [edge + 0.5 / BINS for edge in edges[:-1]], band)
        axes.set_title(entry.label)
        open_axes(axes)
    panels[0].set_xlim(0, max(10, last + 1) / BINS)
    return with_legend(figure, panels)


def _collect_attempts(entries: Sequence[PlottedSeries]) -> Named:
    return _named(entries, lambda run, base: attempt_curve(run.study("attempts", base)))


def _draw_attempts(found: Named) -> Figure:
    figure = new_figure(9, 4.6)
    axes = figure.add_subplot()
    for entry, band in found:
        draw_band(axes, band, {**style_of(entry), "label": entry.label})
    axes.set(xlabel="attempt", ylabel="accuracy", title=FIGURES["attempts"].title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    open_axes(axes)
    return with_legend(figure, [axes])


def _collect_sampling(entries: Sequence[PlottedSeries]) -> Named:
    found = []
    for entry in entries:
        curves = [voting_curves(run.study("samples", entry.base), run.answer) for run in entry.runs]
        bands = [over_seeds([pair[i] for pair in curves]) for i in (0, 1)]
        if all(bands):
            found.append((entry, bands))
    return found


def _draw_sampling(found: Named) -> Figure:
    scales = "attempts sampled per problem", "accuracy of the vote"
    figure, panels = panel_grid(len(found), FIGURES["sampling"].title, *scales)
    ways = (("parallel: first attempts", COLOURS["t1"], "s", (0, (5, 1))),
            ("sequential: second attempts", COLOURS["t2"], "o", "-"))  # fmt: skip
    for axes, (entry, bands) in zip(panels, found, strict=True):
        for band, (label, colour, marker, line) in zip(bands, ways, strict=True):
            style = {"color": colour, "marker": marker, "linestyle": line, "label": label}
            draw_band(axes, band, style)
        axes.set_title(entry.label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(bands[0].xs, [str(x) for x in bands[0].xs])
        axes.minorticks_off()
        open_axes(axes)
    return with_legend(figure, panels)


def _collect_levels(entries: Sequence[PlottedSeries]) -> Named:
    tables = [(entry, levels([r.greedy(entry.base) for r in entry.runs])) for entry in entries]
    return [(entry, table) for entry, table in tables if table]


def _draw_levels(found: Named) -> Figure:
    scales = "", "share of the level's problems"
    figure, panels = panel_grid(len(found), FIGURES["levels"].title, *scales, sharex=False)
    for axes, (entry, table) in zip(panels, found, strict=True):
        for number, name in enumerate(("i_to_c", "c_to_i")):
            draw_flips(axes, table, name, number)
        crowded = sum(len(level.name) for level in table) > 34
        ticks = [f"{level.name}\nn = {level.n}" for level in table]
        axes.set_xticks(range(len(table)), ticks, rotation=45 * crowded, fontsize=9)
        axes.set_title(entry.label)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        open_axes(axes)
        axes.grid(visible=False, axis="x")
    return with_legend(figure, panels)


def _named(entries: Sequence[PlottedSeries], curve: Callable[[RunRecords, bool], Curve]) -> Named:
    """The band of each entry that has one."""
    bands = [(e, over_seeds([curve(run, e.base) for run in e.runs])) for e in entries]
    return [(entry, band) for entry, band in bands if band]


FIGURES = {
    "accuracy": Kind(
        "Accuracy over training",
        "Lines: episodes while training, smoothed; markers: greedy evaluation on the test split; "
        "dotted: the base model. Several seeds: their mean and range.",
        _collect_accuracy,
        _draw_accuracy,
    ),
    "edit_distance": Kind(
        "How much the second attempt changes",
        "Edit distance of the first two attempts over the length of both, greedy; dotted: the "
        "base model.",
        _collect_edits,
        _draw_edits,
    ),
    "changed": Kind(
        "How often the second answer differs from the first",
        "Lines: episodes while training, smoothed; markers: greedy evaluation; dotted: the base "
        "model. A model that never changes its answer has collapsed to a single attempt.",
        lambda entries: _traces(entries, changed_training_curve, changed_curve),
        _draw_changed,
    ),
    "attempts": Kind(
        "Accuracy over repeated attempts",
        "Greedy, each attempt sees all attempts before it. Several seeds: their mean and range.",
        _collect_attempts,
        _draw_attempts,
    ),
    "sampling": Kind(
        "Majority vote: sampling in parallel or in sequence",
        "At an equal number of attempts: a vote over first attempts, or over the second attempts "
        "of half as many episodes. Smaller votes are averaged over all samples drawn.",
        _collect_sampling,
        _draw_sampling,
    ),
    "levels": Kind(
        "What the second attempt fixes and breaks, by difficulty",
        "Shares of all problems of a level, greedy, with 95 % Wilson intervals; several seeds: "
        "their mean, with the interval of one.",
        _collect_levels,
        _draw_levels,
    ),
}
