"""`score-ray grade`: grade a data set's own solutions."""

from typing import Annotated

import typer

from score_ray.cli.arguments import Overrides, Recipe


def grade(
    config: Recipe,
    overrides: Overrides = None,
    column: Annotated[str, typer.Option(help="The column with a solution per row.")] = "solution",
    split: Annotated[str, typer.Option(help="train or test.")] = "test",
) -> None:
    """Grade a data set's own solutions: which ones does the grader reject, and how fast is it?"""
    from score_ray.config.loading import input_errors, load

    chosen = load(config, overrides or [])

    from score_ray.tasks import gold_solutions
    from score_ray.tasks.process_grader import ProcessGrader
    from score_ray.tasks.registry import make_task

    with input_errors():
        task = make_task(chosen.task)
        problems, source = task.problems(split), getattr(chosen.task, split)
        texts = gold_solutions.read_solutions(source, split, column, problems)
    grader = ProcessGrader(task, chosen.grading.num_workers, chosen.grading.deadline)
    graded = gold_solutions.grade_solutions(grader, problems, texts)
    grader.close()
    counts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(graded.counts.items()))
    per_hundred = graded.seconds / len(texts) * 100
    typer.echo(f"{counts}; {graded.seconds:.1f} s, {per_hundred:.2f} s per 100")
    if graded.failed:
        typer.echo(f"not correct: {', '.join(map(str, graded.failed))}")
        raise typer.Exit(1)
