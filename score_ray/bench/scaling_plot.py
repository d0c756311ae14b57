"""Plot episodes per second against GPUs, and the share of each phase in an iteration."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from score_ray.bench.scaling_model import SimulatedIteration
from score_ray.reporting.palette import MUTED, PHASE_HATCHES, PHASES, SERIES
from score_ray.reporting.plot import new_figure, save_figure

STYLES = (("o", "-"), ("s", "--"))  # marker and line of a curve


def plot_scaling(curves: Mapping[str, Sequence[SimulatedIteration]], out: Path) -> None:
    """Write a PNG of at most two curves, both over the same growing numbers of GPUs."""
    figure = new_figure(13, 4.4)
    rates, *shares = figure.subplots(1, 1 + len(curves), width_ratios=[1.3, *[1] * len(curves)])
    _draw_rates(rates, curves)
    for axes, (name, curve) in zip(shares, curves.items(), strict=True):
        _draw_shares(axes, name, curve)
    handles, labels = shares[-1].get_legend_handles_labels()
    # The legend has the order of the stacked bars: the last phase is on top.
    figure.legend(
        handles[::-1], labels[::-1], loc="outside right center", frameon=False, fontsize=9
    )
    save_figure(figure, out)


def _draw_rates(axes: Axes, curves: Mapping[str, Sequence[SimulatedIteration]]) -> None:
    """Draw each curve, and a line for a rate that grows as the number of GPUs does."""
    styles = zip(SERIES, STYLES, strict=False)
    for (name, curve), (colour, style) in zip(curves.items(), styles, strict=False):
        _draw_curve(axes, curve, name, colour, style)
    first = next(iter(curves.values()))
    gpus = [one.gpus for one in first]
    ideal = [first[0].rate * count / first[0].gpus for count in gpus]
    axes.plot(gpus, ideal, color=MUTED, lw=1, ls=":", label="1 + 1, times GPUs")
    axes.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="episodes per second")
    axes.set_xticks(gpus, [str(count) for count in gpus])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("simulated throughput, and its limit", fontsize=10)


def _draw_curve(
    axes: Axes,
    curve: Sequence[SimulatedIteration],
    name: str,
    colour: str,
    style: tuple[str, str],
) -> None:
    """Draw one curve, with what limits it written at its end."""
    gpus, rates = [one.gpus for one in curve], [one.rate for one in curve]
    axes.plot(gpus, rates, color=colour, marker=style[0], linestyle=style[1], label=name)
    axes.annotate(
        curve[-1].limit,
        (gpus[-1], rates[-1]),
        xytext=(0, 8 if rates[-1] >= rates[-2] else -14),  # on the side away from the curve
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=colour,
    )


def _draw_shares(axes: Axes, name: str, curve: Sequence[SimulatedIteration]) -> None:
    """Draw stacked bars: each phase's share of an iteration's seconds."""
    gpus = [str(one.gpus) for one in curve]
    bottom = [0.0] * len(curve)
    for phase, colour in PHASES.items():
        share = [one.phases[phase] / one.seconds for one in curve]
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
