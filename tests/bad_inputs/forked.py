"""Runs commands in forks of this process, which has imported the libraries that take long."""

import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

LIBRARIES = (
    "datasets", "pyarrow.parquet", "pandas", "transformers", "safetensors.torch", "psutil",
    "score_ray.cli.main", "score_ray.training.inputs", "score_ray.training.checkpoint",
    "score_ray.reporting.report_page", "score_ray.experiments.suites.suite",
    "score_ray.planning.model_shape", "score_ray.tasks.gold_solutions",
)  # fmt: skip


def import_libraries() -> None:
    """Import what most commands import; without threads of its own, a process can be forked."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for name in LIBRARIES:
        importlib.import_module(name)


def run_forked(
    words: Sequence[str],
    folder: Path,
    variables: Mapping[str, str],
    streams: tuple[Path, Path],
    seconds: float,
) -> int | None:
    """Run a command in a folder, with its stdout and stderr in files.

    Return its exit code, or None if it has not ended after so many seconds.
    """
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_run, args=(words, folder, variables, streams))
    process.start()
    process.join(seconds)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    return code


def _run(
    words: Sequence[str], folder: Path, variables: Mapping[str, str], streams: tuple[Path, Path]
) -> None:
    """Run the command as a program of its own would, and end this process."""
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    # The tests' process may have replaced these.
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.chdir(folder)
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.update(variables)
    tempfile.tempdir = None  # it is chosen anew, by the variables
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["score-ray", *words]
    sys.dont_write_bytecode = True
    code = _exit_code()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _exit_code() -> int:
    from score_ray.cli.main import main

    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
