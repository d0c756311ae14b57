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
    "grading.deadline",
    "grading.max_failed",
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
    config = load(ARITHMETIC, ["name=1e-6"])
    (tmp_path / "saved.yaml").write_text(dump(config))
    assert load(tmp_path / "saved.yaml") == config


@pytest.mark.parametrize("text", ["a\nb", " x #1 ", "no", "null", "", "'q'", "ö😀", "2024-03-05"])
def test_a_text_is_the_same_after_the_config_was_saved(text, tmp_path):
    config = load(ARITHMETIC, [f"prompts.correction={text}", "prompts.preset=paper_math"])
    (tmp_path / "saved.yaml").write_text(dump(config))
    assert load(tmp_path / "saved.yaml", saved=True) == config
    assert config.prompts.correction == text


def test_an_empty_text_in_a_run_folder_of_an_older_version_is_an_unset_one(tmp_path):
    """It wrote every text, and an empty one stood for that of the preset."""
    tree = yaml.safe_load(Path("configs/gsm8k_smollm2.yaml").read_text())
    tree["prompts"] |= {"first": "", "correction": "Again.", "feedback": "", "system": ""}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    prompts = load(tmp_path / "config.yaml", saved=True).prompts
    assert prompts.model_dump(include={"first", "correction", "feedback", "system"}) == {
        "first": None, "correction": "Again.", "feedback": None, "system": None
    }  # fmt: skip


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


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name: \xe9\n", "line 1: the byte 0xe9 is not UTF-8"),
        (b"\xef\xbb\xbfname: a\nseed: 1\n# \xff\n", "line 3: the byte 0xff is not UTF-8"),
        ("name: a\n".encode("utf-16"), "line 1: the byte 0xff is not UTF-8"),
    ],
)
def test_a_byte_that_is_not_utf_8_is_named_with_its_line(content, says, tmp_path):
    (tmp_path / "run.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "run.yaml")
    assert str(refused.value) == f"{tmp_path / 'run.yaml'}: {says}; save it as UTF-8"


def test_differences_of_stages_name_the_stage_and_the_key():
    ours = load(ARITHMETIC, ["stages.1.kl=[0.3, 0.1]", "stages.0.iterations=7"])
    theirs = load(ARITHMETIC, ["stages.1.kl=[0.2, 0.1]"])
    assert differences(ours, theirs) == [
        "stages.0.iterations: 80 -> 7", "stages.1.kl: [0.2, 0.1] -> [0.3, 0.1]"
    ]  # fmt: skip
    fewer = theirs.model_copy(update={"stages": theirs.stages[:1]})
    assert differences(theirs, fewer) == ["stages.1: None -> stage_2"]
    assert differences(fewer, theirs) == ["stages.1: stage_2 -> None"]


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
