"""The command line: parse, build the roles, call the loop."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from score_ray import checkpoint, prompts
from score_ray.config import Config, ConfigError, differences, dump, load
from score_ray.models import resolve
from score_ray.types import Task

CACHE = Path(os.environ.get("SCORE_RAY_CACHE", "cache"))
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...")]


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="a recipe, for instance configs/arithmetic.yaml")],
    overrides: Overrides = None,
    runs: Annotated[Path, typer.Option(help="where run folders are kept")] = Path("runs"),
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
        model = resolve(chosen.model.path, CACHE)
        task, make_prompter = _inputs(chosen, model)
        # Claimed only now: input that had to be mended must not stand in its own way.
        (folder / "config.yaml").write_text(dump(chosen))
        _run(chosen, folder, model, task, make_prompter)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="a run folder")]) -> None:
    """Write accuracy.png and report.html again from what the run folder holds."""
    from score_ray.page import write_report

    write_report(folder)
    typer.echo(f"{folder / 'report.html'}")


def _run(config: Config, folder: Path, model: str, task: Task, make_prompter: Callable) -> None:
    from rich.console import Console

    from score_ray import loop
    from score_ray.page import write_report
    from score_ray.placement import start_ray, stop_ray
    from score_ray.records import read_jsonl
    from score_ray.report import Reporter, results_table

    checkpoints = folder / "checkpoints"
    found = checkpoint.newest(checkpoints) if checkpoints.is_dir() else None
    start = found[1]["iteration"] if found else 0
    reporter = Reporter(folder, config.iterations, start)
    if found:
        reporter.note(f"resuming from {found[0]}")
    start_ray()
    try:
        roles = _roles(config, model, task, make_prompter, reporter)
        if found:
            roles.learner.restore(found[0])
        loop.train(roles, config, checkpoints, start)
        roles.learner.export(folder / "model")
        roles.grader.close()
    finally:
        reporter.close()
        stop_ray()
    evals = read_jsonl(folder / "evals.jsonl")
    write_report(folder)
    labels = {0: "base", **{k: f"after {v}" for k, v in config.stage_ends().items()}}
    shown = [record for record in evals if record["iteration"] in labels]
    Console().print(results_table(shown, [labels[r["iteration"]] for r in shown]))
    typer.echo(f"run folder: {folder}")


def _inputs(config: Config, model: str) -> tuple[Task, Callable]:
    """Task and maker of prompters, with everything checked that can be checked before a start."""
    from transformers import AutoTokenizer

    from score_ray.tasks.catalog import make_task

    task = make_task(config.task)
    for split in ("train", "test"):
        if not task.problems(split):
            raise ConfigError(f"task.{split}: the {split} split is empty")
    if len(task.problems("train")) < config.rollout.problems:
        raise ConfigError(
            f"rollout.problems: {config.rollout.problems} an iteration, but the train split "
            f"has only {len(task.problems('train'))}"
        )
    tokenizer = AutoTokenizer.from_pretrained(model)
    own = config.prompts
    words = prompts.choose(own.preset, prompts.Prompts(own.first, own.correction, own.system))
    prompter = prompts.Prompter(tokenizer, words.first, words.correction, words.system)
    turns = len(prompter.longest_correction) + config.rollout.max_tokens
    room = config.model.max_length - config.rollout.attempts * turns
    for split in ("train", "test"):
        prompter.check_length(task.problems(split), room)
    return task, functools.partial(_make_prompter, model, words)


def _make_prompter(model: str, words: prompts.Prompts) -> prompts.Prompter:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    return prompts.Prompter(tokenizer, words.first, words.correction, words.system)


def _roles(config: Config, model: str, task, make_prompter, reporter):
    from score_ray.loop import Roles
    from score_ray.placement import Channel, LearnerGroup, RolloutPool
    from score_ray.types import EngineOptions, LearnerOptions
    from score_ray.verify import ProcessGrader
    from score_ray.weights.probe import probe_rows

    rollout, learner = config.rollout, config.learner
    grader = ProcessGrader(task, config.grading.num_workers, config.grading.deadline)
    pool = RolloutPool(
        rollout.num_actors,
        EngineOptions(
            model=model,
            dtype=config.model.dtype,
            max_length=config.model.max_length,
            max_running=rollout.max_running,
            kv_cache_bytes=int(rollout.kv_cache_gb * 2**30),
            temperature=rollout.temperature,
        ),
        make_prompter,
    )
    group = LearnerGroup(
        learner.num_ranks,
        LearnerOptions(
            model=model,
            dtype=config.model.dtype,
            temperature=rollout.temperature,
            num_attempts=rollout.attempts,
            zero_stage=learner.zero_stage,
            learning_rate=learner.learning_rate,
            warmup_iterations=learner.warmup_iterations,
            weight_decay=learner.weight_decay,
            max_grad_norm=learner.max_grad_norm,
        ),
        learner.tokens_per_micro_batch,
    )
    train, test = task.problems("train"), task.problems("test")
    prompter = make_prompter()
    probe = probe_rows(
        [prompter.first_ids(p.question) for p in train[:512]], config.weights.probe_tokens
    )
    pool.wait_ready()
    group.wait_ready()
    channel = Channel(group, pool, probe, config.weights.max_mismatch)
    return Roles(train, test, pool, grader, group, channel, reporter)


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
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"{folder}: another process is running in this run folder") from None
    return lock


def main() -> None:
    """Run a command; what the user can mend ends in one clear line and exit code 2."""
    try:
        app()
    except (ConfigError, FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on from the last checkpoint")


if __name__ == "__main__":
    main()
