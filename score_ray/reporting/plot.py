"""accuracy.png, a run's accuracy over its updates; and the look of every figure."""

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
from score_ray.reporting.palette import ATTEMPTS, DASHED, INK, PAPER


@contextmanager
def look(dark: bool = False) -> Iterator[None]:
    """Draw on light or on dark paper in this block."""
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
    FigureCanvasAgg(figure)  # no pyplot: it would keep every figure
    return figure


def save_figure(figure: Figure, out: Path) -> None:
    """Write a figure as a PNG, in one step."""
    with renamed_when_whole(out) as unfinished:
        figure.savefig(unfinished, format="png")


def open_axes(axes: Axes) -> None:
    """Add a faint grid, and remove the frame where there is no scale."""
    axes.grid(alpha=0.2)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plot_accuracy(metrics: Sequence[Record], evals: Sequence[Record], out: Path) -> None:
    """Write a PNG of the accuracy at each attempt over the updates made."""
    with look():
        save_figure(accuracy_figure(metrics, evals), out)


def accuracy_figure(metrics: Sequence[Record], evals: Sequence[Record]) -> Figure:
    """Return a figure of accuracy at each attempt, with the evaluations on the first one's split.

    The episodes of iteration i come from weights after i updates, so training and
    evaluation share the axis.
    """
    figure = new_figure(9, 5)
    axes = figure.add_subplot()
    shown = [r for r in evals if r["split"] == evals[0]["split"]]
    for attempt, colour in ATTEMPTS.items():
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
    """Draw an attempt's training accuracy: as measured in a thin line, smoothed in a thick one."""
    name = f"train/acc_{attempt}"
    points = [(r["iteration"], r[name]) for r in metrics if name in r]
    if not points:
        return
    xs, ys = zip(*points, strict=True)
    axes.plot(xs, ys, color=colour, linewidth=0.7, alpha=0.4)
    # A grey print shows no colour: there dashes tell the attempts apart.
    style = "-" if attempt == "t1" else DASHED
    axes.plot(
        xs,
        smooth(ys, len(ys) // 12),
        color=colour,
        linewidth=2.2,
        ls=style,
        label=f"train {attempt}",
    )


def draw_evaluations(axes: Axes, evals: Sequence[Record], attempt: str, colour: str) -> None:
    """Draw an attempt's evaluations as markers, and the base model's as a dotted line."""
    if not evals:
        return
    name, split = f"acc_{attempt}", evals[0]["split"]
    # Equal values of both attempts must stay visible: a small diamond lies on a circle, and
    # dots lie between dots.
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
    """Write a stage's name above its first iteration, and draw a line where the stage changes."""
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
    """Return means over `reach` neighbours on each side, or over as many as the ends have."""
    return [fmean(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))]
