from pathlib import Path

import pytest
import yaml

from score_ray.config.loading import load
from score_ray.experiments.suites.suite import (
    final_evaluation,
    finished,
    load_suite,
    runs_of,
)
from score_ray.reporting.json_lines import append_lines
from score_ray.types import ConfigError
from tests.support.sample_run_folder import eval_line
from tests.support.sample_suite import ARITHMETIC, SHORT, finish, planned, tree, write_suite

SUITES = sorted(Path("configs/suites").glob("*.yaml"))


@pytest.mark.parametrize("path", SUITES, ids=lambda p: p.name)
def test_every_shipped_suite_resolves_and_starts_with_a_comment(path, tmp_path):
    assert path.read_text().startswith("# ")
    assert runs_of(load_suite(path), tmp_path)


def test_runs_come_seed_by_seed_each_with_its_whole_config_and_folder(tmp_path):
    variants = {"base": {"seeds": [0]}, "score": {"overrides": ["stages.0.bonus=5"]}}
    _, runs = planned(tmp_path, variants=variants, seeds=[0, 3])
    assert [str(run) for run in runs] == ["base/seed_0", "score/seed_0", "score/seed_3"]
    last = runs[-1]
    assert last.folder.path == tmp_path / "runs" / "demo" / "score" / "seed_3"
    assert last.config == load(last.recipe, last.overrides)
    assert (last.config.name, last.config.seed, last.config.stages[0].bonus) == ("seed_3", 3, 5)


def test_the_path_of_the_config_is_relative_to_the_suite_file(tmp_path):
    (tmp_path / "recipe.yaml").write_text(ARITHMETIC.read_text())
    (tmp_path / "suites").mkdir()
    path = write_suite(tmp_path / "suites", config="../recipe.yaml")
    (run, *_) = runs_of(load_suite(path), tmp_path)
    assert run.recipe.resolve() == tmp_path / "recipe.yaml"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": [0]}, r"seed: unknown key; did you mean seeds\?"),
        ({"variants": {"a": {"override": []}}}, "variants.a.override: .* variants.a.overrides"),
        ({"overrides": ["seed=5"]}, "overrides: 'seed' is set by the suite"),
        ({"variants": {"a": {"overrides": ["name=b"]}}}, "variants.a.overrides: 'name' is set"),
        ({"seeds": []}, "seeds: .*at least 1"),
        ({"seeds": ["one"]}, "seeds.0: .*valid integer.*'one'"),
        ({"seeds": [1, 1]}, "variants.score: a seed is named twice"),
        ({"jobs": 0}, "jobs: .*greater than 0"),
        ({"variants": {"../up": {}}}, "variants.*pattern"),
        ({"compare": {"variant": "scored", "metrics": ["delta"]}}, "no variant 'scored'; there"),
        ({"claims": [{"better": "score", "than": "x", "metric": "delta"}]}, "no variant 'x'"),
        ({"claims": [{"better": "score", "than": "plain", "metric": "t2"}]}, "claims.0.metric"),
        ({"figures": ["all"]}, "no variant 'all'"),
    ],
)
def test_a_wrong_suite_is_one_error_that_names_the_key(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        load_suite(write_suite(tmp_path, **changes))


def test_a_missing_suite_and_broken_yaml_are_named(tmp_path):
    with pytest.raises(ConfigError, match="no such suite file"):
        load_suite(tmp_path / "none.yaml")
    (tmp_path / "s.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_suite(tmp_path / "s.yaml")
    (tmp_path / "s.yaml").write_text("- a")
    with pytest.raises(ConfigError, match="a mapping is expected"):
        load_suite(tmp_path / "s.yaml")
    without = {key: value for key, value in tree().items() if key != "seeds"}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(without))
    with pytest.raises(ConfigError, match="seeds: this key is required"):
        load_suite(tmp_path / "s.yaml")


def test_a_variant_whose_config_does_not_fit_is_named_before_anything_starts(tmp_path):
    variants = {"good": {}, "bad": {"overrides": ["rollout.sample=4"]}}
    with pytest.raises(ConfigError, match=r"variants\.bad: [^$]*rollout\.sample: unknown key"):
        planned(tmp_path, variants=variants)


def test_a_run_folder_of_another_config_is_refused_by_name(tmp_path):
    _, runs = planned(tmp_path)
    runs[1].folder.model.mkdir(parents=True)
    other = load(ARITHMETIC, [*runs[1].overrides, "rollout.samples=8", "checkpoint.keep=7"])
    runs[1].folder.write_config(other)
    with pytest.raises(ConfigError, match=r"plain/seed_0[^$]*rollout\.samples: 8 -> 4") as caught:
        planned(tmp_path)
    assert "checkpoint" not in str(caught.value)


def test_a_run_is_finished_once_it_has_its_final_evaluation_and_its_model(tmp_path):
    _, (run, *_) = planned(tmp_path)
    assert not finished(run)
    assert run.folder.iterations_done() == 0
    run.folder.path.mkdir(parents=True)
    append_lines(run.folder.path / "evals.jsonl", [eval_line(0), eval_line(2)])
    assert final_evaluation(run) == eval_line(2)
    assert not finished(run)
    run.folder.model.mkdir()
    assert finished(run)


def test_an_evaluation_before_the_last_iteration_finishes_nothing(tmp_path):
    _, (run, *_) = planned(tmp_path, overrides=[SHORT, "stages.0.iterations=3"])
    run.folder.model.mkdir(parents=True)
    append_lines(run.folder.path / "evals.jsonl", [eval_line(2)])
    assert final_evaluation(run) is None
    assert not finished(run)


def test_the_result_is_the_last_evaluation_on_test_problems_after_the_last_iteration(tmp_path):
    _, (run, *_) = planned(tmp_path)
    run.folder.path.mkdir(parents=True)
    held_out = eval_line(2) | {"split": "held_out"}
    append_lines(run.folder.path / "evals.jsonl", [eval_line(1), held_out])
    assert final_evaluation(run) is None
    selected = eval_line(1) | {"label": "selected, iteration 1"}
    append_lines(run.folder.path / "evals.jsonl", [eval_line(2), held_out, selected, held_out])
    assert final_evaluation(run) == selected


def test_iterations_are_counted_in_the_metrics(tmp_path):
    _, (run, *_) = planned(tmp_path)
    finish(run)
    assert run.folder.iterations_done() == 2
