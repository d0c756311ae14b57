from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.config.overrides import apply_override, keys_set_by
from score_ray.types import ConfigError

ARITHMETIC = Path("configs/arithmetic.yaml")
MATH = Path("configs/gsm8k_smollm2.yaml")
TEXTS = [
    "Wrong #1 mistake", "Check: is it right?", "no", "yes", "1", "1.0", "1e-6", "null", "~",
    "[a]", "{x}", "{x: 1}", "'quoted'", '"quoted"', '"', " both ends ", "tab\t", "a\nb", r"a\nb",
    "ümlaut 数 😀", "a=b", "&anchor", "*alias", "!tag", "%", "@x", "- a", "a: [", "2024-03-05", "|",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_taken_as_it_stands(text):
    config = load(ARITHMETIC, [f"prompts.correction={text}", f"model.path={text}"])
    assert (config.prompts.correction, config.model.path) == (text, text)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_below_a_list_and_in_a_union_is_taken_as_it_stands(text):
    named = load(ARITHMETIC, [f"stages.1.name={text}"])
    assert [stage.name for stage in named.stages] == ["stage_1", text]
    data = load(MATH, [f"task.train={text}", f"task.question_column={text}"]).task
    assert (data.train, data.question_column) == (text, text)


def test_numbers_lists_and_whole_sections_are_read_as_yaml():
    config = load(
        ARITHMETIC,
        [
            "learner.learning_rate=1e-6",
            "rollout.share_gpus=false",
            "stages.0.kl=[0.5, 0]",
            "learner.zero_stage= 1 ",
            "checkpoint={every: 3}",
            "learner.lora={rank: 2, targets: [q_proj, '1']}",
        ],
    )
    assert config.learner.learning_rate == 1e-6
    assert config.stages[0].kl == (0.5, 0)
    assert config.learner.zero_stage == 1
    assert (config.checkpoint.every, config.checkpoint.keep) == (3, 2)
    assert config.learner.lora.targets == ("q_proj", "1")


def test_a_list_of_data_sets_is_a_list_and_its_keys_can_be_overridden():
    sets = "task.train=[{path: 'a #1.jsonl', weight: 2}, {path: b.csv}]"
    task = load(MATH, [sets, "task.train.1.weight=0.5", "task.train.0.path=x: no"]).task
    assert [(one.path, one.weight) for one in task.train_sources] == [("x: no", 2), ("b.csv", 0.5)]


@pytest.mark.parametrize("text", ["[a.jsonl, b.jsonl]", "[]", "{path: a.jsonl}", "[1]"])
def test_what_is_no_list_of_data_sets_is_a_text(text):
    assert load(MATH, [f"task.train={text}"]).task.train == text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learner.lora.targets=[1]", r"learner\.lora\.targets\.0: a text is expected; put it in q"),
        ("learner.lora.targets=q_proj", r"learner\.lora\.targets: a list is expected"),
        ("seed=[", r"'seed=\[': the value is not valid YAML: line 1: "),
        ("seed=a: b: c", "the value is not valid YAML"),
        ("stages=[{name: a, name: b}]", r"stages\.0\.name is given twice"),
        ("seed", "'seed': an override has the form section.key=value"),
        ("=5", "'=5': an override has the form section.key=value"),
        ("stages.2.kl=[1]", "'2' is not an index into a list of 2"),
        ("stages.00.name=x", "'00' is not an index into a list of 2"),
        ("seed.x=1", "'seed' is not a section"),
        ("seed=010", "^seed: .*integer; got '010'"),
        ("recovery.start=1:30", "^recovery.start: .*number; got '1:30'"),
        ("stages.0.kl=[010, 0]", r"^stages\.0\.kl\.0: .*number; got '010'"),
        ("stages.0.kl={a: 1}", r"^stages\.0\.kl: a list is expected"),
        ("model={path: x}", r"^model\.max_length: this key is required"),
        ("model.path=\udcff", "has to be UTF-8"),
    ],
)
def test_an_override_that_cannot_be_applied_is_named(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(ARITHMETIC, [override])
    assert "\n" not in str(caught.value)


def test_of_two_overrides_of_a_key_the_last_one_counts():
    assert load(ARITHMETIC, ["seed=3", "seed=4"]).seed == 4


def test_a_section_that_is_empty_in_the_file_can_be_filled():
    tree = {"learner": None}
    apply_override(tree, "learner.lora.rank=3")
    assert tree == {"learner": {"lora": {"rank": 3}}}


@pytest.mark.parametrize(
    ("override", "keys"),
    [
        ("task.train=x", ["task.train"]),
        ("task={name: math, train: x}", ["task.name", "task.train"]),
        ("stages=[{name: a, kl: [0, 1]}]", ["stages.0.name", "stages.0.kl"]),
        ("stages=[]", ["stages"]),
        ("task.train=[{path: a, weight: 1}]", ["task.train.0.path", "task.train.0.weight"]),
    ],
)
def test_the_keys_that_an_override_sets(override, keys):
    assert keys_set_by(override) == keys
