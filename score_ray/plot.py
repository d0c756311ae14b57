"""accuracy.png: how both attempts fared over the updates."""

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from score_ray.records import Record

# Okabe and Ito's palette: told apart with every common colour blindness.
COLOURS = {"t1": "#0072B2", "t2": "#D55E00"}


def plot_accuracy(metrics: list[Record], evals: list[Record], out: Path) -> None:
    """Plot accuracy at each attempt over the updates made, as a PNG.

    The episodes of iteration i come from weights after i updates, so training and
    evaluation share the axis.
    """
    figure = Figure(figsize=(9, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: its global state is not safe in threads
    axes = figure.add_subplot()
    for attempt, colour in COLOURS.items():
        draw_training(axes, metrics, attempt, colour)
        draw_evaluations(axes, evals, attempt, colour)
    draw_stages(axes, metrics)
    task = f"{evals[0]['task']}: " if evals else ""
    axes.set_title(f"{task}accuracy at the first and the second attempt", pad=22)
    axes.set_xlabel("updates")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("accuracy")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right center", frameon=False, fontsize=9)
    fresh = out.with_name(out.name + ".tmp")
    figure.savefig(fresh, format="png")
    os.replace(fresh, out)


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
    name, marker = f"acc_{attempt}", "o" if attempt == "t1" else "D"
    split = evals[0]["split"]
    axes.plot(
        [r["iteration"] for r in evals],
        [r[name] for r in evals],
        linestyle="none",
        marker=marker,
        markersize=8,
        color=colour,
        markeredgecolor="white",
        label=f"{split} {attempt}",
        zorder=4,
    )
    base = [r[name] for r in evals if r["iteration"] == 0]
    if base:
        axes.axhline(base[0], color=colour, linestyle=":", linewidth=1.5, label=f"base {attempt}")


def draw_stages(axes: Axes, metrics: Sequence[Record]) -> None:
    """A stage's name above its first iteration, and a line where the stage changes."""
    before = None
    for record in metrics:
        stage, at = record.get("stage"), record["iteration"]
        if stage == before:
            continue
        if before is not None:
            axes.axvline(at, color="0.35", linewidth=1)
        axes.text(at, 1.015, f" {stage}", transform=axes.get_xaxis_transform(), fontsize=9)
        before = stage


def smooth(values: Sequence[float], reach: int) -> list[float]:
    """The mean over `reach` neighbours on each side, or as many as there are at the ends."""
    return [fmean(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))]
