"""Samples from a run's trained and base model what two of the figures need beyond the run.

Two passes over the test problems: "attempts" makes many attempts in a row, greedily; "samples"
draws many episodes of two attempts. Their files stay in the run folder.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from score_ray.config.config import Config
from score_ray.reporting.atomic_files import replace_file
from score_ray.reporting.json_lines import Record, as_lines, read_jsonl
from score_ray.reporting.reporter import Reporter
from score_ray.reporting.run_folder import TEST, RunFolder
from score_ray.reporting.transcripts import answer_record
from score_ray.rollout.episodes import derive_seed
from score_ray.rollout.prompter import Prompter
from score_ray.training.failed_measurements import refuse_failed_evaluation
from score_ray.training.input_record import refuse_other_model
from score_ray.training.inputs import Inputs, check_inputs, check_trained_model
from score_ray.training.iteration import in_order
from score_ray.training.protocols import EpisodeGrader, EpisodeSampler
from score_ray.training.roles import sampling_roles
from score_ray.types import Problem, SamplingPlan

KINDS, MODELS = ("attempts", "samples"), ("model", "base")
EPISODES_AT_ONCE = 4096  # sampled before they are graded and written, to bound the memory
ShowLine = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ExtraSamples:
    """The numbers of extra samples of a problem, and their temperature."""

    attempts: int = 10  # in a row, greedily
    samples: int = 32  # episodes of two attempts
    temperature: float = 0.7  # of the episodes
    problems: int = 0  # 0: as many as the run evaluates


def draw_missing_samples(
    folder: RunFolder, wanted: ExtraSamples, cache: Path, show: ShowLine
) -> None:
    """Sample the files that a run folder lacks; the others stay, however they were sampled.

    Raises ConfigError if the run has left no model that loads, or if its base model, data or
    prompts are not to be had.
    """
    for path in folder.all_extra_samples():
        show(f"{path}: kept, {_extent(path)}; remove it to sample anew")
    lacking = missing_files(folder)
    if not any(lacking.values()):
        return
    trained = folder.trained_model()
    inputs = inputs_with_room(folder, wanted, cache, show)
    if lacking["model"]:
        check_trained_model(folder.path, trained)
    for model, path in (("model", str(trained)), ("base", inputs.model)):
        if lacking[model]:
            _sample(inputs, path, wanted, lacking[model], show)


def missing_files(folder: RunFolder) -> dict[str, dict[str, Path]]:
    """Return the files that a run folder lacks, by model and then by kind."""
    paths = {model: {kind: folder.extra_samples(kind, model) for kind in KINDS} for model in MODELS}
    return {
        model: {kind: path for kind, path in by_kind.items() if not path.is_file()}
        for model, by_kind in paths.items()
    }


def plan_of(kind: str, config: Config, wanted: ExtraSamples) -> SamplingPlan:
    """Return the plan of a pass; both models sample with the same seeds."""
    greedy = kind == "attempts"
    return SamplingPlan(
        seed=derive_seed(config.seed, config.iterations + 1),
        samples=1 if greedy else wanted.samples,
        attempts=config.evaluated_attempts if greedy else 2,
        max_tokens=config.rollout.max_tokens,
        temperature=0.0 if greedy else wanted.temperature,
    )


def inputs_with_room(
    folder: RunFolder, wanted: ExtraSamples, cache: Path, show: ShowLine
) -> Inputs:
    """Return a run's inputs, with room for the wanted attempts or as many as the model can hold.

    Raises ConfigError as `check_inputs` does.
    """
    limit = [f"evaluation.problems={wanted.problems}"] if wanted.problems else []
    inputs = check_inputs(folder.config(limit), cache, [TEST])
    refuse_other_model(folder, inputs)
    attempts, length = room_for(inputs, wanted.attempts)
    if attempts < wanted.attempts:
        show(f"the model has positions for {attempts} attempts, not for {wanted.attempts}")
    longer = [f"evaluation.attempts={attempts}", f"model.max_length={length}"]
    return check_inputs(folder.config([*limit, *longer]), cache, [TEST])


def room_for(inputs: Inputs, attempts: int) -> tuple[int, int]:
    """Return the number of attempts that the model has positions for, and the tokens they take.

    Both are at least those of the run itself. A model that names no limit has none.
    """
    from transformers import AutoConfig

    config, prompter = inputs.config, inputs.make_prompter()
    max_tokens = config.rollout.max_tokens
    turn = prompter.longest_turn(max_tokens)
    longest = max(_opening_tokens(prompter, p, max_tokens) for p in inputs.test)
    limit = getattr(AutoConfig.from_pretrained(inputs.model), "max_position_embeddings", None)
    needed = longest + attempts * turn
    most = max(config.model.max_length, min(needed, limit or needed))
    return min(attempts, (most - longest) // turn), most


def _opening_tokens(prompter: Prompter, problem: Problem, max_tokens: int) -> int:
    """Return the tokens of an episode apart from its attempts, as its length is checked."""
    given = len(prompter.given_ids(problem.given)) if problem.given else 0
    return len(prompter.first_ids(problem.question)) + max(0, given - max_tokens)


def _sample(
    inputs: Inputs, model: str, wanted: ExtraSamples, paths: dict[str, Path], show: ShowLine
) -> None:
    """Sample a model's files of some kinds, and write each when it is complete."""
    # The roles need a reporter, which shows lost actors; its files are not wanted.
    with TemporaryDirectory() as scratch:
        reporter = Reporter(RunFolder(Path(scratch)), 0, 0)
        # A reference that judges answers stays the base model.
        with sampling_roles(inputs, model, reporter) as (pool, grader):
            for kind, path in paths.items():
                plan, problems = plan_of(kind, inputs.config, wanted), inputs.test
                records = []
                for part in _sampled_parts(pool, grader, problems, plan):
                    records += part
                    done = len(records) // plan.samples
                    show(f"{path}: {done} of {len(problems)} problems")
                path.parent.mkdir(exist_ok=True)
                replace_file(path, as_lines(records).encode(errors="replace"))
        reporter.close()


def _sampled_parts(
    pool: EpisodeSampler,
    grader: EpisodeGrader,
    problems: Sequence[Problem],
    plan: SamplingPlan,
) -> Iterator[list[Record]]:
    """Yield the answers to the problems in order, sampling EPISODES_AT_ONCE at a time."""
    step = max(1, EPISODES_AT_ONCE // plan.samples)
    for start in range(0, len(problems), step):
        part = problems[start : start + step]
        for episodes in pool.sample(part, plan):
            grader.submit(episodes)
        graded = in_order(grader.collect(), part, plan.samples, version=0)
        refuse_failed_evaluation(graded, grader.fault)
        yield [answer_record(g) for g in graded]


def _extent(path: Path) -> str:
    records = read_jsonl(path)
    problems = len({record["problem"] for record in records})
    attempts = max((len(record["attempts"]) for record in records), default=0)
    return f"{problems} problems, {len(records)} episodes of {attempts} attempts"
