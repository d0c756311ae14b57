"""accuracy.png: how both attempts fared over the updates; and the look of every figure."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from score_ray.reporting.run_folder import Record

# Okabe and Ito's palette: told apart with every common colour blindness.
COLOURS = {"t1": "#0072B2", "t2": "#D55E00"}
INK, PAPER = ("#1b1b1b", "#e4e4e4"), ("#ffffff", "#161616")  # light, dark: as report.html's


@contextmanager
def look(dark: bool = False) -> Iterator[None]:
    """Draw on light or dark paper while the block runs."""
    ink, paper = INK[dark], PAPER[dark]
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    settings: Any = {
        **dict.fromkeys(inked, ink),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), paper),
        "grid.color": ink,
        "font.size": 10,
        "axes.titlesize": 11,
        "hatch.linewidth": 0.8,
    }
    with rc_context(settings):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, its size in inches."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: it would keep every figure
    return figure


def save_figure(figure: Figure, out: Path) -> None:
    """Write a PNG in one step."""
    fresh = out.with_name(out.name + ".tmp")
    figure.savefig(fresh, format="png")
    os.replace(fresh, out)


def open_axes(axes: Axes) -> None:
    """A faint grid, and no frame where there is no scale."""
    axes.grid(alpha=0.2)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plot_accuracy(metrics: Sequence[Record], evals: Sequence[Record], out: Path) -> None:
    """Plot accuracy at each attempt over the updates made, as a PNG."""
    with look():
        save_figure(accuracy_figure(metrics, evals), out)


def accuracy_figure(metrics: Sequence[Record], evals: Sequence[Record]) -> Figure:
    """A run's accuracy at each attempt; of its evaluations those on the split of the first.

    The episodes of iteration i come from weights after i updates, so training and
    evaluation share the axis.
    """
    figure = new_figure(9, 5)
    axes = figure.add_subplot()
    shown = [r for r in evals if r["split"] == evals[0]["split"]]
    for attempt, colour in COLOURS.items():
        draw_training(axes, metrics, attempt, colour)
        draw_evaluations(axes, shown, attempt, colour)
    draw_stages(axes, metrics)
    task = f"{shown[0]['task']}: " if shown else ""
    axes.set_title(f"{task}accuracy at the first and the second attempt", pad=22)
    axes.set_xlabel("updates")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("accuracy")
    open_axes(axes)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


def draw_training(axes: Axes, metrics: Sequence[Record], attempt: str, colour: str) -> None:
    """An attempt's training accuracy: thin as measured, thick smoothed."""
    name = f"train/acc_{attempt}"
    points = [(r["iteration"], r[name]) for r in metrics if name in r]
    if not points:
        return
    xs, ys = zip(*points, strict=True)
    axes.plot(xs, ys, color=colour, linewidth=0.7, alpha=0.4)
    # Dashes tell the attempts apart where colour cannot, as in a grey print.
    style = "-" if attempt == "t1" else (0, (5, 1))
    axes.plot(
        xs,
        smooth(ys, len(ys) // 12),
        color=colour,
        linewidth=2.2,
        ls=style,
        label=f"train {attempt}",
    )


def draw_evaluations(axes: Axes, evals: Sequence[Record], attempt: str, colour: str) -> None:
    """An attempt's evaluations as markers, and the base model's as a dotted line."""
    if not evals:
        return
    name, split = f"acc_{attempt}", evals[0]["split"]
    # Equal values are told apart: a small diamond on a circle, and dots between dots.
    marker, size, offset = ("o", 10, 0) if attempt == "t1" else ("D", 6, 2)
    axes.plot(
        [r["iteration"] for r in evals],
        [r[name] for r in evals],
        linestyle="none",
        marker=marker,
        markersize=size,
        color=colour,
        markeredgecolor=rcParams["axes.facecolor"],
        label=f"{split} {attempt}",
        zorder=4,
    )
    base = [r[name] for r in evals if r["iteration"] == 0]
    if base:
        dots: Any = (offset, (1, 3))
        axes.axhline(base[0], color=colour, linestyle=dots, linewidth=2, label=f"base {attempt}")


def draw_stages(axes: Axes, metrics: Sequence[Record]) -> None:
    """A stage's name above its first iteration, and a line where the stage changes."""
    before = None
    for record in metrics:
        stage, at = record.get("stage"), record["iteration"]
        if stage == before:
            continue
        if before is not None:
            axes.axvline(at, color="0.5", linewidth=1)
        axes.text(at, 1.015, f" {stage}", transform=axes.get_xaxis_transform(), fontsize=9)
        before = stage


def smooth(values: Sequence[float], reach: int) -> list[float]:
    """The mean over `reach` neighbours on each side, or as many as there are at the ends."""
    return [fmean(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))]
