"""Keys that do nothing are refused, so that nothing that was asked is ignored."""

from pathlib import Path
from typing import get_args

import pytest
import yaml

from score_ray.config.config import Config
from score_ray.config.loading import dump, load
from score_ray.config.schema import TaskConfig
from score_ray.config.task_keys import TASK_KEYS
from score_ray.config.unread import unread_keys
from score_ray.types import ConfigError

ARITHMETIC = Path("configs/arithmetic.yaml")
SUMS = Path("configs/sums_smollm2.yaml")
MATH = Path("configs/gsm8k_smollm2.yaml")
MBPP = Path("configs/mbpp_smollm2.yaml")
STAR = "stages=[{name: s, iterations: 1, learn: star, keep: [c_to_c], reward: [0, 1], kl: [0, 0]}]"


def refusal(path: Path, *overrides: str, saved: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides, saved=saved)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(path: Path, folder: Path, **sections: dict) -> Path:
    """Write a recipe with other keys in some sections, and return its path."""
    tree = yaml.safe_load(path.read_text())
    for name, keys in sections.items():
        tree[name] = {**tree.get(name, {}), **keys}
    (folder / "changed.yaml").write_text(yaml.safe_dump(tree))
    return folder / "changed.yaml"


def test_every_key_of_the_task_section_is_read_by_a_task_and_all_that_are_listed_exist():
    listed = {key for keys in TASK_KEYS.values() for key in keys}
    assert listed == set(TaskConfig.model_fields)
    assert list(TASK_KEYS) == list(get_args(TaskConfig.model_fields["name"].annotation))


@pytest.mark.parametrize(
    ("path", "override", "message"),
    [
        (ARITHMETIC, "task.train=a.jsonl", "generates its problems and does not read it; set tas"),
        (ARITHMETIC, "task.train=", "task.name=math for a data set of your own"),
        (ARITHMETIC, "task.question_column=question", "task.question_column: the task"),
        (ARITHMETIC, "task={name: arithmetic, test: t.jsonl}", "task.test: the task"),
        (ARITHMETIC, "task.train=[{path: a.jsonl}]", "task.train"),
        (ARITHMETIC, "task.largest=5", '"arithmetic" does not read it; only sums does'),
        (SUMS, "task.answer_column=a", 'task.answer_column: the task "sums" generates'),
        (MATH, "task.held_out=10", '"math" does not read it; arithmetic and sums do'),
        (MATH, "task.attempt_column=code", "only mbpp_r does"),
        (
            MBPP,
            "task.train=[{path: a, question: '{b}'}]",
            r'task.train.0.question: the task "mbpp" does',
        ),
        (
            MBPP,
            "task.train=[{path: a}, {path: b, answer_column: c}]",
            "task.train.1.answer_column: the task",
        ),
        (ARITHMETIC, "prompts.judge_yes=Right", "set grading.judge=true or leave it out"),
        (ARITHMETIC, "learner.lora.alpha=16", "while learner.lora.rank is 0"),
        (ARITHMETIC, "learner.lora={targets: [q_proj]}", "learner.lora.targets: no adapter"),
        (ARITHMETIC, "learner.lora.broadcast=merged", "learner.lora.broadcast: no adapter"),
        (ARITHMETIC, "stages.1.keep=[c_to_c]", "stages.1.keep: reinforce trains on every"),
    ],
)
def test_a_key_that_does_nothing_is_refused_when_it_is_overridden(path, override, message):
    assert message in refusal(path, override)


def test_all_keys_of_a_task_that_are_not_read_are_named_at_once():
    message = refusal(ARITHMETIC, "task.train=a", "task.answer_column=b", "task.test=c")
    assert message.startswith("task.train, task.test, task.answer_column: the task")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"task": {"train": "a.jsonl"}}, "task.train: the task"),
        ({"prompts": {"judge_no": "Wrong"}}, "prompts.judge_no: nothing judges"),
        ({"learner": {"learning_rate": 1.0, "lora": {"alpha": 1.0}}}, "learner.lora.alpha: no"),
    ],
)
def test_such_a_key_in_the_file_is_refused_with_the_files_name(sections, message, tmp_path):
    path = changed(ARITHMETIC, tmp_path, **sections)
    assert refusal(path).startswith(f"{path}: {message}")


def test_a_default_in_the_file_is_as_good_as_nothing(tmp_path):
    path = changed(ARITHMETIC, tmp_path, task={"train": "", "question_column": "question"})
    assert load(path) == load(ARITHMETIC)


def test_keys_of_the_files_task_are_dropped_if_another_task_is_chosen():
    """The largest of these sums is 20, which the task math does not read."""
    config = load(SUMS, ["task.name=math", "task.train=a", "task.test=b"])
    assert config.task.largest == TaskConfig.model_fields["largest"].default
    assert "task.largest" in refusal(
        SUMS, "task.name=math", "task.train=a", "task.test=b", "task.largest=9"
    )


def test_keys_of_the_file_are_dropped_if_what_they_need_is_switched_off(tmp_path):
    with_adapter = changed(
        ARITHMETIC, tmp_path, learner={"learning_rate": 1.0, "lora": {"rank": 4, "alpha": 8.0}}
    )
    assert load(with_adapter).learner.lora.alpha == 8
    without = load(with_adapter, ["learner.lora.rank=0"])
    assert without.learner.lora.alpha == 32
    one = "stages=[{name: a, iterations: 1, reward: [1], kl: [0]}]"
    assert load(ARITHMETIC, ["rollout.attempts=1", one]).stages[0].bonus == 0


def test_a_run_folder_of_an_older_version_loads_without_the_keys_that_do_nothing(tmp_path):
    path = changed(ARITHMETIC, tmp_path, task={"train": "a.jsonl", "answer_column": "x"})
    assert load(path, saved=True) == load(ARITHMETIC)
    assert "task.train" in refusal(path, "task.train=b.jsonl", saved=True)


def test_a_saved_run_is_evaluated_on_another_task(tmp_path):
    recipe = Path("configs/mbpp_smollm2.yaml")
    path = tmp_path / "config.yaml"
    path.write_text(dump(load(recipe, ["task.train=a.jsonl", "task.test=b.jsonl"])))
    task = load(path, ["task.name=humaneval", "task.test=c.jsonl"], saved=True).task
    assert (task.name, task.train, task.test) == ("humaneval", "a.jsonl", "c.jsonl")


def test_keys_that_a_stage_or_a_judge_reads_are_accepted():
    assert load(ARITHMETIC, [STAR]).stages[0].keep == ("c_to_c",)
    judged = [
        "grading.judge=true",
        "prompts.judge={question} {answer} {attempt}",
        "prompts.judge_no=N",
    ]
    assert load(ARITHMETIC, judged).prompts.judge_no == "N"


def test_a_preset_of_which_every_text_is_replaced_is_refused():
    texts = ["prompts.first={question}", "prompts.system=", "prompts.feedback="]
    assert "prompts.preset: first, correction" in refusal(
        ARITHMETIC, "prompts.preset=paper_math", *texts
    )
    assert load(ARITHMETIC, ["prompts.preset=paper_math", "prompts.system="]).prompts.system == ""


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=lambda p: p.name)
def test_no_shipped_recipe_sets_a_key_that_does_nothing(path):
    config: Config = load(path)
    assert not [one.key for one in unread_keys(config) if one.differs]
