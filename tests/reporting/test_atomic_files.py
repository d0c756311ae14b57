from contextlib import suppress

from score_ray.reporting.atomic_files import renamed_when_whole, replace_file


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a.txt"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_raises_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with suppress(RuntimeError), renamed_when_whole(path) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"


def test_a_folder_that_was_left_half_made_is_made_anew(tmp_path):
    path = tmp_path / "model"
    with suppress(RuntimeError), renamed_when_whole(path) as unfinished:
        unfinished.mkdir()
        (unfinished / "half").touch()
        raise RuntimeError
    assert not path.exists()
    with renamed_when_whole(path) as unfinished:
        unfinished.mkdir()
        (unfinished / "whole").touch()
    assert [p.name for p in path.iterdir()] == ["whole"]
    assert list(tmp_path.iterdir()) == [path]
