"""Model folders that are not whole: each is one line that names the model and what is wrong."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from score_ray.learner.model_files import check_weights
from score_ray.tasks.arithmetic_model import character_tokenizer, model_config
from score_ray.types import ConfigError

WEIGHTS = "model.safetensors"
LOST = "model.layers.0.mlp.down_proj.weight"


@pytest.fixture
def folder(tmp_path) -> Path:
    LlamaForCausalLM(model_config(character_tokenizer())).save_pretrained(tmp_path)
    return tmp_path


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        check_weights(str(folder), "model.path: tiny")
    text = str(caught.value)
    assert text.startswith("model.path: tiny: ")
    assert "\n" not in text
    return text


def write(folder: Path, weights: dict[str, torch.Tensor], name: str = WEIGHTS) -> None:
    save_file(weights, folder / name, {"format": "pt"})


def test_a_whole_model_passes_in_silence(folder, capfd):
    check_weights(str(folder), "model.path: tiny")
    assert capfd.readouterr() == ("", "")


def test_the_name_of_a_model_on_the_hub_passes():
    check_weights("nobody/nothing", "model.path: nobody/nothing")


@pytest.mark.parametrize("lost", [LOST, "model.norm.weight", "model.embed_tokens.weight"])
def test_a_weight_that_is_missing_is_named(lost, folder, capfd):
    weights = load_file(folder / WEIGHTS)
    del weights[lost]
    write(folder, weights)
    assert f"1 of the model's weights are in none of its files, and would be random: {lost};" in (
        refusal(folder)
    )
    assert capfd.readouterr() == ("", "")


def test_of_many_missing_weights_the_first_are_named(folder):
    weights = load_file(folder / WEIGHTS)
    write(folder, {name: weights[name] for name in weights if ".layers.0." not in name})
    assert "9 of the model's weights" in refusal(folder)
    assert " and 6 more; copy the whole model again" in refusal(folder)


def test_a_weight_of_another_shape_is_refused(folder):
    weights = load_file(folder / WEIGHTS)
    rows, columns = weights[LOST].shape
    write(folder, {**weights, LOST: weights[LOST][:-1].clone()})
    assert (
        "1 of the model's weights have another shape than config.json says: "
        f"{LOST} has [{rows - 1}, {columns}] in place of [{rows}, {columns}]"
    ) in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"x" * 1000, b"\x02\x00\x00\x00\x00\x00\x00\x00{", None])
def test_a_damaged_file_is_refused(content, folder):
    path = folder / WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert "a safetensors file is damaged or cut off" in refusal(folder)


def test_a_folder_without_weights_is_refused(folder):
    (folder / WEIGHTS).unlink()
    assert "its weights do not load: Error no file named model.safetensors" in refusal(folder)


def test_a_file_that_the_index_names_and_that_is_not_there_is_named(folder):
    names = sorted(weights := load_file(folder / WEIGHTS))
    (folder / WEIGHTS).unlink()
    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    write(folder, {name: weights[name] for name in names[:5]}, files[0])
    where = {name: files[number >= 5] for number, name in enumerate(names)}
    index = {"metadata": {}, "weight_map": where}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    assert files[1] in refusal(folder)


def test_weights_that_torch_saved_pass_and_code_in_their_place_is_not_run(folder, tmp_path):
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    check_weights(str(folder), "model.path: tiny")

    class Program:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Program()}, protocol=2))
    assert "holds other things than weights, which are not run" in refusal(folder)
    assert not (tmp_path / "ran").exists()
