from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.types import ConfigError

ARITHMETIC = Path("configs/arithmetic.yaml")


def refusal(folder: Path, old: str, new: str, *overrides: str) -> str:
    """Return the error for the recipe with a piece of its text replaced, without the file's name."""
    text = ARITHMETIC.read_text()
    assert old in text
    path = folder / "recipe.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    return str(caught.value).replace(f"{path}: ", "FILE: ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("num_actors", "num_actor", "FILE: rollout.num_actor: unknown key; did you mean rollout.num_actors?"),
        ("rollout:", "rolout:", "FILE: rolout: unknown key; did you mean rollout?"),
        ('correction: "?"', "correction: 1", "FILE: prompts.correction: a text is expected; put it in quotes (1 reads as another type)"),
        ("name: stage_2", "name: no", "FILE: stages.1.name: a text is expected; put it in quotes (False reads as another type)"),
        ("path: embedded:arithmetic", "path:", 'FILE: model.path: a text is expected; for an empty one write ""'),
        ("dtype: float32", "dtype: double", "FILE: model.dtype: Input should be 'float32' or 'bfloat16'; got 'double'"),
        ("zero_stage: 0", "zero_stage: no", "FILE: learner.zero_stage: Input should be a valid integer; got False"),
        ("kl: [0.3, 0.1]", "kl: 0.3", "FILE: stages.0.kl: a list is expected, such as [a, b]; got 0.3"),
        ("  held_out: 1000", "  held_out: 1000\n  train: 7", "FILE: task.train: a text or a list is expected; got 7"),
        ("  held_out: 1000", "  train: [{path: a, wieght: 2}]", "FILE: task.train.0.wieght: unknown key; did you mean task.train.0.weight?"),
        ("  held_out: 1000", "  train: [{weight: 2}]", "FILE: task.train.0.path: this key is required"),
        ("seed: 0", 'seed: "\\ud800"', "FILE: a text in it is not valid Unicode"),
        ("seed: 0", "rollout.samples: 3", "FILE: rollout.samples: unknown key; did you mean rollout.samples, indented below `rollout:`?"),
        ("seed: 0", f"seed: {[7] * 99}", f"FILE: seed: Input should be a valid integer; got [{'7, ' * 26}7..."),
        ("seed: 0", "seed: 0\nname: again", "FILE: name is given twice, in lines 4 and 6; keep one"),
    ],
)  # fmt: skip
def test_a_fault_in_a_file_is_one_line_with_file_and_key(old, new, message, tmp_path):
    assert refusal(tmp_path, old, new) == message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.1.refresh=2", "stages.1.refresh: reinforce needs episodes of the current weights"),
        ("task.train=[]", "task.train: "),
        ("checkpoint.select=held_out", "checkpoint.select: held_out needs evaluation.held_out"),
        ("stages.0.kl_target=[1]", "stages.0.kl_target: needs 2 numbers"),
    ],
)
def test_what_a_section_checks_is_named_by_its_whole_key(override, message):
    with pytest.raises(ConfigError) as caught:
        load(ARITHMETIC, [override])
    assert str(caught.value).startswith(message)


def test_every_wrong_key_has_a_line_of_its_own(tmp_path):
    found = refusal(tmp_path, "num_actors: 1", "num_actors: one", "learner.lr=1", "seed=x")
    assert found.splitlines() == [
        "FILE: the config is not valid:",
        "  seed: Input should be a valid integer; got 'x'",
        "  rollout.num_actors: Input should be a valid integer; got 'one'",
        "  learner.lr: unknown key; did you mean learner.learning_rate?",
    ]


def test_the_file_is_not_blamed_for_an_override():
    for override in ("rollout.sampels=4", "optimizer.betas=[0, 1]", "rollout.samples=four"):
        with pytest.raises(ConfigError, match=f"^{override.partition('=')[0]}: "):
            load(ARITHMETIC, [override])


def test_a_folder_and_a_file_that_is_no_text_are_named(tmp_path):
    with pytest.raises(ConfigError, match="a folder; a config file is expected"):
        load(tmp_path)
    (tmp_path / "c.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match=r"c\.yaml: line 1: the byte 0xff is not UTF-8"):
        load(tmp_path / "c.yaml")


def test_a_byte_order_mark_is_no_fault(tmp_path):
    (tmp_path / "c.yaml").write_text(ARITHMETIC.read_text(), encoding="utf-8-sig")
    assert load(tmp_path / "c.yaml") == load(ARITHMETIC)
