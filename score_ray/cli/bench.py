"""The command line of measuring: `launch.py bench`, of a recipe, of GPUs, of more processes."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from score_ray.cli.arguments import Overrides, Recipe
from score_ray.config.config import load
from score_ray.reporting.reporter import Reporter
from score_ray.training.inputs import check_inputs
from score_ray.training.model_source import CACHE

BENCH = Path("runs") / "bench"
SPEED = Path(__file__).parents[2] / "configs" / "speed.yaml"


class OneIteration(TyperGroup):
    """`bench CONFIG` is short for `bench iteration CONFIG`, `bench --gpu` for `bench gpu`."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Put a command where none is named."""
        if args[:1] == ["--gpu"]:
            args = ["gpu", *args[1:]]
        elif args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["iteration", *args]
        return super().parse_args(ctx, args)


bench_app = typer.Typer(cls=OneIteration, no_args_is_help=True, help="Measure this machine.")


@bench_app.command("iteration")
def bench(
    config: Recipe,
    overrides: Overrides = None,
    iterations: Annotated[int, typer.Option(help="measured, after one to warm up")] = 3,
) -> None:
    """Measure a recipe on this machine: seconds by phase, tokens per second, peak memory."""
    from score_ray.bench import recipe_cost
    from score_ray.training.roles import all_roles

    inputs = check_inputs(load(config, overrides or []), CACHE)
    with all_roles(inputs, Reporter(BENCH, iterations + 1, 0, quiet=True)) as roles:
        typer.echo(recipe_cost.run(roles, inputs, iterations))


@bench_app.command("gpu")
def bench_gpu(
    overrides: Overrides = None,
    shape: Annotated[list[str] | None, typer.Option(help="repeatable; 0.5B, 1.5B, 7B")] = None,
    iterations: Annotated[int, typer.Option(help="measured, after one to warm up")] = 3,
    trl: Annotated[str, typer.Option(help="a Python with TRL, to compare with")] = "",
) -> None:
    """Measure every way to divide this machine's GPUs, at several sizes of model."""
    from score_ray.bench.gpu_layouts import Bench

    bench = Bench(SPEED, overrides or [], BENCH, iterations)
    typer.echo(bench.run(shape or ("0.5B", "1.5B", "7B"), trl, lambda w: typer.echo(w, err=True)))


@bench_app.command("scale")
def bench_scale(
    config: Recipe,
    overrides: Overrides = None,
    actors: Annotated[list[int] | None, typer.Option(help="repeatable; 1, 2 and 4")] = None,
    ranks: Annotated[list[int] | None, typer.Option(help="repeatable; 1 and 2")] = None,
    iterations: Annotated[int, typer.Option(help="measured, after one to warm up")] = 5,
    gbit: Annotated[float, typer.Option(help="assumed, of a node's network", min=0.001)] = 200.0,
) -> None:
    """Measure some numbers of rollout actors and ranks here; simulate 8, 64 and 512 GPUs."""
    from score_ray.bench.scale_out import run as measure
    from score_ray.bench.scaling_model import Cluster

    inputs = check_inputs(load(config, overrides or []), CACHE)
    cluster = Cluster(bytes_per_second=gbit * 1e9 / 8)
    typer.echo(measure(inputs, actors or (1, 2, 4), ranks or (1, 2), iterations, BENCH, cluster))
    typer.echo(f"plot: {BENCH / 'scaling.png'}")
