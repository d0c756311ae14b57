import time

import datasets
import pytest
from huggingface_hub import constants

from score_ray.tasks.tables.hub import load_from_hub
from score_ray.tasks.tables.source import DataSource
from score_ray.tasks.tables.table import text_of


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """Forbid downloads, and give each test an empty cache; folders are loaded as from the hub."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def load(tmp_path, name, content, split="train"):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / name).write_text(content)
    place = str(tmp_path / "set")
    return load_from_hub(DataSource(place, place, None, "", split), split, ["q", "a"])


def test_values_of_a_csv_stay_text(tmp_path):
    table = load(tmp_path, "train.csv", "q,a\n007,N/A\n1e5,9007199254740993\n", "train[:2]")
    assert table.rows == [{"q": "007", "a": "N/A"}, {"q": "1e5", "a": "9007199254740993"}]


def test_a_date_in_json_is_not_taken_for_the_text_that_it_was_made_of(tmp_path):
    (row,) = load(tmp_path, "train.jsonl", '{"q": "2024-03-05", "a": 0.00005}\n').rows
    assert text_of(row["a"]) == "0.00005"
    with pytest.raises(ValueError, match="was taken for a date"):
        text_of(row["q"])


def test_a_mistyped_split_is_one_line_with_those_that_exist(tmp_path):
    with pytest.raises(ValueError, match=r"no split 'trian'; it has \['train'\]; did you mean tra"):
        load(tmp_path, "train.csv", "q,a\n1,2\n", "trian")


def test_a_hub_that_cannot_be_reached_is_named_within_seconds(monkeypatch):
    for library in (datasets.config, constants):
        monkeypatch.setattr(library, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("score_ray.tasks.tables.hub_address.getproxies", dict)
    source, started = DataSource("no-one/none", "no-one/none", None, "", ""), time.monotonic()
    message = (
        r"^no-one/none: no such .* \(http://127\.0\.0\.1:9 cannot be reached: connection refused"
    )
    with pytest.raises(ValueError, match=message):
        load_from_hub(source, "train", None)
    assert time.monotonic() - started < 5
    assert not datasets.config.HF_HUB_OFFLINE
