import gzip
import os

import datasets
import pytest

from score_ray.tasks.tables.loading import load_table

NAMES = [
    "exp[1]",
    "a*b",
    "what?",
    "user@example.org",
    "a:b",
    "with space",
    "größe",
    "x#1",
    "5%20",
    "{a,b}",
]


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def write(path, *values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f'{{"a": "{value}"}}\n' for value in values))
    return path


def values(source, split="train"):
    return [row["a"] for row in load_table(str(source), split).rows]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_no_pattern(tmp_path, name):
    write(tmp_path / "exp1/rows.jsonl", "wrong")
    write(tmp_path / "aXb.jsonl", "wrong")
    path = write(tmp_path / name / "rows.jsonl", "right", "last")
    assert values(path) == ["right", "last"]
    assert values(f"{path}@train[1:]") == ["last"]
    assert values(write(tmp_path / f"{name}.jsonl", "right")) == ["right"]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_no_pattern(tmp_path, name):
    write(tmp_path / "exp1/train.jsonl", "wrong")
    write(tmp_path / name / "train.jsonl", "right")
    write(tmp_path / name / "test [2].jsonl", "other")
    assert values(tmp_path / name) == ["right"]
    assert values(f"{tmp_path / name}@test") == ["other"]


@pytest.mark.parametrize("name", NAMES[:4])
def test_a_saved_data_set_is_no_pattern(tmp_path, name):
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"a": ["1", "2"]}).save_to_disk(tmp_path / name, num_shards=2)
    assert values(tmp_path / name) == ["1", "2"]


def test_files_of_the_same_name_in_two_folders_are_not_mixed_up(tmp_path):
    first, second = write(tmp_path / "1/x.jsonl", "one"), write(tmp_path / "2/x.jsonl", "two")
    assert (values(first), values(second)) == (["one"], ["two"])


@pytest.mark.parametrize("place", ["x.jsonl", "."])
def test_a_file_that_changed_is_read_anew_even_with_the_same_size_and_time(tmp_path, place):
    path = write(tmp_path / "x.jsonl", "one")
    before = path.stat()
    assert values(tmp_path / place) == ["one"]
    write(path, "two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert values(tmp_path / place) == ["two"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("train[:2]", "01"), ("train[-2:]", "89"), ("train[20%:40%]", "23"), ("train", "0123456789"),
        ("train[8:]+train[:1]", "890"), ("train[1_0:]", ""), ("train[5:3]", ""),
    ],
)  # fmt: skip
def test_parts_of_a_split(tmp_path, spec, expected):
    path = write(tmp_path / "x.jsonl", *"0123456789")
    if expected:
        assert values(f"{path}@{spec}") == [*expected]
    else:
        with pytest.raises(ValueError, match=r"x\.jsonl@train\[.*split is empty"):
            values(f"{path}@{spec}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x.jsonl@trian", r"no split 'trian'; it has \['train'\]; did you mean train\?"),
        ("x.jsonl@test[:5]", r"no split 'test'; it has \['train'\].*@train\[:500\]"),
        ("x.jsonl@train[:x]", r"@train\[:x\] is no part of a split; @train\[:500\]"),
        ("x.jsonl@train[:5", r"@train\[:5 is no part of a split"),
        ("x.jsonl:main", "has no configs, and 'main' names one"),
        ("set@trian+test", r"no split 'trian'; it has \['train', 'test'\]; did you mean train\?"),
        ("set:main", "'main' not found"),
        ("x.jsonl@train[:500%]", r"@train\[:500%\] is no part of a split"),
        ("x.jsonl@train[:5%](pct1_dropremainder)", "is no part of a split"),
        ("saved", r"dataset_dict\.json: does not list the splits"),
    ],
)
def test_an_error_says_which_splits_there_are(tmp_path, source, message):
    for name in ("x.jsonl", "set/train.jsonl", "set/test.jsonl"):
        write(tmp_path / name, "1")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/dataset_dict.json").write_text("[]")
    with pytest.raises(ValueError, match=message) as error:
        values(tmp_path / source)
    assert "\n" not in str(error.value)


def test_the_error_for_a_broken_file_of_a_folder_names_the_file(tmp_path):
    write(tmp_path / "set/train-1.jsonl", "1")
    (tmp_path / "set/train-2.jsonl").write_text('{"a": 1}\n{"a": 2')
    with pytest.raises(ValueError, match=r"set: train-2\.jsonl: cannot be read: line 2: not JSON"):
        values(tmp_path / "set")


def test_a_byte_order_mark_is_no_part_of_a_column(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    (tmp_path / "x.jsonl").write_bytes(b'\xef\xbb\xbf{"a": "1"}\n')
    assert values(tmp_path / "x.csv") == values(tmp_path / "x.jsonl") == ["1"]


@pytest.mark.parametrize("name", ["x.csv", "my.tsv.x.csv", "x.csv.gz"])
def test_only_a_tsv_is_separated_by_tabs(tmp_path, name):
    opened = gzip.open if name.endswith(".gz") else open
    with opened(tmp_path / name, "wt") as file:
        file.write("a,b\n1\t2,3\n")
    assert values(tmp_path / name) == ["1\t2"]


@pytest.mark.parametrize(
    "other", ["train[1].jsonl", "extra.jsonl", "train-2.JSONL", "train\n.jsonl"]
)
def test_a_file_of_a_folder_that_would_not_be_read_is_an_error(tmp_path, other):
    write(tmp_path / "train.jsonl", "1")
    write(tmp_path / other, "2")
    with pytest.raises(ValueError, match=r"belongs to no split.*such as train-2\.jsonl"):
        values(tmp_path)
    assert values(tmp_path / other) == ["2"]


@pytest.mark.parametrize("other", [".extra.jsonl", ".git/x.jsonl", "__MACOSX/train.jsonl"])
def test_hidden_files_of_a_folder_are_not_read(tmp_path, other):
    write(tmp_path / "train.jsonl", "1")
    write(tmp_path / other, "2")
    assert values(tmp_path) == ["1"]


def test_a_readme_may_leave_out_files_of_a_folder(tmp_path):
    write(tmp_path / "a.jsonl", "1")
    write(tmp_path / "b.jsonl", "2")
    head = "---\nconfigs:\n- config_name: default\n  data_files: a.jsonl\n---\n"
    (tmp_path / "README.md").write_text(head)
    assert values(tmp_path) == ["1"]
    (tmp_path / "README.md").write_text("---\nconfigs: [a: b: c\n---\n")
    with pytest.raises(ValueError, match=r"README\.md: while parsing"):
        values(tmp_path)


def test_a_folder_may_have_the_name_of_a_data_file(tmp_path):
    write(tmp_path / "set.jsonl" / "train.jsonl" / "x.jsonl", "1")
    assert values(tmp_path / "set.jsonl") == ["1"]
    assert values(tmp_path) == ["1"]


def test_a_link_in_a_folder_that_leads_nowhere_is_an_error(tmp_path):
    write(tmp_path / "train.jsonl", "1")
    (tmp_path / "train-2.jsonl").symlink_to(tmp_path / "gone.jsonl")
    with pytest.raises(ValueError, match=r"train-2\.jsonl: cannot be read: .*No such file"):
        values(tmp_path)


def test_only_the_files_that_a_saved_data_set_lists_are_read(tmp_path):
    datasets.disable_progress_bars()
    saved = datasets.Dataset.from_dict({"a": ["1", "2", "3"]})
    for shards in (3, 1):
        saved.save_to_disk(tmp_path / "set", num_shards=shards)
    (tmp_path / "set" / "cache-1.arrow").write_bytes(b"")
    assert values(tmp_path / "set") == ["1", "2", "3"]
    (tmp_path / "set" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(ValueError, match=r"set: data-00000-of-00001\.arrow: cannot be read"):
        values(tmp_path / "set")
    (tmp_path / "set" / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"state\.json: does not list the files"):
        values(tmp_path / "set")


def test_a_split_that_a_saved_data_set_lacks_is_named(tmp_path):
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(ValueError, match=r"train/state\.json: does not list the files"):
        values(tmp_path)


def test_a_packed_file_with_another_name_is_told_the_right_one(tmp_path):
    path = write(tmp_path / "rows.jsonl", "1")
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(ValueError, match=r"packed by gzip; let its name end in \.gz"):
        values(path)
    assert values(path.rename(tmp_path / "ROWS.JSONL.GZ")) == ["1"]
