"""The command line: parse, check the input, build the roles, call the loop."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from score_ray import checkpoint, prompts
from score_ray.config import Config, ConfigError, differences, dump, load
from score_ray.loop import Roles, evaluate
from score_ray.models import resolve
from score_ray.records import label_of, read_jsonl
from score_ray.report import Reporter, results_table
from score_ray.types import EngineOptions, LearnerOptions, Task

CACHE = Path(os.environ.get("SCORE_RAY_CACHE", "cache"))
INTERRUPTED = 130

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
Recipe = Annotated[Path, typer.Argument(help="for instance configs/arithmetic.yaml")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...")]
Runs = Annotated[Path, typer.Option(help="where run folders are kept")]
RunFolder = Annotated[Path, typer.Argument(help="a run folder, for instance runs/arithmetic")]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that can be checked before a process starts, checked."""

    config: Config
    model: str
    task: Task
    make_prompter: Callable[[], prompts.Prompter]


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
        _refuse_other_config(folder, chosen)
        inputs = check_inputs(chosen)
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
    problems: Annotated[int, typer.Option(help="0: as many as the run's config says")] = 0,
) -> None:
    """Evaluate the trained model of a run folder on the held-out problems, greedily."""
    config = load(folder / "config.yaml", [f"model.path={folder / 'model'}"])
    if problems:
        config = load(folder / "config.yaml", [f"model.path={folder / 'model'}",
                                               f"evaluation.problems={problems}"])  # fmt: skip
    inputs = check_inputs(config)
    with _roles(inputs, Reporter(folder / "eval", 0, 0)) as roles:
        roles.channel.broadcast(0)
        evaluate(roles, config, 0, "model")


@app.command()
def report(folder: RunFolder) -> None:
    """Write accuracy.png and report.html again from what the run folder holds."""
    from score_ray.page import write_report

    try:
        write_report(folder)
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from error
    typer.echo(f"{folder / 'report.html'}")


@app.command()
def bench(
    config: Recipe,
    overrides: Overrides = None,
    iterations: Annotated[int, typer.Option(help="measured, after one to warm up")] = 3,
) -> None:
    """Measure a recipe on this machine: seconds by phase, tokens per second, peak memory."""
    from score_ray import bench as measure

    inputs = check_inputs(load(config, overrides or []))
    rate = measure.matmul_rate()
    with _roles(inputs, Reporter(Path("runs") / "bench", iterations + 1, 0, quiet=True)) as roles:
        typer.echo(measure.run(roles, inputs.config, iterations, rate))


def _train(inputs: Inputs, folder: Path) -> None:
    from rich.console import Console

    from score_ray.loop import train as run
    from score_ray.page import write_report

    config, checkpoints = inputs.config, folder / "checkpoints"
    found = checkpoint.newest(checkpoints) if checkpoints.is_dir() else None
    start = found[1]["iteration"] if found else 0
    reporter = Reporter(folder, config.iterations, start)
    with _roles(inputs, reporter) as roles:
        if found:
            reporter.note(f"resuming from {found[0]}")
            roles.learner.restore(found[0])
        run(roles, config, checkpoints, start)
        roles.learner.export(folder / "model")
    write_report(folder)
    ends = {0, *config.stage_ends()}
    shown = [r for r in read_jsonl(folder / "evals.jsonl") if r["iteration"] in ends]
    Console().print(results_table(shown, [label_of(r) for r in shown]))
    typer.echo(f"run folder: {folder}")


def check_inputs(config: Config) -> Inputs:
    """Model, data and prompts of a config; ConfigError for what cannot work."""
    with _input_errors():
        from transformers import AutoTokenizer

        from score_ray.tasks.catalog import make_task

        task = make_task(config.task)
        train, test = task.problems("train"), task.problems("test")
        if len(train) < config.rollout.problems or not test:
            raise ConfigError(
                f"rollout.problems: an iteration takes {config.rollout.problems}; the train split "
                f"has {len(train)} problems, the test split {len(test)}"
            )
        model = resolve(config.model.path, CACHE)
        own = config.prompts
        words = prompts.choose(own.preset, prompts.Prompts(own.first, own.correction, own.system))
        prompter = prompts.Prompter(AutoTokenizer.from_pretrained(model), words)
        turn = len(prompter.longest_correction) + config.rollout.max_tokens
        room = config.model.max_length - config.rollout.attempts * turn
        prompter.check_length([*train, *test[: config.evaluation.problems]], room)
    return Inputs(config, model, task, functools.partial(_make_prompter, model, words))


def _make_prompter(model: str, words: prompts.Prompts) -> prompts.Prompter:
    from transformers import AutoTokenizer

    return prompts.Prompter(AutoTokenizer.from_pretrained(model), words)


@contextmanager
def _roles(inputs: Inputs, reporter: Reporter) -> Iterator[Roles]:
    """Start everyone the loop talks to, and end them with it."""
    from score_ray.placement import Channel, LearnerGroup, RolloutPool, start_ray, stop_ray
    from score_ray.verify import ProcessGrader
    from score_ray.weights.probe import probe_rows

    config, task = inputs.config, inputs.task
    start_ray()
    grader = ProcessGrader(task, config.grading.num_workers, config.grading.deadline)
    try:
        pool = RolloutPool(config.rollout.num_actors, _engine(inputs), inputs.make_prompter)
        learner = LearnerGroup(
            config.learner.num_ranks, _learner(inputs), config.learner.tokens_per_micro_batch
        )
        train, test, prompter = (
            task.problems("train"),
            task.problems("test"),
            inputs.make_prompter(),
        )
        probe = probe_rows(
            [prompter.first_ids(p.question) for p in train[:512]], config.weights.probe_tokens
        )
        pool.wait_ready()
        learner.wait_ready()
        channel = Channel(learner, pool, probe, config.weights.max_mismatch)
        yield Roles(train, test, pool, grader, learner, channel, reporter)
        grader.close()
    finally:
        reporter.close()
        stop_ray()


def _engine(inputs: Inputs) -> EngineOptions:
    model, rollout = inputs.config.model, inputs.config.rollout
    return EngineOptions(
        model=inputs.model,
        dtype=model.dtype,
        max_length=model.max_length,
        max_running=rollout.max_running,
        kv_cache_bytes=int(rollout.kv_cache_gb * 2**30),
    )


def _learner(inputs: Inputs) -> LearnerOptions:
    learner, rollout = inputs.config.learner, inputs.config.rollout
    return LearnerOptions(
        model=inputs.model,
        dtype=inputs.config.model.dtype,
        temperature=rollout.temperature,
        num_attempts=rollout.attempts,
        zero_stage=learner.zero_stage,
        learning_rate=learner.learning_rate,
        warmup_iterations=learner.warmup_iterations,
        weight_decay=learner.weight_decay,
        max_grad_norm=learner.max_grad_norm,
    )


@contextmanager
def _input_errors() -> Iterator[None]:
    """What is wrong with the input is said in one line; only here, not around the run."""
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(str(error)) from error


def _refuse_other_config(folder: Path, config: Config) -> None:
    """A run folder belongs to one config; raise ConfigError naming what differs."""
    saved = folder / "config.yaml"
    changed = differences(config, load(saved)) if saved.is_file() else []
    if changed:
        raise ConfigError(
            f"{folder} holds a run of another config; choose another name=... or remove the "
            "folder. What differs:\n  " + "\n  ".join(changed)
        )


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
    """Run a command; input that the user can mend ends in one clear message."""
    try:
        app()
    except ConfigError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
