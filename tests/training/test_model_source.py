import pytest

from score_ray.training import model_source
from score_ray.training.model_source import resolve


def test_a_folder_with_a_model_is_used_as_it_is(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert resolve(str(tmp_path), tmp_path / "cache") == str(tmp_path)


def test_a_folder_without_a_model_a_missing_one_and_an_unknown_source_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"without a config\.json"):
        resolve(str(tmp_path), tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder ./none"):
        resolve("./none", tmp_path)
    with pytest.raises(ValueError, match="embedded:chess"):
        resolve("embedded:chess", tmp_path)


def test_a_hub_name_is_left_to_transformers(tmp_path):
    assert resolve("Qwen/Qwen2.5-0.5B", tmp_path) == "Qwen/Qwen2.5-0.5B"


def test_a_built_in_model_is_made_once_and_again_when_its_recipe_changes(tmp_path, monkeypatch):
    made = []

    def make(folder):
        folder.mkdir()
        made.append(folder)

    def make_otherwise(folder):
        folder.mkdir()
        made.append("otherwise")

    monkeypatch.setattr(model_source, "_arithmetic", make)
    first = resolve("embedded:arithmetic", tmp_path, announce=lambda _: None)
    assert resolve("embedded:arithmetic", tmp_path, announce=lambda _: None) == first
    assert len(made) == 1
    monkeypatch.setattr(model_source, "_arithmetic", make_otherwise)
    assert resolve("embedded:arithmetic", tmp_path, announce=lambda _: None) != first
    assert made[-1] == "otherwise"


def test_a_maker_that_fails_leaves_no_half_model(tmp_path, monkeypatch):
    def fail(folder):
        folder.mkdir()
        raise RuntimeError("killed")

    monkeypatch.setattr(model_source, "_arithmetic", fail)
    with pytest.raises(RuntimeError):
        resolve("embedded:arithmetic", tmp_path, announce=lambda _: None)
    assert not [p for p in tmp_path.glob("arithmetic-*") if p.is_dir() and p.suffix != ".tmp"]
