from pathlib import Path

import pytest

from score_ray.config.config import Config
from score_ray.config.loading import load
from score_ray.reporting.run_claim import (
    changed_keys,
    decay_note,
    grows,
    growth_fault,
    is_claimed,
    refuse_foreign_folder,
    refuse_other_config,
)
from score_ray.reporting.run_folder import RunFolder
from score_ray.types import ConfigError

RECIPE = Path("configs/arithmetic.yaml")  # 80 iterations, and then 220


def config(*overrides: str) -> Config:
    return load(RECIPE, overrides)


def longer(*overrides: str) -> Config:
    return config("stages.1.iterations=300", *overrides)


def appended(iterations: int = 220) -> Config:
    grown = config(f"stages.1.iterations={iterations}")
    third = grown.stages[1].model_copy(update={"name": "third", "iterations": 5})
    return grown.model_copy(update={"stages": (*grown.stages, third)})


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """A run with a checkpoint."""
    run = RunFolder(tmp_path / "run")
    (run.checkpoints / "iteration_000300").mkdir(parents=True)
    run.write_config(config())
    return run


def refusal(folder: RunFolder, chosen: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        refuse_other_config(folder, chosen, "do something else")
    return str(caught.value)


@pytest.mark.parametrize(
    ("left", "claimed"),
    [("checkpoints/.tmp-iteration_000010", False), ("checkpoints/iteration_000010", True),
     ("model", True), ("answers", False)],
)  # fmt: skip
def test_a_folder_is_claimed_by_a_whole_checkpoint_or_a_model(tmp_path, left, claimed):
    (tmp_path / left).mkdir(parents=True)
    assert is_claimed(RunFolder(tmp_path)) == claimed


def test_a_claimed_folder_refuses_another_config_by_the_keys_that_differ(folder):
    refuse_other_config(folder, config("rollout.num_actors=3"), "do something else")
    assert refusal(folder, config("seed=1", "stages.0.kl=[0.5, 0.1]")) == (
        f"{folder} holds a run of another config; do something else. These keys differ:\n"
        "  seed: 0 -> 1\n  stages.0.kl: [0.3, 0.1] -> [0.5, 0.1]"
    )


@pytest.mark.parametrize("claim", ["checkpoints/iteration_000010", "checkpoints/.old-x", "model"])
def test_a_checkpoint_or_a_model_claims_the_folder(tmp_path, claim):
    run = RunFolder(tmp_path)
    run.write_config(config())
    (tmp_path / claim).mkdir(parents=True)
    assert "seed: 0 -> 1" in refusal(run, config("seed=1"))


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "checkpoints/.tmp-iteration_1"])
def test_a_run_without_a_checkpoint_does_not_claim_its_folder(tmp_path, name):
    run = RunFolder(tmp_path)
    run.write_config(config())
    if name != "config.yaml":
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    refuse_other_config(run, config("seed=1"), "do something else")


def test_a_claimed_folder_whose_config_is_missing_or_damaged_is_refused(folder):
    folder.config_file.write_text("name: [")
    message = refusal(folder, config())
    assert "config.yaml" in message
    assert message.endswith(f"{folder} holds a run with this config; do something else")
    folder.config_file.unlink()
    assert refusal(folder, config()).endswith("config.yaml is missing; do something else")


def test_model_and_data_may_lie_elsewhere_if_the_run_recorded_what_they_held(folder):
    moved = config("model.path=./elsewhere")
    assert changed_keys(folder, config(), moved) == [
        "model.path: embedded:arithmetic -> ./elsewhere"
    ]
    folder.inputs.write_text("{}")
    assert changed_keys(folder, config(), moved) == []
    assert changed_keys(folder, config(), config("model.dtype=bfloat16", "model.path=x/y")) == [
        "model.dtype: float32 -> bfloat16"
    ]


def test_a_longer_last_stage_or_further_stages_are_the_same_run(folder):
    for chosen in (longer(), appended(), appended(230)):
        assert grows(config(), chosen)
        refuse_other_config(folder, chosen, "do something else")


@pytest.mark.parametrize(
    "chosen",
    [
        config(),
        config("stages.1.iterations=219"),
        config("stages.0.iterations=90"),
        longer("stages.1.bonus=5"),
        longer("stages.0.name=first"),
        longer("stages.0.iterations=81"),
    ],
)
def test_other_changes_of_stages_are_no_growth(chosen):
    assert not grows(config(), chosen)


def test_growth_beside_another_change_names_only_the_other_change(folder):
    assert changed_keys(folder, config(), longer("seed=4")) == ["seed: 0 -> 4"]


def test_a_run_with_given_first_attempts_cannot_become_longer(folder):
    share = "rollout.offline_share=0.5"
    folder.write_config(config(share))
    message = refusal(folder, longer(share))
    assert "stages: 300 iterations -> 380; the first attempts for rollout.offline_share" in message


def test_a_longer_run_says_how_the_learning_rate_goes_on():
    assert decay_note(config(), longer(), 300) == (
        "learner.decay_to: the learning rate decays over 380 iterations now; it goes on from 25% "
        "of its value, where 5% were reached"
    )
    constant = "learner.decay_to=1.0"
    assert decay_note(config(constant), longer(constant), 300) == ""


def test_a_run_that_ended_within_a_round_of_the_longer_one_cannot_become_longer():
    star = "stages=[{name: s, iterations: %d, learn: star, reward: [0, 1], kl: [0, 0], refresh: 3}]"
    assert "(refresh)" in growth_fault(config(star % 7), config(star % 9))
    assert growth_fault(config(star % 6), config(star % 9)) == ""


def test_a_folder_of_another_program_is_refused_by_what_it_holds(tmp_path):
    for name in ("src", "a.txt", "b", "c", "d", "e"):
        (tmp_path / name).mkdir()
    (tmp_path / "config.yaml").write_text("port: 80\n")
    with pytest.raises(ConfigError, match="this is no run folder, but it holds .* and 2 more; cho"):
        refuse_foreign_folder(RunFolder(tmp_path))


def test_folders_of_runs_and_empty_ones_are_ours(tmp_path, folder):
    refuse_foreign_folder(RunFolder(tmp_path / "none"))
    refuse_foreign_folder(RunFolder(tmp_path / "run" / "checkpoints" / "iteration_000300"))
    refuse_foreign_folder(folder)  # by its config alone
    folder.config_file.write_text("name: [")
    (folder.path / ".lock").touch()
    refuse_foreign_folder(folder)


def math_config(train: str) -> Config:
    return load(Path("configs/gsm8k_smollm2.yaml"), [f"task.train={train}"])


@pytest.mark.parametrize(
    ("before", "now", "changed"),
    [
        ("a.jsonl", "moved.jsonl", 0),
        ("a.jsonl", "[{path: a.jsonl}]", 1),
        ("[{path: a.jsonl, weight: 2.0}]", "a.jsonl", 1),
        ("[{path: a.jsonl}, {path: b.jsonl}]", "[{path: c.jsonl}, {path: b.jsonl}]", 0),
        ("[{path: a.jsonl}, {path: b.jsonl}]", "[{path: a.jsonl}, {path: b.jsonl, weight: 3}]", 1),
    ],
)
def test_data_may_lie_elsewhere_but_one_set_is_not_drawn_from_as_a_list_is(
    folder, before, now, changed
):
    folder.inputs.write_text("{}")
    lines = changed_keys(folder, math_config(before), math_config(now))
    assert len(lines) == changed
    assert all(line.startswith("task.train") for line in lines)
