"""`score-ray bench scale`: measure a few splits here, and simulate what more GPUs would give."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from score_ray.bench.scaling_costs import fit_costs
from score_ray.bench.scaling_measurement import MeasuredIteration, arrange, measure, shrink
from score_ray.bench.scaling_model import (
    ONE_EACH,
    Cluster,
    Costs,
    SimulatedIteration,
    Split,
    best,
    iteration,
    more_groups,
)
from score_ray.bench.scaling_plot import plot_scaling
from score_ray.bench.scaling_report import check_table, report
from score_ray.config.config import Config
from score_ray.planning.memory import WIDTH
from score_ray.planning.model_shape import read_shape
from score_ray.reporting.reporter import Reporter
from score_ray.reporting.run_folder import RunFolder
from score_ray.training.inputs import Inputs
from score_ray.training.roles import all_roles
from score_ray.types import ConfigError

GPUS = (2, 4, 8, 16, 32, 64, 128, 256, 512)


def run(
    inputs: Inputs,
    actors: Sequence[int],
    ranks: Sequence[int],
    iterations: int,
    folder: Path,
    cluster: Cluster = Cluster(),  # noqa: B008
) -> str:
    """Measure, simulate, and plot to `folder`/scaling.png; return the tables as text.

    Every number of `actors` is measured with every number of `ranks`, and one actor with one
    rank first: most costs of the simulation come from these.
    """
    config = inputs.config
    _check_iterations(config, iterations)
    splits = list(dict.fromkeys([ONE_EACH, *((a, r) for r in ranks for a in actors)]))
    full, quarter, half = _measure(inputs, ONE_EACH, (1, 4, 2), iterations, folder)
    measured = {ONE_EACH: full}
    for split in splits[1:]:
        (measured[split],) = _measure(inputs, split, (1,), iterations, folder)
    max_running = config.rollout.max_running
    costs = fit_costs(measured, quarter, max_running, _weight_bytes(inputs))
    curves = {
        "the recipe's batch": _curve(full, config, costs, cluster, grows=False),
        "a batch that grows with the GPUs": _curve(full, config, costs, cluster, grows=True),
    }
    plot_scaling(curves, folder / "scaling.png")
    predicted = iteration(half.groups, ONE_EACH, costs, cluster, max_running)
    return report(measured, costs, check_table(predicted, half), curves)


def _check_iterations(config: Config, iterations: int) -> None:
    """Raise ConfigError if the recipe is too short for that many after one to warm up."""
    if iterations >= config.iterations:
        raise ConfigError(
            f"--iterations {iterations}: at most {config.iterations - 1}, because one more warms "
            f"up and the recipe has {config.iterations}"
        )


def _measure(
    inputs: Inputs, split: Split, divisors: Sequence[int], iterations: int, folder: Path
) -> list[MeasuredIteration]:
    """Measure a split with the recipe's batch divided by each of `divisors`."""
    config = arrange(inputs.config, *split)
    run_folder = RunFolder(folder)
    reporter = Reporter(run_folder, iterations + 1, 0, quiet=True)
    with all_roles(replace(inputs, config=config), reporter) as roles:
        sizes = [shrink(config, divisor) for divisor in divisors]
        return [measure(roles, size, iterations, run_folder) for size in sizes]


def _weight_bytes(inputs: Inputs) -> int:
    model = inputs.config.model
    return read_shape(inputs.model, model.path).parameters * WIDTH[model.dtype]


def _curve(
    full: MeasuredIteration, config: Config, costs: Costs, cluster: Cluster, grows: bool
) -> list[SimulatedIteration]:
    """Return the best split of each number of GPUs; a growing batch is the recipe's for two."""
    problems = config.rollout.problems
    return [
        best(
            more_groups(full.groups, problems * count // 2 if grows else problems),
            count, costs, cluster, config.rollout.max_running,
        )
        for count in GPUS
    ]  # fmt: skip
