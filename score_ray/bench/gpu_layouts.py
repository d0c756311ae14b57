"""`score-ray bench --gpu`: measure every way to divide this machine's GPUs, for several models.

The work is that of configs/speed.yaml. The models have published shapes and random weights,
which cost what trained ones would. Cases that fail on this machine are named below the table.
"""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rich.box import MARKDOWN

from score_ray.bench.random_models import random_model
from score_ray.bench.recipe_cost import MeanStep, RecipeCost, measure
from score_ray.bench.shape_overrides import SHAPE_OVERRIDES
from score_ray.bench.text_tables import table, text_of
from score_ray.config.config import Config
from score_ray.config.loading import load
from score_ray.experiments.suites.machine import gpu_ids
from score_ray.planning import gpus
from score_ray.planning.gpus import Gpu
from score_ray.reporting.reporter import Reporter
from score_ray.reporting.run_folder import RunFolder
from score_ray.training.inputs import check_inputs
from score_ray.training.roles import all_roles
from score_ray.types import ConfigError, RunError

SAMPLED_AHEAD = ("rollout.overlap=1", "learner.max_importance=2.0")
# Libraries that train on single answers can do the same work with one attempt.
ONE_ATTEMPT = ("rollout.attempts=1", "stages.0.reward=[1.0]", "stages.0.kl=[0.01]",
               "stages.0.bonus=0.0")  # fmt: skip
TRL_SCRIPT = Path(__file__).with_name("trl_baseline.py")
COLUMNS = (
    "model", "weights by", "engines + ranks", "weights, s", "broadcast, s", "sampled / s",
    "trained / s", "MFU", "of product", "GiB, engine", "GiB, rank", "s", "episodes / s",
)  # fmt: skip

TABLE_WIDTH = 240  # characters; the table is copied into a document


@dataclass(frozen=True, slots=True)
class Case:
    """A way to divide the GPUs: its name, and the overrides of the config that make it."""

    name: str
    overrides: tuple[str, ...] = ()
    by_trl: bool = False


def cases(num_gpus: int, trl: bool = False) -> list[Case]:
    """Return the cases for a machine with so many GPUs.

    With `trl`, the last two are one attempt by this package and one attempt by TRL.
    """
    ours = _layouts(num_gpus)
    if not trl:
        return ours
    one_gpu = _layouts(min(num_gpus, 1))[0]  # TRL runs in one process on one GPU
    one_attempt = Case(f"{one_gpu.name}, one attempt", (*one_gpu.overrides, *ONE_ATTEMPT))
    return [*ours, one_attempt, Case("TRL, one attempt", ONE_ATTEMPT, by_trl=True)]


def _layouts(num_gpus: int) -> list[Case]:
    if num_gpus == 0:
        return [Case("object_store"), Case("object_store, ahead", SAMPLED_AHEAD)]
    shared = ("rollout.share_gpus=true", *_split(num_gpus, num_gpus))
    sharing = [Case("ipc, shared", shared), _by_object_store("object_store, shared", shared)]
    if num_gpus == 1:
        return sharing
    apart = _split(num_gpus - num_gpus // 2, num_gpus // 2)
    by_nccl = [Case("nccl", apart), Case("nccl, ahead", (*apart, *SAMPLED_AHEAD))]
    return [*by_nccl, _by_object_store("object_store", apart), *sharing]


def _by_object_store(name: str, overrides: tuple[str, ...]) -> Case:
    return Case(name, (*overrides, "weights.backend=object_store"))


def _split(actors: int, ranks: int) -> tuple[str, ...]:
    zero = 2 if ranks > 1 else 0
    return (
        f"rollout.num_actors={actors}", f"learner.num_ranks={ranks}", f"learner.zero_stage={zero}"
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bench:
    """The work to measure, the folder for its models, and the number of iterations."""

    recipe: Path
    overrides: Sequence[str]
    folder: Path
    iterations: int

    def run(self, shapes: Sequence[str], trl: str, show_progress: Callable[[str], None]) -> str:
        """Measure every shape in every case; return a table, and the cases that failed.

        `trl` is the path of a Python that has TRL, or "" to leave TRL out. Raises RunError, with
        what failed, if no case could be measured.
        """
        rows, failures = [], []
        models = {shape: random_model(shape, self.folder / "models") for shape in shapes}
        for shape, case in product(shapes, cases(len(gpu_ids()), bool(trl))):
            show_progress(f"{shape}: {case.name}")
            model = (f"model.path={models[shape]}", *SHAPE_OVERRIDES.get(shape, ()))
            config = load(self.recipe, [*model, *case.overrides, *self.overrides])
            try:
                cells = self._measure_trl(config, trl) if case.by_trl else self._measure(config)
            except Exception as error:  # whatever failed, the other cases are worth having
                failures.append(f"{shape}: {case.name}: {error}\n")
                continue
            rows.append([shape, case.name, *cells])
            show_progress(" | ".join(rows[-1]))
        if not rows:
            raise RunError(f"no case could be measured:\n{''.join(failures).rstrip()}")
        return text_of(table("", COLUMNS, rows, MARKDOWN), width=TABLE_WIDTH) + "".join(failures)

    def _measure(self, config: Config) -> list[str]:
        inputs, folder = check_inputs(config, self.folder), RunFolder(self.folder)
        with all_roles(inputs, Reporter(folder, self.iterations + 1, 0, quiet=True)) as roles:
            cost = measure(roles, inputs, self.iterations, folder)
            return row_of(config, cost, gpus.local())

    def _measure_trl(self, config: Config, trl: str) -> list[str]:
        result = run_trl(config, trl, self.iterations, self.folder / "trl")
        rate = _episodes(config) / result["seconds"]
        return [result["by"], *[""] * 8, f"{result['seconds']:.2f}", f"{rate:.1f}"]


def row_of(config: Config, cost: RecipeCost, gpu: Gpu | None) -> list[str]:
    """Return a case's cells of COLUMNS after its name.

    MFU compares with the FLOP/s of the GPU's data sheet; it is empty without a GPU.
    """
    step, ranks = cost.step, config.learner.num_ranks
    return [
        f"{config.rollout.num_actors} + {ranks}",
        f"{step.transfer:.3f}",
        f"{step.seconds['broadcast']:.3f}",
        _sampled_rate(config, step),
        f"{step.trained_tokens / step.seconds['update']:,.0f}",
        f"{cost.update_flops / ranks / gpu.flops:.1%}" if gpu else "",
        f"{cost.update_flops / cost.matmul_flops:.1%}",
        _peak(cost, "rollout actor"),
        _peak(cost, "learner rank"),
        f"{step.seconds['iteration']:.2f}",
        f"{_episodes(config) / step.seconds['iteration']:.1f}",
    ]


def _sampled_rate(config: Config, step: MeanStep) -> str:
    # With sampling ahead, the rollout's time is only the part that the learner waited for.
    if config.rollout.overlap or not step.sampled_tokens:
        return ""
    return f"{step.sampled_tokens / step.seconds['rollout']:,.0f}"


def run_trl(config: Config, python: str, iterations: int, folder: Path) -> dict[str, Any]:
    """Run trl_baseline.py in a process of another Python; return its result.

    Raises ConfigError if the process cannot start or fails.
    """
    work = _trl_work(config) | {"iterations": iterations, "folder": str(folder)}
    # -I: the script's folder is not searched for modules, where names of the standard library
    # may be taken.
    command = [python, "-I", str(TRL_SCRIPT), json.dumps(work)]
    one_gpu = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(gpu_ids()[:1])}
    try:
        done = subprocess.run(command, env=one_gpu, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])
    except OSError as error:
        raise ConfigError(f"--trl {python}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["it failed without a message"])[-1]
        raise ConfigError(f"--trl {python}: {last}") from error


def _trl_work(config: Config) -> dict[str, Any]:
    """Return the part of the config that trl_baseline.py reads."""
    return {
        "model": config.model.path,
        "dtype": config.model.dtype,
        "prompt": config.prompts.first,
        "problems": config.rollout.problems,
        "samples": config.rollout.samples,
        "max_tokens": config.rollout.max_tokens,
        "max_length": config.model.max_length,
        "tokens": config.learner.tokens_per_micro_batch,
        "checkpointing": config.learner.gradient_checkpointing,
        "lora": config.learner.lora.rank,
        "kl": config.stages[0].kl[0],
        "rate": config.learner.learning_rate,
    }


def _episodes(config: Config) -> int:
    return config.rollout.problems * config.rollout.samples


def _peak(cost: RecipeCost, role: str) -> str:
    """Return the highest peak in GiB of a role's processes: of the GPU, or without one of RAM."""
    peaks = [peak for name, peak in cost.memory.items() if name.startswith(role)]
    return f"{max(peak.gpu or peak.host for peak in peaks):.1f}"
