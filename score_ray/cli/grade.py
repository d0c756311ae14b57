"""`score-ray grade`: grade a data set's own solutions."""

from typing import TYPE_CHECKING, Annotated

import typer

from score_ray.cli.arguments import Overrides, Recipe, refuse_unused
from score_ray.types import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from score_ray.types import Problem

SPLITS = ("train", "test")
USED = ("task", "grading")


def grade(
    config: Recipe,
    overrides: Overrides = None,
    column: Annotated[str, typer.Option(help="The column with a solution per row.")] = "solution",
    split: Annotated[str, typer.Option(help="train or test.")] = "test",
) -> None:
    """Grade a data set's own solutions: which ones does the grader reject, and how fast is it?"""
    from score_ray.config.config import Config
    from score_ray.config.loading import input_errors, load

    if split not in SPLITS:
        raise ConfigError(f"--split: {split!r} is neither train nor test")
    chosen = load(config, overrides or [])
    unused = [section for section in Config.model_fields if section not in USED]
    refuse_unused("grade", overrides, [*unused, "grading.max_failed"])
    for key in ("reward", "judge"):
        if getattr(chosen.grading, key):
            raise ConfigError(
                f"grading.{key}: `grade` takes the task's own check; set it to an empty text or "
                "false"
            )

    from score_ray.tasks import gold_solutions
    from score_ray.tasks.process_grader import ProcessGrader
    from score_ray.tasks.registry import make_task

    with input_errors():
        task = make_task(chosen.task)
        problems = task.problems(split)
        if not problems:
            raise ConfigError(f"task.{split}: names no data set, so there is nothing to grade")
        texts = gold_solutions.read_solutions(split, column, problems)
    grader = ProcessGrader(task, chosen.grading.num_workers, chosen.grading.deadline)
    graded = gold_solutions.grade_solutions(grader, problems, texts)
    grader.close()
    counts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(graded.counts.items()))
    per_hundred = graded.seconds / len(texts) * 100
    typer.echo(f"{counts}; {graded.seconds:.1f} s, {per_hundred:.2f} s per 100")
    if unusable := len(task.unusable(split)):
        typer.echo(f"{unusable} rows cannot be used and were left out (task.skip_unusable)")
    if graded.failed:
        typer.echo(f"not correct: {_rows(graded.failed)}")
        raise typer.Exit(1)


def _rows(problems: "Sequence[Problem]") -> str:
    """Return the rows of problems, counted from 0; with their data sets if these are several."""
    one_set = len({problem.source for problem in problems}) == 1
    return ", ".join(str(p.row) if one_set else p.place for p in problems)
