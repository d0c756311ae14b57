"""The command line: parse, check the input, build the roles, call the loop."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from score_ray.cli.arguments import Overrides, Recipe, RunFolder, Runs
from score_ray.cli.bench import bench_app
from score_ray.cli.figures import figures
from score_ray.cli.jobs import INTERRUPTED, job_app, submit
from score_ray.cli.plan import plan
from score_ray.cli.reproduce import reproduce
from score_ray.config.config import ConfigError, dump, load, refuse_other
from score_ray.reporting.reporter import Reporter, losses, results_table
from score_ray.reporting.run_folder import label_of, read_jsonl
from score_ray.tasks.process_grader import ProcessGrader
from score_ray.tasks.registry import make_task
from score_ray.training import checkpoint
from score_ray.training.inputs import Inputs, check_inputs, input_errors
from score_ray.training.model_source import CACHE
from score_ray.types import ProcessLost, RunError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def train(
    config: Recipe,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    model_name: Annotated[str, typer.Option("--model_name", help="model.path")] = "",
    dataset_name: Annotated[str, typer.Option("--dataset_name", help="task.train")] = "",
    question_column: Annotated[str, typer.Option("--question_column")] = "",
    answer_column: Annotated[str, typer.Option("--answer_column")] = "",
) -> None:
    """Train a model to correct itself; the same command goes on where a run was cut off."""
    flags = {
        "model.path": model_name,
        "task.train": dataset_name,
        "task.question_column": question_column,
        "task.answer_column": answer_column,
    }
    chosen = load(config, [*(overrides or []), *(f"{k}={v}" for k, v in flags.items() if v)])
    folder = runs / chosen.name
    with _locked(folder):
        refuse_other(folder, chosen, "choose another name=... or remove the folder")
        inputs = check_inputs(chosen, CACHE)
        # Claimed only now: input that had to be mended must not stand in its own way.
        (folder / "config.yaml").write_text(dump(chosen))
        try:
            _train(inputs, folder)
        except KeyboardInterrupt:
            typer.echo("interrupted: the same command goes on from the last checkpoint", err=True)
            raise typer.Exit(INTERRUPTED) from None


@app.command("eval")
def evaluate_folder(
    folder: RunFolder,
    overrides: Overrides = None,
) -> None:
    """Evaluate the trained model of a run folder on its held-out problems, greedily."""
    from score_ray.algorithm.metrics import eval_record
    from score_ray.training.roles import sampling_roles
    from score_ray.training.trainer import evaluate

    chosen = load(folder / "config.yaml", overrides or [])
    inputs = check_inputs(chosen, CACHE, training=False)
    model = folder / "model"
    if not model.is_dir():
        raise ConfigError(f"{folder}: has no model yet; a finished run leaves one")
    reporter = Reporter(folder / "eval", 0, 0)
    # The reference, where it judges, stays the base model.
    with sampling_roles(inputs, str(model), reporter) as (pool, grader):
        test = inputs.task.problems("test")[: chosen.evaluation.problems]
        graded = evaluate(pool, grader, test, chosen)
        reporter.answers(graded, 0)
        reporter.evaluation(eval_record(graded, 0, chosen.task.name, "test"), "model")
    _show_results(folder / "eval")


@app.command()
def export(
    folder: RunFolder,
    out: Annotated[Path, typer.Argument(help="where the model goes")],
    iteration: Annotated[int, typer.Option(help="of a kept checkpoint; default: newest")] = 0,
) -> None:
    """Write a checkpoint of a run as a Hugging Face model, for transformers and vLLM."""
    from score_ray.training.roles import learner_alone

    inputs = check_inputs(load(folder / "config.yaml"), CACHE)
    with input_errors():
        source = checkpoint.find(folder / "checkpoints", iteration)
    with learner_alone(inputs, _say) as learner:
        learner.restore(source)
        learner.export(out)
    typer.echo(f"{source} -> {out}")


@app.command()
def report(folder: RunFolder) -> None:
    """Write accuracy.png and report.html again from what the run folder holds."""
    from score_ray.reporting.html import write_report

    with input_errors():
        write_report(folder)
    typer.echo(f"{folder / 'report.html'}")


@app.command()
def grade(
    config: Recipe,
    overrides: Overrides = None,
    column: Annotated[str, typer.Option(help="holds a solution per row")] = "solution",
    split: Annotated[str, typer.Option(help="train or test")] = "test",
) -> None:
    """Grade a data set's own solutions: what the verifier gets wrong, and how fast it is."""
    from score_ray.tasks import gold_solutions

    chosen = load(config, overrides or [])
    with input_errors():
        task = make_task(chosen.task)
        problems, source = task.problems(split), getattr(chosen.task, split)
        texts = gold_solutions.read_solutions(source, split, column, problems)
    grader = ProcessGrader(task, chosen.grading.num_workers, chosen.grading.deadline)
    found = gold_solutions.grade_solutions(grader, problems, texts)
    grader.close()
    counts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(found.counts.items()))
    per_hundred = found.seconds / len(texts) * 100
    typer.echo(f"{counts}; {found.seconds:.1f} s, {per_hundred:.2f} s per 100")
    if found.failed:
        typer.echo(f"not correct: {', '.join(map(str, found.failed))}")
        raise typer.Exit(1)


@app.command("doctor")
def examine_machine() -> None:
    """Say what this machine has for a run and what is missing; exit 1 if it cannot run."""
    from score_ray.cli import doctor

    findings = doctor.examine()
    _print(doctor.table(findings))
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


app.command()(figures)
app.command()(plan)
app.command()(reproduce)
app.command()(submit)
app.add_typer(job_app, name="job")
app.add_typer(bench_app, name="bench")


def _train(inputs: Inputs, folder: Path) -> None:
    from score_ray.reporting.html import write_report
    from score_ray.training.roles import all_roles
    from score_ray.training.trainer import train as run

    config, checkpoints = inputs.config, folder / "checkpoints"
    damaged: list[str] = []
    found = checkpoint.newest(checkpoints, damaged.append)
    start = found[1]["iteration"] if found else 0
    reporter = Reporter(folder, config.iterations, start, stages=config.stages)
    for fault in damaged:
        reporter.checkpoint_fault(fault)
    with all_roles(inputs, reporter) as roles:
        if found:
            reporter.note(f"resuming from {found[0]}")
        run(roles, config, folder, found)
    write_report(folder)
    _show_results(folder, {0, *config.stage_ends()})
    events = read_jsonl(folder / "events.jsonl")
    typer.echo(f"run folder: {folder}" + (f"; {losses(events)}" if events else ""))


def _show_results(folder: Path, iterations: set[int] | None = None) -> None:
    """The table of a run folder's evaluations, of all or of some iterations."""
    records = read_jsonl(folder / "evals.jsonl")
    tests = [r for r in records if r["split"] == "test"]
    shown = [
        r
        for r in tests
        if iterations is None or r["iteration"] in iterations or label_of(r).startswith("selected")
    ]
    _print(results_table(shown, [label_of(r) for r in shown]))


def _say(_: str, who: str, what: str, **numbers: float) -> None:
    typer.echo(f"{who}: {what}", err=True)


def _print(table: object) -> None:
    from rich.console import Console

    Console().print(table)


def _locked(folder: Path) -> FileLock:
    """Hold a run folder; ConfigError if another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"{folder}: another process is running in this run folder") from None
    return lock


def main() -> None:
    """Run a command; what its user can mend, and what a run cannot mend, is one clear message."""
    # Whoever ends a job, a pod or a service sends SIGTERM: end as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except (ConfigError, RunError, ProcessLost) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
