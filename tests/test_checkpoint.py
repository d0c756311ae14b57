import pytest

from score_ray.checkpoint import find, newest, save


def put(text: str):
    def write(folder):
        (folder / "learner").mkdir()
        (folder / "learner" / "weights.bin").write_text(text)

    return write


def test_newest_returns_the_last_saved_state_and_files(tmp_path):
    save(tmp_path, 1, put("one"), {"iteration": 1}, keep=2)
    save(tmp_path, 2, put("two"), {"iteration": 2}, keep=2)
    path, state = newest(tmp_path)
    assert state == {"iteration": 2}
    assert (path / "learner" / "weights.bin").read_text() == "two"


def test_only_the_last_ones_are_kept(tmp_path):
    for i in range(1, 5):
        save(tmp_path, i, put(str(i)), {}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["iteration_000003", "iteration_000004"]


def test_a_save_that_fails_leaves_the_one_before_and_its_debris_is_cleared(tmp_path):
    def fail(folder):
        (folder / "half").write_text("x")
        raise OSError("disk full")

    save(tmp_path, 1, put("one"), {"iteration": 1}, keep=2)
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path, 2, fail, {"iteration": 2}, keep=2)
    assert newest(tmp_path)[1] == {"iteration": 1}
    save(tmp_path, 2, put("two"), {"iteration": 2}, keep=2)
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, damage):
    save(tmp_path, 1, put("one"), {"iteration": 1}, keep=2)
    file = save(tmp_path, 2, put("two"), {"iteration": 2}, keep=2) / "learner" / "weights.bin"
    if damage == "flip":
        file.write_text("twp")
    elif damage == "truncate":
        file.write_text("t")
    else:
        file.unlink()
    with pytest.warns(UserWarning, match="iteration_000002.*weights.bin"):
        assert newest(tmp_path)[1] == {"iteration": 1}


def test_the_same_iteration_may_be_saved_again(tmp_path):
    save(tmp_path, 1, put("one"), {}, keep=2)
    path = save(tmp_path, 1, put("again"), {}, keep=2)
    assert (path / "learner" / "weights.bin").read_text() == "again"


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert newest(tmp_path) is None


def test_a_checkpoint_is_found_by_its_iteration_and_a_missing_or_damaged_one_is_named(tmp_path):
    for i in (1, 2):
        save(tmp_path, i, put(str(i)), {}, keep=2)
    assert find(tmp_path, 0).name == "iteration_000002"
    assert find(tmp_path, 1).name == "iteration_000001"
    with pytest.raises(FileNotFoundError, match="iteration_000009; kept are.*iteration_000001"):
        find(tmp_path, 9)
    (tmp_path / "iteration_000001" / "learner" / "weights.bin").write_text("?")
    with pytest.raises(FileNotFoundError, match="does not have its checksum"):
        find(tmp_path, 1)
