"""A suite: variants of one config times seeds, read from a strict YAML file.

Every variant and seed is a run folder runs/<suite>/<variant>/seed_<seed>, whose whole config
is known, and checked, before anything starts.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, ValidationError

from score_ray.config.config import Config, faults, load, read_tree, refuse_other
from score_ray.config.schema import Section
from score_ray.reporting.run_folder import Record, read_jsonl
from score_ray.types import ConfigError

Metric = Literal["acc_t1", "acc_t2", "delta", "i_to_c", "c_to_i", "changed", "edit_ratio"]
Seeds = tuple[Annotated[int, Field(ge=0)], ...]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]  # becomes a folder


class Variant(Section):
    """One way of training: what it changes in the suite's config."""

    label: str = ""  # what reports call it; its name unless given
    overrides: tuple[str, ...] = ()  # on top of the suite's
    seeds: Seeds = ()  # in place of the suite's


class Compare(Section):
    """One variant, tested against every other."""

    variant: str
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)]


class Claim(Section):
    """That one variant is better than another; of c_to_i, which counts damage, less is better."""

    better: str
    than: str
    metric: Metric
    source: str = ""  # where it is claimed


class Suite(Section):
    """Variants times seeds."""

    name: Name
    config: str  # relative to the suite file
    overrides: tuple[str, ...] = ()
    seeds: Annotated[Seeds, Field(min_length=1)]
    jobs: PositiveInt = 1  # runs side by side
    variants: Annotated[dict[Name, Variant], Field(min_length=1)]
    compare: Compare | None = None
    claims: tuple[Claim, ...] = ()
    figures: tuple[str, ...] = ()  # variants shown in the figures

    def model_post_init(self, _: object) -> None:
        """Check what spans sections."""
        for name in self._named():
            if name not in self.variants:
                known = ", ".join(self.variants)
                raise ValueError(f"there is no variant {name!r}; there are {known}")
        for name in self.variants:
            if len(set(self.seeds_of(name))) != len(self.seeds_of(name)):
                raise ValueError(f"variants.{name}: a seed is named twice")

    def _named(self) -> list[str]:
        sides = [side for claim in self.claims for side in (claim.better, claim.than)]
        return [*([self.compare.variant] if self.compare else []), *sides, *self.figures]

    def seeds_of(self, variant: str) -> Seeds:
        """The seeds that a variant is run with."""
        return self.variants[variant].seeds or self.seeds

    def label_of(self, variant: str) -> str:
        """What reports call a variant."""
        return self.variants[variant].label or variant


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """One variant with one seed: what it is and where it is kept."""

    variant: str
    config: Config
    folder: Path
    recipe: Path  # with the overrides, what `launch.py train` is given
    overrides: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.variant}/{self.config.name}"


def load_suite(path: Path) -> Suite:
    """Read a suite file; ConfigError naming the file, the key and what is wrong with it."""
    tree = read_tree(path, "suite file", "a mapping")
    if isinstance(tree.get("config"), str):
        tree["config"] = str(path.parent / tree["config"])
    try:
        return Suite.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        raise ConfigError(
            "\n".join([f"{path}: the suite does not fit:", *faults(error)])
        ) from error


def runs_of(suite: Suite, runs: Path) -> list[SuiteRun]:
    """Every run of a suite, seed by seed over all variants: an early stop leaves whole seeds.

    Raises ConfigError for a variant whose config does not fit, or whose run folder holds a run
    of another config.
    """
    seeds = dict.fromkeys([*suite.seeds, *(s for v in suite.variants.values() for s in v.seeds)])
    found = [
        _run(suite, variant, seed, runs / suite.name / variant)
        for seed in seeds
        for variant in suite.variants
        if seed in suite.seeds_of(variant)
    ]
    for run in found:
        refuse_other(run.folder, run.config, "rename the suite or remove the folder")
    return found


def _run(suite: Suite, variant: str, seed: int, folder: Path) -> SuiteRun:
    name = f"seed_{seed}"
    own = suite.variants[variant].overrides
    overrides = (*suite.overrides, *own, f"seed={seed}", f"name={name}")
    recipe = Path(suite.config)
    try:
        return SuiteRun(variant, load(recipe, overrides), folder / name, recipe, overrides)
    except ConfigError as error:
        raise ConfigError(f"variants.{variant}: {error}") from error


def final_evaluation(run: SuiteRun) -> Record | None:
    """The test split's evaluation of what a run ends with, once it has had all its iterations.

    That is its last: where another checkpoint than the last is selected, it comes after it.
    """
    tests = [r for r in read_jsonl(run.folder / "evals.jsonl") if r["split"] == "test"]
    whole = any(r["iteration"] == run.config.iterations for r in tests)
    return tests[-1] if whole else None


def finished(run: SuiteRun) -> bool:
    """Whether a run has come to its end: its last evaluation is there, and its model."""
    return (run.folder / "model").is_dir() and final_evaluation(run) is not None


def iterations_done(run: SuiteRun) -> int:
    """How many iterations a run's metrics.jsonl has, cheaply."""
    path = run.folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0
