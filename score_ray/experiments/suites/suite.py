"""A suite: variants of one config times seeds, read from a strict YAML file.

Every variant and seed is a run in the folder runs/<suite>/<variant>/seed_<seed>. All configs
are resolved and checked before anything starts.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, ValidationError

from score_ray.config.config import Config
from score_ray.config.faults import faults_message
from score_ray.config.loading import load, read_tree
from score_ray.config.overrides import split_override
from score_ray.config.section import Section
from score_ray.reporting.json_lines import Record
from score_ray.reporting.run_claim import refuse_other_config
from score_ray.reporting.run_folder import TEST, RunFolder
from score_ray.types import ConfigError

Metric = Literal["acc_t1", "acc_t2", "delta", "i_to_c", "c_to_i", "changed", "edit_ratio"]
Seeds = tuple[Annotated[int, Field(ge=0)], ...]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]


class Variant(Section):
    """A variant of training: its changes to the suite's config."""

    label: str = ""  # its name in reports, if that is another
    overrides: tuple[str, ...] = ()  # applied after the suite's
    seeds: Seeds = ()  # in place of the suite's


class Compare(Section):
    """One variant that is tested against every other."""

    variant: str
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)]


class Claim(Section):
    """A claim that one variant is better than another.

    More of a metric is better, except for c_to_i, which counts damage.
    """

    better: str
    than: str
    metric: Metric
    source: str = ""  # for instance a table of a paper


class Suite(Section):
    """Variants of one config, each with several seeds."""

    name: FolderName
    config: str  # relative to the suite file
    overrides: tuple[str, ...] = ()
    seeds: Annotated[Seeds, Field(min_length=1)]
    jobs: PositiveInt = 1  # runs side by side
    variants: Annotated[dict[FolderName, Variant], Field(min_length=1)]
    compare: Compare | None = None
    claims: tuple[Claim, ...] = ()
    figures: tuple[str, ...] = ()  # variants shown in the figures

    def model_post_init(self, _: object) -> None:
        """Check names and seeds across sections."""
        for name in self._mentioned_variants():
            if name not in self.variants:
                known = ", ".join(self.variants)
                raise ValueError(f"there is no variant {name!r}; there are {known}")
        self._refuse_name_and_seed()
        for name in self.variants:
            if len(set(self.seeds_of(name))) != len(self.seeds_of(name)):
                raise ValueError(f"variants.{name}: a seed is named twice")

    def _refuse_name_and_seed(self) -> None:
        """Refuse overrides of what the suite sets itself for every run."""
        changes = {
            "": self.overrides,
            **{f"variants.{k}.": v.overrides for k, v in self.variants.items()},
        }
        for place, overrides in changes.items():
            for key in (split_override(one)[0] for one in overrides):
                if key in ("name", "seed"):
                    raise ValueError(
                        f"{place}overrides: {key!r} is set by the suite for each run; use seeds "
                        "and the names of variants"
                    )

    def _mentioned_variants(self) -> list[str]:
        sides = [side for claim in self.claims for side in (claim.better, claim.than)]
        return [*([self.compare.variant] if self.compare else []), *sides, *self.figures]

    def seeds_of(self, variant: str) -> Seeds:
        """Return the seeds that a variant is run with."""
        return self.variants[variant].seeds or self.seeds

    def label_of(self, variant: str) -> str:
        """Return a variant's name in reports."""
        return self.variants[variant].label or variant


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """One variant with one seed: its config and its folder."""

    variant: str
    config: Config
    folder: RunFolder
    recipe: Path  # the config file that `train` gets, with the overrides
    overrides: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.variant}/{self.config.name}"


def load_suite(path: Path) -> Suite:
    """Read a suite file; raise ConfigError naming the file, the key and what is wrong with it."""
    tree = read_tree(path, "suite file", "a mapping")
    if isinstance(tree.get("config"), str):
        tree["config"] = str(path.parent / tree["config"])
    try:
        return Suite.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        raise ConfigError(faults_message(error, str(path), "suite", Suite)) from error


def runs_of(suite: Suite, runs: Path) -> list[SuiteRun]:
    """Return every run of a suite, seed by seed over all variants.

    In this order a suite that is stopped early has whole seeds to compare.

    Raises ConfigError for a variant whose config does not fit, or whose run folder holds a run
    of another config.
    """
    seeds = dict.fromkeys([*suite.seeds, *(s for v in suite.variants.values() for s in v.seeds)])
    planned = [
        _run(suite, variant, seed, runs / suite.name / variant)
        for seed in seeds
        for variant in suite.variants
        if seed in suite.seeds_of(variant)
    ]
    for run in planned:
        refuse_other_config(run.folder, run.config, "rename the suite or remove the folder")
    return planned


def _run(suite: Suite, variant: str, seed: int, folder: Path) -> SuiteRun:
    name, recipe = f"seed_{seed}", Path(suite.config)
    changes = suite.variants[variant].overrides
    overrides = (*suite.overrides, *changes, f"seed={seed}", f"name={name}")
    try:
        config = load(recipe, overrides)
        return SuiteRun(variant, config, RunFolder(folder / name), recipe, overrides)
    except ConfigError as error:
        raise ConfigError(f"variants.{variant}: {error}") from error


def final_evaluation(run: SuiteRun) -> Record | None:
    """Return the evaluation of a run's model on the test split; None before the last iteration.

    It is the last one: a model selected from an earlier checkpoint is evaluated after the others.
    """
    tests = run.folder.evals(TEST)
    complete = any(r["iteration"] == run.config.iterations for r in tests)
    return tests[-1] if complete else None


def finished(run: SuiteRun) -> bool:
    """Return whether a run has left its last evaluation and its model."""
    return run.folder.has_model and final_evaluation(run) is not None
