"""scaling.png: episodes per second against GPUs, and what an iteration spends its time on."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from score_ray.scaling import Outcome

# Okabe and Ito's palette; hatches tell the phases apart in a grey print.
PHASES = {
    "rollout": ("#0072B2", ""),
    "reference": ("#56B4E9", "//"),
    "update": ("#D55E00", ""),
    "broadcast": ("#F0E442", "\\\\"),
    "driver": ("#999999", "xx"),
}
CURVES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"))


def plot_scaling(curves: Mapping[str, Sequence[Outcome]], out: Path) -> None:
    """Plot curves of outcomes over growing numbers of GPUs, two at most, as a PNG."""
    figure = Figure(figsize=(11, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    rates, *shares = figure.subplots(1, 1 + len(curves))
    for (name, outcomes), (colour, marker, line) in zip(curves.items(), CURVES, strict=False):
        gpus = [o.actors + o.ranks for o in outcomes]
        style = {"color": colour, "marker": marker, "linestyle": line}
        rates.plot(gpus, [o.rate for o in outcomes], label=name, **style)
    first = next(iter(curves.values()))[0]
    per_gpu = first.rate / (first.actors + first.ranks)
    rates.plot(gpus, [per_gpu * n for n in gpus], color="#666666", lw=1, ls=":", label="ideal")
    rates.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="episodes per second")
    rates.set_xticks(gpus, [str(n) for n in gpus])
    rates.minorticks_off()
    rates.grid(alpha=0.25)
    rates.legend(frameon=False, fontsize=8)
    rates.set_title("simulated throughput", fontsize=10)
    for axes, (name, outcomes) in zip(shares, curves.items(), strict=True):
        _draw_shares(axes, name, outcomes)
    handles, labels = shares[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    fresh = out.with_name(out.name + ".tmp")
    figure.savefig(fresh, format="png")
    os.replace(fresh, out)


def _draw_shares(axes: Axes, name: str, outcomes: Sequence[Outcome]) -> None:
    """Stacked bars: each phase's share of an iteration's seconds."""
    gpus = [str(o.actors + o.ranks) for o in outcomes]
    bottom = [0.0] * len(outcomes)
    for phase, (colour, hatch) in PHASES.items():
        share = [o.phases[phase] / o.seconds for o in outcomes]
        axes.bar(gpus, share, bottom=bottom, color=colour, hatch=hatch, label=phase,
                 edgecolor="white", linewidth=0.4)  # fmt: skip
        bottom = [low + more for low, more in zip(bottom, share, strict=True)]
    axes.set(xlabel="GPUs", ylim=(0, 1), ylabel="share of an iteration")
    axes.set_title(name, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
