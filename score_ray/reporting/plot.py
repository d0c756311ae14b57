"""Draws accuracy.png, a run's accuracy over its updates, and sets the style of every figure."""

import math
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

from score_ray.reporting.atomic_files import renamed_when_whole
from score_ray.reporting.json_lines import Record
from score_ray.reporting.metrics import StepResult, evaluated_accuracies, value_at
from score_ray.reporting.palette import ATTEMPTS, DASHED, INK, PAPER


@contextmanager
def look(dark: bool = False) -> Iterator[None]:
    """Set the style of figures drawn in this block, for light or for dark pages."""
    scheme = "dark" if dark else "light"
    ink, paper = INK[scheme], PAPER[scheme]
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
    """Return an empty figure; its size is in inches."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # pyplot would keep every figure in memory
    return figure


def save_figure(figure: Figure, out: Path) -> None:
    """Write a figure as a PNG, in one step."""
    with renamed_when_whole(out) as unfinished:
        figure.savefig(unfinished, format="png")


def open_axes(axes: Axes) -> None:
    """Add a faint grid, and remove the frame at the top and on the right."""
    axes.grid(alpha=0.2)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plot_accuracy(steps: Sequence[StepResult], evals: Sequence[Record], out: Path) -> None:
    """Write a PNG of the accuracy at each attempt over the updates made."""
    with look():
        save_figure(accuracy_figure(steps, evals), out)


def accuracy_figure(steps: Sequence[StepResult], evals: Sequence[Record]) -> Figure:
    """Return a figure of the accuracy at each attempt, in training and in evaluations.

    Only evaluations on the split of the first one are shown.

    The episodes of iteration i come from weights after i updates, so training and
    evaluation share the axis.
    """
    figure = new_figure(9, 5)
    axes = figure.add_subplot()
    shown = [r for r in evals if r["split"] == evals[0]["split"]]
    for attempt, colour in enumerate(ATTEMPTS, 1):
        draw_training(axes, steps, attempt, colour)
        draw_evaluations(axes, shown, attempt, colour)
    draw_stages(axes, steps)
    task = f"{shown[0]['task']}: " if shown else ""
    axes.set_title(f"{task}accuracy at the first and the second attempt", pad=22)
    axes.set_xlabel("updates")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("accuracy")
    open_axes(axes)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


def draw_training(axes: Axes, steps: Sequence[StepResult], attempt: int, colour: str) -> None:
    """Draw an attempt's training accuracy: as measured in a thin line, smoothed in a thick one."""
    values = [(s.iteration, value_at(s.accuracies.per_attempt, attempt)) for s in steps]
    points = [(x, y) for x, y in values if not math.isnan(y)]
    if not points:
        return
    xs, ys = zip(*points, strict=True)
    axes.plot(xs, ys, color=colour, linewidth=0.7, alpha=0.4)
    # A grey print shows no colour: there dashes tell the attempts apart.
    style = "-" if attempt == 1 else DASHED
    axes.plot(
        xs,
        smooth(ys, len(ys) // 12),
        color=colour,
        linewidth=2.2,
        ls=style,
        label=f"train t{attempt}",
    )


def draw_evaluations(axes: Axes, evals: Sequence[Record], attempt: int, colour: str) -> None:
    """Draw an attempt's evaluations as markers, and the base model's as a dotted line."""
    if not evals:
        return
    updates = [r["iteration"] for r in evals]
    accuracies = [value_at(evaluated_accuracies(r), attempt) for r in evals]
    # Equal values of both attempts must stay visible. So a small diamond is drawn on a circle,
    # and the dots of one line between those of the other.
    marker, size, offset = ("o", 10, 0) if attempt == 1 else ("D", 6, 2)
    axes.plot(
        updates,
        accuracies,
        linestyle="none",
        marker=marker,
        markersize=size,
        color=colour,
        markeredgecolor=rcParams["axes.facecolor"],
        label=f"{evals[0]['split']} t{attempt}",
        zorder=4,
    )
    if 0 in updates:
        base, dots = accuracies[updates.index(0)], (offset, (1, 3))
        axes.axhline(base, color=colour, linestyle=dots, linewidth=2, label=f"base t{attempt}")


def draw_stages(axes: Axes, steps: Sequence[StepResult]) -> None:
    """Write a stage's name above its first iteration, and draw a line where the stage changes."""
    before = None
    for step in steps:
        if step.stage == before:
            continue
        if before is not None:
            axes.axvline(step.iteration, color="0.5", linewidth=1)
        above = axes.get_xaxis_transform()
        axes.text(step.iteration, 1.015, f" {step.stage}", transform=above, fontsize=9)
        before = step.stage


def smooth(values: Sequence[float], reach: int) -> list[float]:
    """Return means over `reach` neighbours on each side, over fewer at the ends."""
    return [fmean(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))]
