from pathlib import Path

import pytest

from score_ray.tasks.tables.source import absolute_source, parse_source


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x.jsonl", "user@example.org/x.jsonl", "a:b/x.jsonl", "x@train/y.csv", "~z.csv"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    Path("a").mkdir()
    Path("x.jsonl@train[:2]").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "place", "config", "split"),
    [
        ("x.jsonl", "x.jsonl", "", ""),
        ("x.jsonl@train", "x.jsonl", "", "train"),
        ("x.jsonl@train[:3]", "x.jsonl", "", "train[:3]"),
        ("x.jsonl@train[:2]", "x.jsonl@train[:2]", "", ""),
        ("user@example.org/x.jsonl", "user@example.org/x.jsonl", "", ""),
        ("user@example.org/x.jsonl@train[5:]", "user@example.org/x.jsonl", "", "train[5:]"),
        ("user@example.org:main@test", "user@example.org", "main", "test"),
        ("a:b/x.jsonl@train[:2]", "a:b/x.jsonl", "", "train[:2]"),
        ("a:b", "a:b", "", ""),
        ("a:main", "a", "main", ""),
        ("x@train", "x@train", "", ""),
        ("x@train@test", "x@train", "", "test"),
        ("~z.csv@train", "~z.csv", "", "train"),
    ],
)
def test_the_longest_path_that_exists_is_the_place(text, place, config, split):
    source = parse_source(text)
    assert (source.place, source.config, source.split) == (place, config, split)
    assert source.path == Path(place)


@pytest.mark.parametrize(
    ("text", "place", "config", "split"),
    [
        ("openai/gsm8k:main@train[:5]", "openai/gsm8k", "main", "train[:5]"),
        ("squad", "squad", "", ""),
        ("some/hub@test", "some/hub", "", "test"),
    ],
)
def test_other_names_are_data_sets_on_the_hub(text, place, config, split):
    source = parse_source(text)
    assert (source.place, source.config, source.split) == (place, config, split)
    assert source.path is None


@pytest.mark.parametrize(
    "text",
    [
        "none.jsonl", "a:c/x.jsonl", "user@example.com/x.jsonl", "a@none.csv/x", "*.jsonl",
        "x.json?", "exp[1]/x.jsonl", "~nobody-by-that-name/x.csv", "a/b/c", "b:main@c/x.jsonl",
    ],
)  # fmt: skip
def test_a_path_that_does_not_exist_is_named_whole(text):
    with pytest.raises(FileNotFoundError) as error:
        parse_source(text)
    assert str(error.value) == f"{text}: no such data file or folder"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x.jsonl@", "split"), ("a:", "config"), ("a:main@", "split"), ("a:@train", "config"),
        ("some/hub@", "split"), ("some/hub:", "config"),
    ],
)  # fmt: skip
def test_a_sign_that_nothing_follows_is_an_error(text, kind):
    with pytest.raises(ValueError, match=f"^{text}: no {kind} is named after"):
        parse_source(text)


def test_a_name_that_is_too_long_for_a_file_is_that_of_none():
    with pytest.raises(FileNotFoundError, match="no such data file"):
        parse_source(f"{'x' * 300}.jsonl")


@pytest.mark.parametrize("text", ["[]", "[{path: a@train[:5]}]", "{path: x.jsonl}"])
def test_a_list_that_could_not_be_read_as_one_is_told_its_form(text):
    with pytest.raises(FileNotFoundError, match=r"no such .*task\.train=\[\{path: .* with quotes"):
        parse_source(text)


def test_the_home_folder_is_written_as_a_tilde(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert parse_source("~/x.jsonl@train").path == folder / "x.jsonl"


@pytest.mark.parametrize(
    ("text", "absolute"),
    [
        ("x.jsonl@train[:2]", "{}/x.jsonl@train[:2]"),
        ("a:b/x.jsonl@train", "{}/a:b/x.jsonl@train"),
        ("a:main@train", "{}/a:main@train"),
        ("~z.csv", "{}/~z.csv"),
        ("openai/gsm8k:main@train", "openai/gsm8k:main@train"),
        ("none.jsonl", "none.jsonl"),
        ("", ""),
    ],
)
def test_only_the_place_of_a_source_becomes_absolute(folder, text, absolute):
    assert absolute_source(text) == absolute.format(folder)
