"""`launch.py bench --gpu`: every way to divide this machine's GPUs, at models of several sizes.

The work is that of configs/speed.yaml; the models have published shapes and random weights,
which cost what trained ones would. A case that does not run here is named.
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
from rich.table import Table

from score_ray.bench.random_models import random_model
from score_ray.bench.recipe_cost import RecipeCost, observe, text_of
from score_ray.config.config import Config, ConfigError, load
from score_ray.experiments.suites.machine import gpu_ids
from score_ray.planning import gpus
from score_ray.planning.gpus import Gpu
from score_ray.reporting.reporter import Reporter
from score_ray.training.inputs import check_inputs
from score_ray.training.roles import all_roles

AHEAD = ("rollout.overlap=1", "learner.max_importance=2.0")
# What a library of single answers is asked to do too.
ONE_ATTEMPT = ("rollout.attempts=1", "stages.0.reward=[1.0]", "stages.0.kl=[0.01]",
               "stages.0.bonus=0.0")  # fmt: skip
# The 7B's states would fill three GPUs; its weights are sent whole all the same.
MORE = {
    "7B": (
        "learner.lora.rank=64", "learner.lora.broadcast=merged",
        "learner.tokens_per_micro_batch=4096",
    )
}  # fmt: skip
TRL = Path(__file__).with_name("trl_baseline.py")
COLUMNS = (
    "model", "weights by", "engines + ranks", "weights, s", "broadcast, s", "drawn / s",
    "trained / s", "MFU", "of product", "GiB, engine", "GiB, rank", "s", "episodes / s",
)  # fmt: skip

WIDTH = 240  # of a table that is copied into a document

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """A way to divide the GPUs, and the overrides that make it."""

    name: str
    settings: tuple[str, ...] = ()
    by_trl: bool = False


def cases(num_gpus: int, trl: bool = False) -> list[Case]:
    """What can be compared on a machine with so many GPUs, and what `trl` is compared with."""
    found = _arrangements(num_gpus)
    if not trl:
        return found
    alone = _arrangements(min(num_gpus, 1))[0]  # TRL's one process has one GPU
    ours = Case(f"{alone.name}, one attempt", (*alone.settings, *ONE_ATTEMPT))
    return [*found, ours, Case("TRL, one attempt", ONE_ATTEMPT, by_trl=True)]


def _arrangements(num_gpus: int) -> list[Case]:
    if num_gpus == 0:
        return [Case("object_store"), Case("object_store, ahead", AHEAD)]
    shared = ("rollout.share_gpus=true", *_split(num_gpus, num_gpus))
    both = [Case("ipc, shared", shared), _by_store("object_store, shared", shared)]
    if num_gpus == 1:
        return both
    apart = _split(num_gpus - num_gpus // 2, num_gpus // 2)
    own = [Case("nccl", apart), Case("nccl, ahead", (*apart, *AHEAD))]
    return [*own, _by_store("object_store", apart), *both]


def _by_store(name: str, settings: tuple[str, ...]) -> Case:
    return Case(name, (*settings, "weights.backend=object_store"))


def _split(actors: int, ranks: int) -> tuple[str, ...]:
    zero = 2 if ranks > 1 else 0
    return (
        f"rollout.num_actors={actors}", f"learner.num_ranks={ranks}", f"learner.zero_stage={zero}"
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bench:
    """The work, where its models are kept, and how long it is measured."""

    recipe: Path
    overrides: Sequence[str]
    folder: Path
    iterations: int

    def run(self, shapes: Sequence[str], trl: str, tell: Tell) -> str:
        """Measure every shape in every case; the table, and what could not be measured.

        `trl` is a Python that has TRL, and does the same with one attempt; "" for none.
        """
        rows, faults = [], []
        models = {shape: random_model(shape, self.folder / "models") for shape in shapes}
        for shape, case in product(shapes, cases(len(gpu_ids()), bool(trl))):
            tell(f"{shape}: {case.name}")
            settings = [f"model.path={models[shape]}", *MORE.get(shape, ()), *case.settings]
            config = load(self.recipe, [*settings, *self.overrides])
            try:
                measured = self._theirs(config, trl) if case.by_trl else self._ours(config)
                rows.append([shape, case.name, *measured])
                tell(" | ".join(rows[-1]))
            except Exception as error:  # whatever it is, the other cases are worth having
                faults.append(f"{shape}: {case.name}: {error}\n")
        return text_of(_table(rows), width=WIDTH) + "".join(faults)

    def _ours(self, config: Config) -> list[str]:
        inputs = check_inputs(config, self.folder)
        reporter = Reporter(self.folder, self.iterations + 1, 0, quiet=True)
        with all_roles(inputs, reporter) as roles:
            return row_of(config, observe(roles, inputs, self.iterations), gpus.local())

    def _theirs(self, config: Config, trl: str) -> list[str]:
        found = run_trl(config, trl, self.iterations, self.folder / "trl")
        speed = _episodes(config) / found["seconds"]
        return [found["by"], *[""] * 8, f"{found['seconds']:.2f}", f"{speed:.1f}"]


def row_of(config: Config, seen: RecipeCost, gpu: Gpu | None) -> list[str]:
    """The cells of a case after its name; MFU is of what the GPU's data sheet says."""
    means, ranks = seen.means, config.learner.num_ranks
    seconds = means["time/iteration"]
    # Sampled ahead, the time of the rollout is what the learner waited for it.
    drawn = 0 if config.rollout.overlap else means["tokens/sampled"] / means["time/rollout"]
    return [
        f"{config.rollout.num_actors} + {ranks}",
        f"{means['time/weights']:.3f}",
        f"{means['time/broadcast']:.3f}",
        f"{drawn:,.0f}" if drawn else "",
        f"{means['tokens/trained'] / means['time/update']:,.0f}",
        f"{seen.flops / ranks / gpu.flops:.1%}" if gpu else "",
        f"{seen.flops / seen.product:.1%}",
        _most(seen, "rollout actor"),
        _most(seen, "learner rank"),
        f"{seconds:.2f}",
        f"{_episodes(config) / seconds:.1f}",
    ]


def run_trl(config: Config, python: str, iterations: int, folder: Path) -> dict[str, Any]:
    """What bench_trl.py measures in a process of another Python; ConfigError if it fails."""
    work = {
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
        "iterations": iterations,
        "folder": str(folder),
    }
    # Isolated: beside the script there are modules whose names the standard library has too.
    command = [python, "-I", str(TRL), json.dumps(work)]
    one_gpu = os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(gpu_ids()[:1])}
    try:
        done = subprocess.run(command, env=one_gpu, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])
    except OSError as error:
        raise ConfigError(f"--trl {python}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ConfigError(f"--trl {python}: {reason}") from error


def _episodes(config: Config) -> int:
    return config.rollout.problems * config.rollout.samples


def _most(seen: RecipeCost, role: str) -> str:
    """The highest peak of a role's processes: on the GPU, or without one on the node."""
    peaks = [peak for name, peak in seen.memory.items() if name.startswith(role)]
    return f"{max(peak.gpu or peak.host for peak in peaks):.1f}"


def _table(rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*COLUMNS, box=MARKDOWN)
    for row in rows:
        table.add_row(*row)
    return table
