import json
from pathlib import Path

import pytest

from score_ray.config.loading import dump, load
from score_ray.experiments.figures.extra_samples import (
    ExtraSamples,
    draw_missing_samples,
    inputs_with_room,
    missing_files,
    plan_of,
)
from score_ray.experiments.figures.series import RunRecords
from score_ray.reporting.json_lines import read_jsonl
from score_ray.reporting.run_folder import RunFolder
from score_ray.types import ConfigError, Verdict
from tests.support.sample_figure_run import line, write
from tests.support.tiny_model import make_model

NAMES = ["attempts_model.jsonl", "samples_model.jsonl", "attempts_base.jsonl", "samples_base.jsonl"]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Make a run folder of a model with 64 positions; an attempt and its turn take 5 of them."""
    run = tmp_path / "run"
    make_model(run / "model", tied=False)
    base = make_model(tmp_path / "base", tied=True)
    overrides = [f"model.path={base}", "evaluation.problems=6", "rollout.max_running=16"]
    (run / "config.yaml").write_text(dump(load(Path("configs/arithmetic.yaml"), overrides)))
    return run


def room(folder: Path, wanted: ExtraSamples) -> tuple[int, int, list[str]]:
    """Return the attempts and tokens of an episode, and the lines that were shown."""
    lines: list[str] = []
    config = inputs_with_room(RunFolder(folder), wanted, folder.parent, lines.append).config
    return config.evaluated_attempts, config.model.max_length, lines


def test_ten_attempts_get_the_room_they_need(folder):
    assert room(folder, ExtraSamples()) == (10, 6 + 10 * 5, [])


def test_attempts_that_fit_into_the_length_of_the_run_change_nothing(folder):
    assert room(folder, ExtraSamples(attempts=3)) == (3, 32, [])


def test_a_model_that_cannot_hold_all_attempts_makes_as_many_as_it_can(folder):
    base = folder.parent / "base" / "config.json"
    base.write_text(json.dumps({**json.loads(base.read_text()), "max_position_embeddings": 38}))
    attempts, length, lines = room(folder, ExtraSamples())
    assert (attempts, length) == (6, 38)  # 6 + 6 * 5 tokens
    assert lines == ["the model has positions for 6 attempts, not for 10"]


def test_an_option_limits_the_problems(folder):
    config = inputs_with_room(
        RunFolder(folder), ExtraSamples(problems=4), folder.parent, print
    ).config
    assert config.evaluation.problems == 4


def test_attempts_are_greedy_and_samples_are_not(folder):
    config = load(folder / "config.yaml", ["evaluation.attempts=7"])
    greedy, sampled = (plan_of(kind, config, ExtraSamples()) for kind in ("attempts", "samples"))
    assert (greedy.samples, greedy.attempts, greedy.temperature) == (1, 7, 0.0)
    assert (sampled.samples, sampled.attempts, sampled.temperature) == (32, 2, 0.7)


def test_a_run_without_a_model_is_named(folder):
    (folder / "model").rename(folder / "elsewhere")
    with pytest.raises(ConfigError, match="run: has no model yet"):
        draw_missing_samples(RunFolder(folder), ExtraSamples(), folder.parent, print)
    assert not (folder / "study").exists()


@pytest.mark.ray
@pytest.mark.usefixtures("shared_ray")
def test_the_trained_and_the_base_model_are_sampled_and_existing_files_stay(folder):
    there = [line(0, "1 2", sample=s) for s in range(2)]
    write(folder / "study" / "samples_base.jsonl", there)
    lines: list[str] = []
    draw_missing_samples(RunFolder(folder), ExtraSamples(samples=3), folder.parent, lines.append)
    kept = f"{folder}/study/samples_base.jsonl: kept, 1 problems, 2 episodes of 2 attempts"
    assert lines[0] == f"{kept}; remove it to sample anew"
    assert lines[1:] == [f"{folder}/study/{name}: 6 of 6 problems" for name in NAMES[:3]]
    assert sorted(path.name for path in (folder / "study").iterdir()) == sorted(NAMES)
    assert read_jsonl(folder / "study" / "samples_base.jsonl") == there
    records_of = RunRecords(RunFolder(folder)).extra_samples
    for kind, base, samples, attempts in (("attempts", False, 1, 10), ("attempts", True, 1, 10),
                                          ("samples", False, 3, 2)):  # fmt: skip
        records = records_of(kind, base)
        order = [(r["problem"], r["sample"]) for r in records]
        assert order == [(p, s) for p in range(6) for s in range(samples)]
        assert all(len(r["attempts"]) == len(r["verdicts"]) == attempts for r in records)
        assert {v for r in records for v in r["verdicts"]} <= set(Verdict)
        assert all(r["level"].endswith(("carry", "carries")) for r in records)
    answers = [[r["attempts"] for r in records_of("attempts", base)] for base in (True, False)]
    assert answers[0] != answers[1]
    assert missing_files(RunFolder(folder)) == {"model": {}, "base": {}}
    # Nothing is missing, so nothing is sampled.
    draw_missing_samples(RunFolder(folder), ExtraSamples(), folder.parent, lines.append)
    assert [text.split("; ")[1] for text in lines[4:]] == ["remove it to sample anew"] * 4
