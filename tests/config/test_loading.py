from pathlib import Path

import pytest
import yaml

from score_ray.config.loading import differences, dump, free_keys, keys, load
from score_ray.types import ConfigError

CONFIGS = sorted(Path("configs").glob("*.yaml"))
ARITHMETIC = Path("configs/arithmetic.yaml")
FREE = {
    "model.attention",
    "rollout.num_actors",
    "rollout.tensor_parallel",
    "rollout.max_running",
    "rollout.kv_cache_gb",
    "rollout.gpu_memory",
    "rollout.share_gpus",
    "learner.logits_mb",
    "learner.gradient_checkpointing",
    "learner.offload_optimizer",
    "learner.lora.broadcast",
    "weights.backend",
    "weights.part_mb",
    "grading.num_workers",
    "checkpoint.every",
    "checkpoint.keep",
    "checkpoint.select",
    "recovery.start",
    "recovery.grace",
    "recovery.cluster",
    "recovery.retries",
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_shipped_config_loads_and_its_dump_loads_equal(path, tmp_path):
    config = load(path)
    (tmp_path / "saved.yaml").write_text(dump(config))
    assert load(tmp_path / "saved.yaml") == config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_shipped_config_starts_with_a_comment(path):
    assert path.read_text().startswith("# ")


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


def test_differences_name_the_dotted_key_and_both_values():
    ours, theirs = load(ARITHMETIC, ["seed=1"]), load(ARITHMETIC)
    assert differences(ours, theirs) == ["seed: 0 -> 1"]
    assert differences(ours, ours) == []


def test_free_keys_make_no_difference_and_others_do():
    ours = load(ARITHMETIC, ["rollout.num_actors=4", "recovery.grace=5", "checkpoint.keep=3"])
    assert differences(ours, load(ARITHMETIC)) == []
    assert differences(load(ARITHMETIC, ["learner.zero_stage=2"]), load(ARITHMETIC)) == [
        "learner.zero_stage: 0 -> 2"
    ]


def test_a_resumed_run_may_change_these_keys_and_no_others():
    assert set(free_keys()) == FREE


def test_the_keys_of_a_config_are_those_that_its_dump_holds():
    tree = yaml.safe_load(dump(load(ARITHMETIC)))
    sections = {key.split(".")[0] for key, _ in keys()}
    assert sections == set(tree)
    assert {k for k, _ in keys() if k.startswith("learner.lora.")} == {
        f"learner.lora.{name}" for name in tree["learner"]["lora"]
    }
