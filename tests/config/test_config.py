from pathlib import Path

import pytest
import yaml

from score_ray.config.config import ConfigError, differences, dump, load

CONFIGS = sorted(Path("configs").glob("*.yaml"))
ARITHMETIC = Path("configs/arithmetic.yaml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_shipped_config_loads_and_its_dump_loads_equal(path, tmp_path):
    config = load(path)
    (tmp_path / "saved.yaml").write_text(dump(config))
    assert load(tmp_path / "saved.yaml") == config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_shipped_config_starts_with_a_comment(path):
    assert path.read_text().startswith("# ")


def test_stage_at_changes_exactly_after_the_first_stage_has_had_its_iterations():
    config = load(ARITHMETIC, ["stages.0.iterations=3", "stages.1.iterations=2"])
    assert [config.stage_at(i).name for i in range(5)] == ["stage_1"] * 3 + ["stage_2"] * 2
    assert config.stage_ends() == {3: "stage_1", 5: "stage_2"}
    with pytest.raises(IndexError):
        config.stage_at(5)


def test_versions_that_are_served_and_what_is_due_with_them():
    """A stage of 5 that refreshes every 2, then one of 3 that does in every iteration."""
    rounds = "{name: a, iterations: 5, learn: star, reward: [0, 1], kl: [0, 0], refresh: 2}"
    plain = "{name: b, iterations: 3, reward: [1, 1], kl: [0, 0]}"
    config = load(ARITHMETIC, [f"stages=[{rounds}, {plain}]"])
    assert [config.version_at(i) for i in range(9)] == [0, 0, 2, 2, 4, 5, 6, 7, 8]
    assert [i for i in range(9) if config.is_served(i)] == [0, 2, 4, 5, 6, 7, 8]
    assert [i for i in range(1, 9) if config._is_due(i, 3)] == [4, 6]
    assert not any(config._is_due(i, 0) for i in range(1, 9))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.0.learn=star", "star has no bonus and no kl"),
        ("stages.0={name: a, iterations: 1, learn: pairs, reward: [1], kl: [0]}", "two attempts"),
        ("stages.0.refresh=2", "refresh: reinforce needs episodes of the current weights"),
        ("stages.0.kl_target=[0.1]", "kl_target: 2 numbers"),
        (
            "stages.0={name: a, iterations: 1, reward: [0, 1], kl: [0, 0], kl_target: [1, 0]}",
            "must not start at 0",
        ),
        ("checkpoint.select=held_out", "checkpoint.select: held_out needs evaluation.held_out"),
        ("rollout.sample=4", "rollout.sample: unknown key"),
        ("rollout.samples=four", "rollout.samples: .*valid integer.*'four'"),
        ("rollout.samples=0", "rollout.samples: .*greater than 0"),
        ("learner.zero_stage=4", "learner.zero_stage"),
        ("learner.offload_optimizer=true", "learner.offload_optimizer: needs learner.zero_stage"),
        ("learner.lora.broadcast=adapter", "learner.lora.broadcast: there is no adapter"),
        ("learner.learning_rate=.nan", "learner.learning_rate"),
        ("prompts.first=nothing", "prompts.first: must contain"),
        ("task.name=math", "task.train and task.test"),
        ("task.name=mbpp", 'task.train and task.test: task "mbpp" needs both'),
        ("task.name=humaneval", 'task.test: task "humaneval" needs it'),
        ("task.name=mbpp_r", 'task.test: task "mbpp_r" needs it'),
        ("task.attempt_column=code", 'task.attempt_column: task "mbpp_r" needs'),
        ("prompts.preset=paper_poems", "prompts.preset: .*'paper_mbpp'.*'paper_poems'"),
        ("task.name=geography", "task.name"),
        ("rollout.attempts=3", "one per attempt"),
        ("rollout", "section.key=value"),
    ],
)
def test_a_wrong_value_is_one_error_that_names_the_key(override, message):
    with pytest.raises(ConfigError, match=message):
        load(ARITHMETIC, [override])


@pytest.mark.parametrize("written", ["1e-6", "1E-06", "1.e-6", "0.000001", "1.0e-6"])
def test_a_small_number_may_be_written_in_any_of_the_usual_ways(written, tmp_path):
    assert load(ARITHMETIC, [f"learner.learning_rate={written}"]).learner.learning_rate == 1e-6
    text = ARITHMETIC.read_text().replace("learning_rate: 6.0e-4", f"learning_rate: {written}")
    (tmp_path / "config.yaml").write_text(text)
    assert load(tmp_path / "config.yaml").learner.learning_rate == 1e-6


def test_a_name_that_looks_like_a_number_is_still_a_name_when_it_is_saved(tmp_path):
    config = load(ARITHMETIC, ['name="1e-6"'])
    (tmp_path / "saved.yaml").write_text(dump(config))
    assert load(tmp_path / "saved.yaml") == config


@pytest.mark.parametrize(
    ("dtype", "broadcast", "alone"),
    [
        ("float32", "auto", False),
        ("bfloat16", "auto", True),
        ("bfloat16", "merged", False),
        ("float32", "adapter", True),
    ],
)
def test_an_adapter_is_sent_alone_where_merging_it_would_round(dtype, broadcast, alone):
    chosen = [f"model.dtype={dtype}", f"learner.lora.broadcast={broadcast}"]
    assert load(ARITHMETIC, [*chosen, "learner.lora.rank=4"]).sends_adapter is alone
    if broadcast != "adapter":
        assert not load(ARITHMETIC, chosen).sends_adapter


def test_a_missing_key_is_named(tmp_path):
    tree = yaml.safe_load(ARITHMETIC.read_text())
    del tree["model"]["path"]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=r"model\.path: this key is required"):
        load(tmp_path / "c.yaml")


def test_a_missing_config_file_and_broken_yaml_are_named(tmp_path):
    with pytest.raises(ConfigError, match="no such config file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "c.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(tmp_path / "c.yaml")


def test_differences_names_the_dotted_key_and_both_values():
    ours, theirs = load(ARITHMETIC, ["seed=1"]), load(ARITHMETIC)
    assert differences(ours, theirs) == ["seed: 0 -> 1"]
    assert differences(ours, ours) == []


def test_how_a_run_is_carried_out_may_change_and_what_it_computes_may_not():
    ours = load(ARITHMETIC, ["rollout.num_actors=4", "recovery.grace=5", "checkpoint.keep=3"])
    assert differences(ours, load(ARITHMETIC)) == []
    assert differences(load(ARITHMETIC, ["learner.zero_stage=2"]), load(ARITHMETIC)) == [
        "learner.zero_stage: 0 -> 2"
    ]
