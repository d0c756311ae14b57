"""scaling.png: episodes per second against GPUs, and what an iteration spends its time on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from score_ray.bench.scaling_model import SimulatedIteration
from score_ray.reporting.palette import MUTED, PHASE_HATCHES, PHASES, SERIES
from score_ray.reporting.plot import new_figure, save_figure

STYLES = (("o", "-"), ("s", "--"))  # marker and line of a curve


def plot_scaling(curves: Mapping[str, Sequence[SimulatedIteration]], out: Path) -> None:
    """Plot curves of outcomes over the same growing numbers of GPUs, two at most, as a PNG."""
    figure = new_figure(13, 4.4)
    rates, *shares = figure.subplots(1, 1 + len(curves), width_ratios=[1.3, *[1] * len(curves)])
    _draw_rates(rates, curves)
    for axes, (name, outcomes) in zip(shares, curves.items(), strict=True):
        _draw_shares(axes, name, outcomes)
    handles, labels = shares[-1].get_legend_handles_labels()
    # As the bars are stacked: the last phase on top.
    figure.legend(
        handles[::-1], labels[::-1], loc="outside right center", frameon=False, fontsize=9
    )
    save_figure(figure, out)


def _draw_rates(axes: Axes, curves: Mapping[str, Sequence[SimulatedIteration]]) -> None:
    """Each curve, what it would be if GPUs were all that counts, and at its end its limit."""
    styles = zip(SERIES, STYLES, strict=False)
    for (name, outcomes), (colour, (marker, line)) in zip(curves.items(), styles, strict=False):
        axes.plot(
            [o.gpus for o in outcomes],
            [o.rate for o in outcomes],
            color=colour,
            marker=marker,
            linestyle=line,
            label=name,
        )
        before, last = outcomes[-2:]
        axes.annotate(
            last.limit,
            (last.gpus, last.rate),
            xytext=(0, 8 if last.rate >= before.rate else -14),  # off the line
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=colour,
        )
    first = next(iter(curves.values()))
    gpus = [o.gpus for o in first]
    ideal = [first[0].rate * n / first[0].gpus for n in gpus]
    axes.plot(gpus, ideal, color=MUTED, lw=1, ls=":", label="1 + 1, times GPUs")
    axes.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="episodes per second")
    axes.set_xticks(gpus, [str(n) for n in gpus])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("simulated throughput, and its limit", fontsize=10)


def _draw_shares(axes: Axes, name: str, outcomes: Sequence[SimulatedIteration]) -> None:
    """Stacked bars: each phase's share of an iteration's seconds."""
    gpus = [str(o.gpus) for o in outcomes]
    bottom = [0.0] * len(outcomes)
    for phase, colour in PHASES.items():
        share = [o.phases[phase] / o.seconds for o in outcomes]
        axes.bar(
            gpus,
            share,
            bottom=bottom,
            color=colour,
            hatch=PHASE_HATCHES[phase],
            label=phase,
            edgecolor="white",
            linewidth=0.4,
        )
        bottom = [low + more for low, more in zip(bottom, share, strict=True)]
    axes.set(xlabel="GPUs", ylim=(0, 1), ylabel="share of an iteration")
    axes.set_title(name, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
