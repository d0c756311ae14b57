"""More samples than training and its evaluations draw, of a run's trained and its base model.

Two passes over the test problems, for two of the figures: many attempts in a row, greedily, and
many episodes of two attempts. They stay in the run folder, in study/.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from score_ray.config.config import Config, ConfigError, load
from score_ray.reporting.reporter import Reporter
from score_ray.reporting.run_folder import Record, answer_record, as_lines, read_jsonl, replace_file
from score_ray.rollout.episodes import derive_seed
from score_ray.rollout.prompter import Prompter
from score_ray.training.inputs import Inputs, check_inputs
from score_ray.training.iteration import in_order
from score_ray.training.roles import sampling_roles
from score_ray.types import Grader, Pool, Problem, SamplingPlan

EPISODES = 4096  # sampled before they are graded and put down: what they take in memory
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Study:
    """What is sampled of each problem; `problems` 0 is as many as the run evaluates."""

    attempts: int = 10  # in a row, greedily
    samples: int = 32  # episodes of two attempts
    temperature: float = 0.7  # of these
    problems: int = 0


def missing(folder: Path) -> list[Path]:
    """The files that a run folder has still to get."""
    names = [f"{kind}_{who}.jsonl" for who in ("model", "base") for kind in ("attempts", "samples")]
    return [path for name in names if not (path := folder / "study" / name).is_file()]


def complete(folder: Path, study: Study, cache: Path, say: Say) -> None:
    """Sample what is missing in study/; what is there stays, whatever it was sampled with.

    Raises ConfigError where the run has left no model, or its model, data or prompts cannot
    be had.
    """
    for path in sorted((folder / "study").glob("*.jsonl")):
        say(f"{path}: kept, {_extent(path)}; remove it to sample anew")
    wanted = missing(folder)
    if not wanted:
        return
    if not (folder / "model").is_dir():
        raise ConfigError(f"{folder}: has no model yet; a finished run leaves one")
    inputs = inputs_with_room(folder, study, cache, say)
    (folder / "study").mkdir(exist_ok=True)
    for who, model in (("model", str(folder / "model")), ("base", inputs.model)):
        paths = [path for path in wanted if path.stem.endswith(f"_{who}")]
        if paths:
            _sample(inputs, model, study, paths, say)


def plan_of(kind: str, config: Config, study: Study) -> SamplingPlan:
    """How a pass is sampled; the trained and the base model draw with the same seeds."""
    greedy = kind == "attempts"
    return SamplingPlan(
        seed=derive_seed(config.seed, config.iterations + 1),
        samples=1 if greedy else study.samples,
        attempts=config.evaluated_attempts if greedy else 2,
        max_tokens=config.rollout.max_tokens,
        temperature=0.0 if greedy else study.temperature,
    )


def inputs_with_room(folder: Path, study: Study, cache: Path, say: Say) -> Inputs:
    """A run's inputs, with room for as many attempts as are wanted or the model can hold.

    Raises ConfigError as `check_inputs` does.
    """
    limit = [f"evaluation.problems={study.problems}"] if study.problems else []
    config = load(folder / "config.yaml", limit)
    own = check_inputs(config, cache, training=False)
    attempts, length = room_for(own, study.attempts)
    if attempts < study.attempts:
        say(f"the model has positions for {attempts} attempts, not for {study.attempts}")
    wider = [f"evaluation.attempts={attempts}", f"model.max_length={length}"]
    return check_inputs(load(folder / "config.yaml", [*limit, *wider]), cache, training=False)


def room_for(inputs: Inputs, attempts: int) -> tuple[int, int]:
    """As many of the attempts as the model has positions for, and the tokens they take.

    Never less than the run itself has; a model that names no limit has none.
    """
    from transformers import AutoConfig

    config, prompter = inputs.config, inputs.make_prompter()
    max_tokens = config.rollout.max_tokens
    turn = prompter.longest_turn(max_tokens)
    longest = max(_opening_tokens(prompter, p, max_tokens) for p in _problems(inputs))
    known = getattr(AutoConfig.from_pretrained(inputs.model), "max_position_embeddings", None)
    needed = longest + attempts * turn
    most = max(config.model.max_length, min(needed, known or needed))
    return min(attempts, (most - longest) // turn), most


def _opening_tokens(prompter: Prompter, problem: Problem, max_tokens: int) -> int:
    """The tokens of an episode beside its attempts, as its length is checked."""
    given = len(prompter.given_ids(problem.given)) if problem.given else 0
    return len(prompter.first_ids(problem.question)) + max(0, given - max_tokens)


def _problems(inputs: Inputs) -> Sequence[Problem]:
    return inputs.task.problems("test")[: inputs.config.evaluation.problems]


def _sample(inputs: Inputs, model: str, study: Study, paths: Sequence[Path], say: Say) -> None:
    with TemporaryDirectory() as scratch:  # it tells of lost actors, and keeps nothing
        reporter = Reporter(Path(scratch), 0, 0)
        # The reference, where it judges, stays the base model.
        with sampling_roles(inputs, model, reporter) as (pool, grader):
            for path in paths:
                plan = plan_of(path.stem.split("_")[0], inputs.config, study)
                records = _records(pool, grader, _problems(inputs), plan, path, say)
                replace_file(path, as_lines(records).encode(errors="replace"))
        reporter.close()


def _records(
    pool: Pool,
    grader: Grader,
    problems: Sequence[Problem],
    plan: SamplingPlan,
    path: Path,
    say: Say,
) -> Iterator[Record]:
    """A pass over the problems, a part at a time, in order."""
    step = max(1, EPISODES // plan.samples)
    for start in range(0, len(problems), step):
        part = problems[start : start + step]
        for episodes in pool.sample(part, plan):
            grader.submit(episodes)
        for graded in in_order(grader.collect(), part, plan.samples, version=0):
            yield answer_record(graded)
        say(f"{path}: {start + len(part)} of {len(problems)} problems")


def _extent(path: Path) -> str:
    records = read_jsonl(path)
    problems = len({record["problem"] for record in records})
    attempts = max((len(record["attempts"]) for record in records), default=0)
    return f"{problems} problems, {len(records)} episodes of {attempts} attempts"
