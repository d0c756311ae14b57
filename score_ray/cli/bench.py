"""`score-ray bench`: measure a recipe, this machine's GPUs, or more processes."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from score_ray.cli.arguments import Measured, Overrides, Recipe, Runs, refuse_unused
from score_ray.types import ConfigError

if TYPE_CHECKING:
    from score_ray.training.inputs import Inputs

BENCH = "bench"  # in the folder of --runs; for records, models and plots
SIZES = ("0.1B", "0.5B", "1.5B", "7B")
USUAL_SIZES = SIZES[1:]
SPEED = Path(__file__).parents[2] / "configs" / "speed.yaml"


class BenchGroup(TyperGroup):
    """Takes `bench CONFIG` for `bench iteration CONFIG`, and `bench --gpu` for `bench gpu`."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Insert the subcommand where none is named."""
        if args[:1] == ["--gpu"]:
            args = ["gpu", *args[1:]]
        elif args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["iteration", *args]
        return super().parse_args(ctx, args)


bench_app = typer.Typer(
    cls=BenchGroup,
    no_args_is_help=True,
    help="Measure this machine. `bench CONFIG` is short for `bench iteration CONFIG`, and "
    "`bench --gpu` for `bench gpu`.",
)


@bench_app.command("iteration")
def bench_iteration(
    config: Recipe,
    overrides: Overrides = None,
    iterations: Measured = 3,
    runs: Runs = Path("runs"),
) -> None:
    """Measure a recipe on this machine: seconds by phase, tokens per second, peak memory."""
    inputs = _checked(config, overrides)

    from score_ray.bench import recipe_cost
    from score_ray.reporting.reporter import Reporter
    from score_ray.reporting.run_folder import RunFolder
    from score_ray.training.roles import all_roles

    folder = RunFolder(runs / BENCH)
    with all_roles(inputs, Reporter(folder, iterations + 1, 0, quiet=True)) as roles:
        typer.echo(recipe_cost.run(roles, inputs, iterations, folder))


@bench_app.command("gpu")
def bench_gpu(
    overrides: Overrides = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help=f"A size of model: {', '.join(SIZES)}. Repeatable.",
            show_default=", ".join(USUAL_SIZES),
        ),
    ] = None,
    iterations: Measured = 3,
    trl: Annotated[
        str, typer.Option(help="A Python interpreter that has TRL, to compare with.")
    ] = "",
    runs: Runs = Path("runs"),
) -> None:
    """Measure every way to divide this machine's GPUs, at several sizes of model."""
    from score_ray.bench.shape_overrides import SHAPE_OVERRIDES
    from score_ray.config.loading import load

    shapes = shape or USUAL_SIZES
    for name in shapes:  # a mistyped size or key shows before the libraries are imported
        if name not in SIZES:
            raise ConfigError(f"--shape: {name!r} is not one of {', '.join(SIZES)}")
        load(SPEED, [*SHAPE_OVERRIDES.get(name, ()), *(overrides or [])])

    from score_ray.bench.gpu_layouts import Bench

    bench = Bench(SPEED, overrides or [], runs / BENCH, iterations)
    typer.echo(bench.run(shapes, trl, partial(typer.echo, err=True)))


@bench_app.command("scale")
def bench_scale(
    config: Recipe,
    overrides: Overrides = None,
    actors: Annotated[
        list[int] | None,
        typer.Option(
            help="A number of rollout actors. Repeatable.", show_default="1, 2 and 4", min=1
        ),
    ] = None,
    ranks: Annotated[
        list[int] | None,
        typer.Option(help="A number of learner ranks. Repeatable.", show_default="1 and 2", min=1),
    ] = None,
    iterations: Measured = 5,
    gbit: Annotated[
        float,
        typer.Option(help="Gbit/s of a node's network, for the simulation.", min=0.001),
    ] = 200.0,
    runs: Runs = Path("runs"),
) -> None:
    """Measure some numbers of rollout actors and ranks here; simulate 8, 64 and 512 GPUs."""
    for option, key in (("--actors", "rollout.num_actors"), ("--ranks", "learner.num_ranks")):
        refuse_unused("bench scale", overrides, [key], f"give the numbers with {option}")
    inputs = _checked(config, overrides)

    from score_ray.bench import scale_out
    from score_ray.bench.scaling_model import Cluster

    cluster, folder = Cluster(bytes_per_second=gbit * 1e9 / 8), runs / BENCH
    typer.echo(
        scale_out.run(inputs, actors or (1, 2, 4), ranks or (1, 2), iterations, folder, cluster)
    )
    typer.echo(f"plot: {folder / 'scaling.png'}")


def _checked(config: Path, overrides: list[str] | None) -> "Inputs":
    from score_ray.config.loading import load

    chosen = load(config, overrides or [])

    from score_ray.training.inputs import check_inputs
    from score_ray.training.model_source import CACHE

    return check_inputs(chosen, CACHE)
