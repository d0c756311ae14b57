"""The series of a figure, and the records of their runs.

A series is one way of training, with a run folder per seed. The base models of all series are
shown next to them as series of their own: a single one where all runs start from the same model
and problems.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from score_ray.config.config import Config
from score_ray.reporting.json_lines import Record, read_jsonl
from score_ray.reporting.metrics import StepResult
from score_ray.reporting.run_folder import TEST, RunFolder
from score_ray.tasks.registry import answer_of

ReadAnswer = Callable[[str], str]  # from a completion to its answer


@dataclass(frozen=True, slots=True)
class Series:
    """Run folders that differ only in their seed, and their name in a figure."""

    label: str
    folders: tuple[RunFolder, ...]


@dataclass(frozen=True)
class RunRecords:
    """The records of a run folder that figures are drawn from; each file is read once."""

    folder: RunFolder

    @cached_property
    def steps(self) -> list[StepResult]:
        """The measures of each iteration."""
        return self.folder.steps()

    @cached_property
    def evals(self) -> list[Record]:
        """A record per evaluation on the test split."""
        return self.folder.evals(TEST)

    @cached_property
    def answers(self) -> dict[int, list[Record]]:
        """The answers of each evaluation, by the number of updates before it."""
        return self.folder.answers()

    @cached_property
    def config(self) -> Config:
        """The run's resolved config."""
        return self.folder.config()

    @cached_property
    def read_answer(self) -> ReadAnswer:
        """The function that reads the answer in a completion of the run's task."""
        return answer_of(self.config.task)

    @cached_property
    def base_model_key(self) -> str:
        """The keys and values on which the results of the run's base model depend."""
        config = self.config
        return repr((config.model.path, config.task, config.prompts, config.rollout.max_tokens))

    def extra_samples(self, kind: str, base: bool) -> list[Record]:
        """Return the extra "attempts" or "samples" of a model; [] if there are none."""
        return read_jsonl(self.folder.extra_samples(kind, "base" if base else "model"))

    def greedy(self, base: bool) -> list[Record]:
        """Return the greedy answers, two attempts or more, of the base or the trained model.

        The last evaluation of a run is that of the model it leaves. [] if there are none.
        """
        done = self.evals[-1]["iteration"] if self.evals and not base else 0
        evaluated = self.answers.get(done, []) if base or done else []
        records = evaluated or self.extra_samples("attempts", base)
        return [r for r in records if len(r["attempts"]) > 1]


@dataclass(frozen=True)
class PlottedSeries:
    """A series, or the base model of some series, with the records of its runs."""

    label: str
    runs: tuple[RunRecords, ...]
    number: int  # among the series, or among the base models
    base: bool = False


def series_of(folders: Sequence[RunFolder]) -> list[Series]:
    """Return a series per run, named after its folder, or by where the paths differ."""
    names = [folder.path.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = distinct_parts([folder.path for folder in folders])
    return [Series(name, (folder,)) for name, folder in zip(names, folders, strict=True)]


def distinct_parts(folders: Sequence[Path]) -> list[str]:
    """Return, for each path, the part from the first to the last folder that differs."""
    paths = [folder.resolve().parts for folder in folders]
    columns = list(zip(*paths, strict=False))
    same = [len(set(column)) == 1 for column in columns]
    ends = [len(set(c)) == 1 for c in zip(*(reversed(path) for path in paths), strict=False)]
    lead, tail = (*same, False).index(False), (*ends, False).index(False)
    return ["/".join(path[lead : max(len(path) - tail, lead + 1)]) or path[-1] for path in paths]


def with_base_models(series: Sequence[Series]) -> list[PlottedSeries]:
    """Return the base models of all series, then the series, as they are plotted.

    Raises ConfigError for a run folder without a config, or with one that does not fit.
    """
    trained = [
        PlottedSeries(s.label, tuple(map(RunRecords, s.folders)), i) for i, s in enumerate(series)
    ]
    by_base_model: dict[str, list[PlottedSeries]] = {}
    for plotted in trained:
        by_base_model.setdefault(plotted.runs[0].base_model_key, []).append(plotted)
    base_models = []
    for number, sharing in enumerate(by_base_model.values()):
        label = "base model" if len(by_base_model) == 1 else f"base of {sharing[0].label}"
        runs = tuple(run for plotted in sharing for run in plotted.runs)
        base_models.append(PlottedSeries(label, runs, number, base=True))
    return [*base_models, *trained]
